"""Dead letters grouped by what is wrong: as many entries as there are faults, however many letters."""

from collections.abc import Iterable, Mapping

import msgspec

from zenoti_ingest.core.failures.dead_letter import fingerprint
from zenoti_schemas.dead_letter import DeadLetterHeaders

MAX_GROUPS = 1_000
OTHERS = "others"


class Group(msgspec.Struct, kw_only=True):
    """The letters of one fault.

    Attributes:
        reason: the stable word.
        fingerprint: what the letters of one fault share.
        stage: where they fell.
        count: how many.
        oldest: when the first of them was laid here (RFC 3339, UTC); empty where none says so.
        newest: when the last was.
        detail: of one of them.
    """

    reason: str
    fingerprint: str
    stage: str
    count: int = 0
    oldest: str = ""
    newest: str = ""
    detail: str = ""


class Groups:
    """Counts letters; past MAX_GROUPS faults, those of new ones are counted together, a group for each reason."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}
        self.count = 0  # of all letters

    def add(self, letter: DeadLetterHeaders) -> None:
        """Count one."""
        mark = fingerprint(letter)
        if (letter.reason, mark) not in self._groups and len(self._groups) >= MAX_GROUPS:
            mark = OTHERS
        group = self._groups.get((letter.reason, mark))
        if group is None:
            stage, detail = ("", "") if mark == OTHERS else (letter.stage, letter.detail)
            group = Group(reason=letter.reason, fingerprint=mark, stage=stage, detail=detail)
            self._groups[letter.reason, mark] = group
        group.count += 1
        self.count += 1
        if letter.dead_at:
            group.oldest = min(group.oldest or letter.dead_at, letter.dead_at)
            group.newest = max(group.newest, letter.dead_at)

    def largest_first(self) -> list[Group]:
        """The groups."""
        return sorted(self._groups.values(), key=lambda group: (-group.count, group.reason, group.fingerprint))


def by_reason(groups: Iterable[Group]) -> Mapping[str, int]:
    """How many letters of each reason."""
    found: dict[str, int] = {}
    for group in groups:
        found[group.reason] = found.get(group.reason, 0) + group.count
    return dict(sorted(found.items()))
