"""Makes a plot whose world breaks a promise smaller, for as long as a promise is still broken."""

from collections.abc import Callable, Iterator

import msgspec

from tests.simulation.plot import Fault, Plot


def shrunk(plot: Plot, fails: Callable[[Plot], bool]) -> Plot:
    """The smallest plot that was found; `fails` lives it."""
    while True:
        smaller = next((each for each in _smaller(plot) if fails(each)), None)
        if smaller is None:
            return plot
        plot = smaller


def _smaller(plot: Plot) -> Iterator[Plot]:
    """The next steps, the largest first."""
    for number in range(len(plot.faults)):
        yield _but(plot, faults=_without(plot.faults, number))
    if plot.events > 1:
        yield _but(plot, events=plot.events // 2)
        yield _but(plot, events=plot.events - 1)
    if plot.invoices > 1:
        yield _but(plot, invoices=1)
    if plot.consumers > 1:
        yield _but(plot, consumers=plot.consumers - 1)
    if plot.intakes > 1:
        yield _but(plot, intakes=1)
    if plot.hostile:
        yield _but(plot, hostile=0.0)
    if any(plot.clocks):
        yield _but(plot, clocks=(0.0,) * len(plot.clocks))
    for number, fault in enumerate(plot.faults):
        if fault.count > 1:
            fewer = msgspec.structs.replace(fault, count=fault.count // 2)
            yield _but(plot, faults=(*plot.faults[:number], fewer, *plot.faults[number + 1 :]))


def _without(faults: tuple[Fault, ...], gone: int) -> tuple[Fault, ...]:
    """The others; what counted since the beginning of this one counts since that of the one around it."""

    def moved(within: int | None) -> int | None:
        if within == gone:
            within = faults[gone].within
        return within - 1 if within is not None and within > gone else within

    kept = [fault for number, fault in enumerate(faults) if number != gone]
    return tuple(msgspec.structs.replace(fault, within=moved(fault.within)) for fault in kept)


def _but(plot: Plot, **changes: object) -> Plot:
    return msgspec.structs.replace(plot, **changes)
