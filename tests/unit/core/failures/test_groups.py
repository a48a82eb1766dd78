from zenoti_ingest.core.failures.dead_letter import fingerprint
from zenoti_ingest.core.failures.groups import MAX_GROUPS, OTHERS, Groups, by_reason
from zenoti_schemas.dead_letter import DeadLetterHeaders


def letter(
    reason: str = "refused", detail: str = "code 400", *, dead_at: str = "", stage: str = "enrich"
) -> DeadLetterHeaders:
    """A letter of the dead."""
    return DeadLetterHeaders(reason=reason, detail=detail, stage=stage, dead_at=dead_at)


def test_letters_of_one_fault_are_one_group() -> None:
    """A group counts the letters of one fault, with its oldest and newest; the largest comes first."""
    groups = Groups()
    for each in (
        letter("malformed", "not JSON (byte 7)", dead_at="2031-05-02"),
        letter(dead_at="2031-05-03"),
        letter("malformed", "not JSON (byte 12)", dead_at="2031-05-01"),
        letter("malformed", "not JSON (byte 9)"),
    ):
        groups.add(each)
    first, second = groups.largest_first()
    assert (first.reason, first.count, first.oldest, first.newest) == ("malformed", 3, "2031-05-01", "2031-05-02")
    assert first.fingerprint == fingerprint(letter("malformed", "not JSON (byte 1)"))
    assert (second.reason, second.count, second.stage) == ("refused", 1, "enrich")
    assert groups.count == 4
    assert by_reason(groups.largest_first()) == {"malformed": 3, "refused": 1}


def test_ever_new_faults_do_not_fill_the_memory() -> None:
    """Past the bound letters of new faults are counted together, and those of known faults where they belong."""
    groups = Groups()
    for number in range(MAX_GROUPS + 50):
        groups.add(letter(detail="x" * number))
    groups.add(letter(detail="x"))
    found = {group.fingerprint: group.count for group in groups.largest_first()}
    assert len(found) == MAX_GROUPS + 1
    assert found[OTHERS] == 50
    assert found[fingerprint(letter(detail="x"))] == 2
    assert groups.count == MAX_GROUPS + 51
