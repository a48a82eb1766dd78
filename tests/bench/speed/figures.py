"""What is to be reached, and whether it is: pure."""

import statistics
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Goal(NamedTuple):
    """A bound of our figure, or of its ratio to the reference's."""

    bound: float
    of: Literal["ratio", "ours"] = "ratio"
    at: Literal["least", "most"] = "least"

    def __str__(self) -> str:
        """As in the table."""
        sign = "≥" if self.at == "least" else "≤"
        return f"{sign} {self.bound:g}{' x' if self.of == 'ratio' else ''}"


class Figure(NamedTuple):
    """One row: what was measured, ours, and the reference's if it was measured."""

    measure: str
    ours: float
    reference: float | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """Ours to the reference's."""
        return self.ours / self.reference if self.reference else None

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        value = self.ratio if self.goal and self.goal.of == "ratio" else self.ours
        if self.goal is None or value is None:
            return None
        return value >= self.goal.bound if self.goal.at == "least" else value <= self.goal.bound


class Turn(NamedTuple):
    """What one side did in one turn; CPU in µs an event, waits in ms, `withheld` in percent (`processes.Withheld`)."""

    per_second: float
    cpu: float
    broker_cpu: float
    p50: float = 0.0
    p99: float = 0.0
    calls: float = 0.0
    withheld: float = 0.0


def median(turns: Sequence[Turn]) -> Turn:
    """Each figure's median."""
    return Turn(*(statistics.median(values) for values in zip(*turns, strict=True)))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def table(figures: Sequence[Figure]) -> str:
    """As Markdown."""
    head = ("| measure | ours | reference | ratio | goal | holds |", "|---|--:|--:|--:|--:|---|")
    return "\n".join((*head, *map(_row, figures)))


def _row(figure: Figure) -> str:
    ratio = "-" if figure.ratio is None else f"{figure.ratio:.2f}"
    holds = {None: "-", True: "yes", False: "**no**"}[figure.holds]
    goal = "-" if figure.goal is None else str(figure.goal)
    return f"| {figure.measure} | {_number(figure.ours)} | {_number(figure.reference)} | {ratio} | {goal} | {holds} |"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
