import hashlib
import re
from typing import Any

import pytest
from hypothesis import given, settings

from tests.builders import envelope_body, invoice_closed_body, json_values, received
from zenoti_ingest.core.events.reading import Event, read
from zenoti_ingest.core.failures.errors import Malformed

DATA = b'{"id": 0.10, "a":"\\u00e9"}'


def body_of(data: bytes = DATA, *, event_id: bytes = b'"e-1"', kind: bytes = b'"Guest.Created"') -> bytes:
    """A webhook's body, byte for byte."""
    return b'{"event_id": %s, "event_type": %s, "data": %s }' % (event_id, kind, data)


def event_of(*parts: bytes, path_type: str = "", **named: bytes) -> Event:
    """The event that `body_of` is read as."""
    return read(received(body=body_of(*parts, **named), path_type=path_type))


def digest(kind: bytes, content: bytes) -> str:
    """As the interface has it."""
    return hashlib.sha256(kind + b"\0" + content).hexdigest()[:16]


def test_the_id() -> None:
    """It is the event_id, a dot, and 16 digits over the type as in the routing key, a NUL and the bytes of data."""
    found = event_of(kind=b'" GUEST.Created/2 "')
    assert (found.id, found.event_id) == (f"e-1.{digest(b'guest.created-2', DATA)}", "e-1")


def test_the_id_without_data() -> None:
    """Without data the digest is over the whole body, as it leaves: inflated, without a byte order mark."""
    body = b'{"event_id": "e-1", "id": "g"}'
    found = read(received(body=b"\xef\xbb\xbf" + body, path_type="Guest.Created"))
    assert found.id == f"e-1.{digest(b'guest.created', body)}"


@pytest.mark.parametrize("data", [b"null", b"[]", b"5", b'"x"', b"{}"])
def test_data_of_any_type_counts(data: bytes) -> None:
    """Whatever `data` is, its bytes are what the digest is over."""
    assert event_of(data).id == f"e-1.{digest(b'guest.created', data)}"


@pytest.mark.parametrize(
    "event_id",
    [
        b"null",
        b'""',
        b'"  "',
        b"7",
        b"[]",
        b"true",
        b'"%s"' % (b"x" * 201),
        '"{}"'.format("é" * 101).encode(),
        b'"\\ud83d"',
    ],
)
def test_an_event_id_that_counts_for_nothing(event_id: bytes) -> None:
    """What is no text, blank, longer than 200 bytes, or no Unicode is no event_id: the digest of the body is the id."""
    found = event_of(event_id=event_id)
    body = body_of(event_id=event_id)
    assert (found.id, found.event_id) == ("sha256:" + hashlib.sha256(body).hexdigest(), None)
    assert found.duplicate_key is None


def test_the_longest_event_id() -> None:
    """200 bytes count, and AMQP can carry the id that is made of them."""
    found = event_of(event_id=b'"%s"' % (b"x" * 200))
    assert found.event_id == "x" * 200
    assert len(found.id) == 217


def test_what_distinguishes_two_events() -> None:
    """Another type, other data, other spelling of the same data, another event_id: each is another event."""
    made = [
        event_of(),
        event_of(kind=b'"Guest.Updated"'),
        event_of(DATA.replace(b"0.10", b"0.1")),
        event_of(DATA.replace(b" ", b"")),
        event_of(event_id=b'"e-2"'),
        event_of(event_id=b'" e-1"'),
        event_of(b'{"a": "\\ud83d"}'),
        event_of(b'{"a": "\\ud83e"}'),
        event_of(b'{"a": "\\ufffd"}'),
    ]
    assert len({each.id for each in made}) == len({each.duplicate_key for each in made}) == len(made)


def test_what_makes_no_other_event() -> None:
    """The delivery's own id, the type's letter case, and how the body travelled are not part of the identity."""
    first = event_of()
    again = received(body=body_of(kind=b'"GUEST.CREATED"').replace(b"{", b'{"id": "d-2", ', 1), receipt_id="2")
    assert read(again).id == first.id
    assert first.duplicate_key == read(again).duplicate_key == first.id


@pytest.mark.parametrize("data", [b'{"a": "\\ud83d", "data": [{}]}', b'["\\udc00"]', b'"\\ud83d\\\\ud83d"'])
def test_bytes_count_where_msgspec_cannot_read_them(data: bytes) -> None:
    """The digest is over data as it came, unpaired surrogates too, wherever `data` stands in the body."""
    beside = b'{"data": 1, "x": {"data": %s}, "event_id": "e-1", "d\\u0061ta" : %s , "z": "data"}' % (data, data)
    assert read(received(body=beside, path_type="A")).id == f"e-1.{digest(b'a', data)}"


def test_long_types_stay_apart() -> None:
    """Two types of more than 200 bytes that begin alike are two types, though their routing keys are the same."""
    first, other = (event_of(kind=b'"%s.%s"' % (b"Long" * 60, end)) for end in (b"a", b"b"))
    assert first.type == other.type
    assert first.id != other.id
    assert event_of(kind=b'"%s.A"' % (b"long" * 60)).id == first.id


@pytest.mark.parametrize("marks", [{"replay": "r1"}, {"redriven": True}], ids=["replayed", "redriven"])
def test_replayed_and_redriven_are_never_duplicates(marks: dict[str, Any]) -> None:
    """What an operator brought back is not dropped, however lately it was passed on; its id is the same."""
    found = read(received(body=body_of(), **marks))
    assert (found.id, found.duplicate_key) == (event_of().id, None)


def test_a_malformed_event_is_known_by_its_ids() -> None:
    """A letter for an unusable invoice id names its event."""
    with pytest.raises(Malformed) as caught:
        read(received(body=invoice_closed_body(invoice_id="a/b", event_id="e-1")))
    assert (caught.value.identity.event_type, caught.value.identity.event_id) == ("invoice.closed", "e-1")
    assert re.fullmatch(r"e-1\.[0-9a-f]{16}", caught.value.identity.cloudevent_id)


@settings(max_examples=100, deadline=None)
@given(data=json_values, other=json_values)
def test_same_id_same_bytes(data: Any, other: Any) -> None:
    """Two events of one event_id and type have one id just where their data is the same, byte for byte."""
    first, second = (envelope_body(data={"x": each}) for each in (data, other))
    same = read(received(body=first)).id == read(received(body=second)).id
    assert same == (first == second)
