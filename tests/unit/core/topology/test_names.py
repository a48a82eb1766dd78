import pytest

from zenoti_ingest.core.topology.names import Names

NAMES = Names("zenoti")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zenoti.raw.main", "raw"),
        ("zenoti.enrich.main.0", "lane"),
        ("zenoti.retry.30s", "retry"),
        ("zenoti.out.crm", "out"),
        ("zenoti.archive", "archive"),
        ("zenoti.dead", "dead"),
        ("zenoti.raw.", ""),
        ("zenoti.", ""),
        ("zenoti", ""),
        ("zenotixraw.main", ""),
        ("a.zenoti.raw.main", ""),
        ("zenoti.staging.dead", ""),
    ],
)
def test_role(name: str, expected: str) -> None:
    """Only a name of our shapes beneath our prefix has a role; another installation's, beneath ours, has none."""
    assert NAMES.role(name) == expected


def test_every_name_has_a_role() -> None:
    """What is named here is recognised again."""
    made = {
        "raw": [NAMES.raw("main")],
        "lane": [NAMES.lane("main")],
        "turn": [NAMES.turn("main")],
        "retry": [NAMES.retry(30)],
        "out": [NAMES.out("crm")],
        "wait": [NAMES.waiting("crm")],
        "receiver": [NAMES.receiver("crm"), NAMES.receiver_alone("crm")],
    }
    fixed = ("archive", "dead", "events", "intake", "state", "unrouted", "work")
    made |= {word: [getattr(NAMES, word)] for word in fixed}
    assert {name: NAMES.role(name) for names in made.values() for name in names} == {
        name: role for role, names in made.items() for name in names
    }


@pytest.mark.parametrize(
    ("queue", "source"),
    [
        (NAMES.raw("main"), "main"),
        (NAMES.lane("the_spa"), "the_spa"),
        (NAMES.turn("main"), ""),
        (NAMES.out("main"), ""),
        (NAMES.dead, ""),
        ("other.raw.main", ""),
    ],
)
def test_source_of(queue: str, source: str) -> None:
    """Raw queues and lanes belong to a source; nothing else does."""
    assert NAMES.source_of(queue) == source
