import msgspec
import pytest

from tests.builders import envelope_body, received
from worker.core.translate import read


@pytest.mark.parametrize(
    "time",
    ["2022-13-45T99:99:99Z", "2022-03-11T14:22:60Z", "2022-03-11T14:22:43+99:99", "2022-03-11T14:22:43.1234567890Z"],
)
def test_a_time_that_cannot_be_is_left_out(time: str) -> None:
    """A time in the shape of RFC 3339 that names no moment is left out: it would make the whole event unreadable."""
    assert read(received(body=envelope_body(event_timestamp=time))).time is None


def test_a_long_subject_or_centre_is_left_out() -> None:
    """What the headers could not carry is left out of them; the body still has it."""
    data = {"id": "s" * 256, "center_id": "c" * 256}
    found = read(received(body=msgspec.json.encode({"event_type": "X", "data": data})))
    assert (found.subject, found.center_id) == (None, None)


def test_what_decides_nothing_may_be_of_any_type() -> None:
    """A number where `id`, `event_schema` or `event_resource` is text stops no event."""
    found = read(received(body=b'{"id": 7, "event_schema": 2, "event_resource": [], "event_type": "A.B", "data": {}}'))
    assert found.type == "a.b"


@pytest.mark.parametrize("data", [b"null", b"[]", b"5"])
def test_the_envelopes_delivery_id_is_no_subject(data: bytes) -> None:
    """Where `data` is no object there is no subject: the envelope's own id is that of a delivery."""
    assert read(received(body=b'{"id": "delivery", "event_type": "A", "data": %s}' % data)).subject is None


def test_a_body_that_is_no_object_takes_the_type_of_the_path() -> None:
    """Any JSON is an event; its type is the path's."""
    assert read(received(body=b"[]", path_type="Invoice.Closed")).type == "invoice.closed"
