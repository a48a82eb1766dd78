import re

import pytest

from zenoti_ingest.core.topology.differences import Difference
from zenoti_ingest.core.topology.migration import with_migration
from zenoti_ingest.core.topology.names import Names

NAMES = Names("zenoti")


def instructions(difference: Difference, *, vhost: str = "/") -> str:
    """The instructions for the operator."""
    return with_migration(difference, NAMES, vhost=vhost).migrate


def binding(source: str, destination: str, *, kind: str = "queue") -> Difference:
    """A binding that nobody declares any more."""
    key = "%2A.invoice.%23"
    at = {"source": source, "destination": destination, "destination_type": kind, "properties_key": key}
    return Difference("binding", "a binding", "surplus", is_=at)


ALL = [
    Difference("queue", f"zenoti.{name}", state)
    for name in ("raw.a", "enrich.a.0", "retry.5s", "dead", "unrouted", "archive", "state", "out.crm")
    for state in ("missing", "different", "surplus")
] + [
    Difference("queue", "named-by-them", "different"),
    Difference("queue", "theirs", "missing", ours=False),
    Difference("exchange", "zenoti.events", "missing"),
    Difference("exchange", "zenoti.events", "different"),
    Difference("exchange", "zenoti.retry.9s", "surplus"),
    Difference("binding", "a binding", "missing"),
    Difference("policy", "zenoti.raw.a", "different"),
    binding("zenoti.events", "zenoti.out.crm"),
    binding("zenoti.events", "strangers"),
    binding("zenoti.intake", "copy", kind="exchange"),
]


@pytest.mark.parametrize("difference", ALL, ids=lambda d: f"{d.kind}-{d.state}-{d.name}")
def test_every_difference_says_what_to_do(difference: Difference) -> None:
    """No kind of difference leaves an operator alone, nor with a gap in the text."""
    text = instructions(difference)
    assert text
    assert not re.search(r"[{}]", text)
    assert instructions(with_migration(difference, NAMES, vhost="/")) == text


@pytest.mark.parametrize("difference", ALL, ids=lambda d: f"{d.kind}-{d.state}-{d.name}")
def test_nothing_is_deleted_that_may_hold_messages(difference: Difference) -> None:
    """A queue is deleted only once it is empty, or after a word that what it holds is given up."""
    text = instructions(difference)
    assert "--if-empty" not in text  # quorum queues do not know it
    if "delete_queue" in text:
        before = text.partition("`rabbitmqctl delete_queue")[0]
        assert re.search(r"at 0|read it to 0|at 0 messages|give up what it holds|last words", before)


def test_another_virtual_host_stands_in_the_commands() -> None:
    """Where the broker's virtual host is not `/`, the commands name it, spelled for each tool."""
    lane = instructions(Difference("queue", "zenoti.enrich.a.0", "different"), vhost="/salon")
    assert "rabbitmqctl list_queues -p /salon name messages" in lane
    assert "rabbitmqctl delete_queue -p /salon zenoti.enrich.a.0" in lane
    assert "/api/exchanges/%2Fsalon/zenoti.work" in instructions(
        Difference("exchange", "zenoti.work", "different"), vhost="/salon"
    )


def test_a_binding_is_named_as_the_api_wants_it() -> None:
    """The properties key is quoted once more for the path; a stranger's queue can be taken into the configuration."""
    ours, strangers = (
        instructions(binding("zenoti.events", "zenoti.out.crm")),
        instructions(binding("zenoti.events", "strangers")),
    )
    assert '/api/bindings/%2F/e/zenoti.events/q/zenoti.out.crm/%252A.invoice.%2523"' in ours
    assert "declare = false" not in ours
    assert "queue = 'strangers', declare = false" in strangers
    assert "/e/zenoti.intake/e/copy/" in instructions(binding("zenoti.intake", "copy", kind="exchange"))
