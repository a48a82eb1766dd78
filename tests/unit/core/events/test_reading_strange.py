import json

import pytest

from tests.builders import enrichment, received
from tests.strange import ENRICHED, Strange, decoded, strange
from zenoti_ingest.core.events import cloud_event
from zenoti_ingest.core.events.reading import read


@pytest.mark.parametrize("case", [pytest.param(each, id=each.name) for each in strange()])
def test_it_comes_out(case: Strange) -> None:
    """What is odd about it decides nothing: it has its routing key, its invoice, and leaves byte for byte."""
    found = read(received(body=case.body, content_encoding=case.encoding or None))
    out = cloud_event.outgoing(found, exchange="e", enrichment=enrichment())
    assert (out.routing_key, found.body) == (case.key, case.plain)
    assert (found.invoice_id is not None) == (case.status == ENRICHED)
    assert case.plain in out.body
    assert decoded(out.body)["data"]["event"] == decoded(case.plain)


def test_what_decided_once_decides_again() -> None:
    """The message goes to the lane as it came, and is read there as the same event; packed and unpacked it is, too."""
    for case in strange():
        came = received(body=case.body, content_encoding=case.encoding or None)
        found = read(came)
        assert found.received is came
        assert read(found.received) == found
        assert found.packed().unpacked() == found


def test_ids_differ() -> None:
    """No two of them have the same id, though many have the same data."""
    ids = [read(received(body=case.body, content_encoding=case.encoding or None)).id for case in strange()]
    assert len(set(ids)) == len(ids)
    assert json.dumps(ids)
