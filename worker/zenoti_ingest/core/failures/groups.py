"""Groups dead letters by fault: a group per fault, however many letters there are."""

from collections.abc import Iterable, Mapping

import msgspec

from zenoti_ingest.core.failures.dead_letter import fingerprint
from zenoti_schemas.dead_letter import DeadLetterHeaders

MAX_GROUPS = 1_000
OTHERS = "others"


class Group(msgspec.Struct, kw_only=True):
    """The letters of a fault.

    Attributes:
        reason: the fixed word.
        fingerprint: the mark that the letters of a fault share.
        stage: the stage that failed.
        count: the number of letters.
        oldest: when the first letter was dead-lettered (RFC 3339, UTC); empty if no letter has a time.
        newest: when the last letter was dead-lettered.
        detail: the detail of the first letter counted.
    """

    reason: str
    fingerprint: str
    stage: str
    count: int = 0
    oldest: str = ""
    newest: str = ""
    detail: str = ""


class Groups:
    """Counts letters. After MAX_GROUPS faults, letters of new faults are counted together, in a group per reason."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}
        self.count = 0  # all letters

    def add(self, letter: DeadLetterHeaders) -> None:
        """Count a letter."""
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
        """The groups, by falling count."""
        return sorted(self._groups.values(), key=lambda group: (-group.count, group.reason, group.fingerprint))


def by_reason(groups: Iterable[Group]) -> Mapping[str, int]:
    """The number of letters per reason."""
    found: dict[str, int] = {}
    for group in groups:
        found[group.reason] = found.get(group.reason, 0) + group.count
    return dict(sorted(found.items()))
