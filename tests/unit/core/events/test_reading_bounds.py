import gzip
import tracemalloc

import msgspec
import pytest

from tests.builders import envelope_body, received
from zenoti_ingest.core.events.reading import read
from zenoti_ingest.core.failures.errors import Malformed, TooLarge


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


MIB = 1024 * 1024
EMOJI = "\N{GRINNING FACE}".encode()
WIDE = b'{"event_id": "e", "event_type": "A", "data": {"text": "%s%s"}}' % (EMOJI, b"x" * (6 * MIB))
HALVES = b'{"event_id": "e", "event_type": "A", "data": {"text": "%s"}}' % (rb"\ud83d" * (MIB // 16))
OBJECTS = b'{"appointments": [%s]}' % b",".join([b"{}"] * (2 * MIB))
MEMBERS = b"{%s}" % b",".join(b'"%d": 1' % number for number in range(MIB // 2))


@pytest.mark.parametrize(
    ("plain", "times"),
    [
        pytest.param(WIDE, 3, id="one character takes four bytes as text"),
        pytest.param(HALVES, 8, id="halves of emojis"),
        pytest.param(OBJECTS, 3, id="a list of objects"),
        pytest.param(MEMBERS, 3, id="members of all names"),
    ],
)
def test_reading_takes_memory_by_the_size_of_the_body(plain: bytes, times: int) -> None:
    """What is made of a body while it is read takes a few times its size, whatever it is made of."""
    came = received(body=gzip.compress(plain, 1), content_encoding="gzip")
    tracemalloc.start()
    found = read(came)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.body == plain
    assert peak < times * len(plain)


def test_a_packed_event_keeps_no_body_of_its_own() -> None:
    """Inflated, or without its byte order mark, the body is read again when it goes out; a plain body is not copied."""
    plain = envelope_body(note="x" * 1000)
    for came in (received(body=gzip.compress(plain), content_encoding="gzip"), received(body=b"\xef\xbb\xbf" + plain)):
        packed = read(came).packed()
        assert packed.body == b""
        assert packed.unpacked() == read(came)
    same = read(received(body=plain)).packed()
    assert same.body is same.received.body
    assert same.unpacked() is same


def test_what_was_inflated_once_can_be_too_large_later() -> None:
    """The bound may have come down while the event waited."""
    packed = read(received(body=gzip.compress(envelope_body(note="x" * 1000)), content_encoding="gzip")).packed()
    with pytest.raises(TooLarge):
        packed.unpacked(max_bytes=1000)


@pytest.mark.parametrize("before", [0, 1, MIB - 3, MIB - 2, MIB - 1, MIB, 2 * MIB - 1])
def test_text_is_checked_to_the_last_byte_of_a_large_body(before: int) -> None:
    """A character may lie across the pieces in which a large body is checked; what is wrong is found at its place."""
    good, bad = b'"%s%s%s"' % (b"x" * before, EMOJI, b"x" * MIB), b'"%s\xff%s"' % (b"x" * before, b"x" * MIB)
    assert read(received(body=good)).body == good
    with pytest.raises(Malformed, match=f"not UTF-8 at byte {before + 1}$"):
        read(received(body=bad))
    with pytest.raises(Malformed, match=f"not UTF-8 at byte {len(good) - 1}$"):
        read(received(body=good[:-1] + EMOJI[:2]))


def test_a_large_body_is_not_looked_through_for_its_kind() -> None:
    """Shape says what a bare body is up to 4 MiB; a larger body without a type is unknown, and still goes its way."""
    invoice = {"invoice": {"id": "i-1", "invoice_number": "7", "note": "x" * 3 * MIB}}
    assert read(received(body=msgspec.json.encode(invoice))).type == "invoice.closed"
    invoice["invoice"]["note"] *= 2
    found = read(received(body=msgspec.json.encode(invoice)))
    assert (found.type, found.invoice_id) == ("unknown", "i-1")
