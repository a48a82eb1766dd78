import gzip
import hashlib
import json
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders import (
    INVOICE_ID,
    ZERO_ID,
    data,
    envelope_body,
    event,
    invoice_closed_body,
    json_objects,
    received,
)
from tests.strange import decoded
from zenoti_ingest.core.delivery.size_budget import DEFAULT_MAX_MESSAGE_BYTES
from zenoti_ingest.core.events.reading import Event, read
from zenoti_ingest.core.failures.errors import Malformed, TooLarge

BOM = b"\xef\xbb\xbf"
encodings = st.sampled_from([None, "", "identity", "gzip", "x-gzip", "deflate", "br"]) | st.text(max_size=10)


def bare(**fields: Any) -> bytes:
    """A body without an envelope."""
    return msgspec.json.encode(fields)


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=200), encoding=encodings, path_type=st.text(max_size=10))
@example(body=b'{"a": 1e400}', encoding=None, path_type="")
@example(body=b'{"data": {"invoice": {"\\ud800": 1}}}', encoding=None, path_type="")
@example(body=b'{"appointments": [{"appointment_progress": 1e999}]}', encoding=None, path_type="")
@example(body=gzip.compress(b"{}")[:-1], encoding="gzip", path_type="")
def test_any_bytes_are_an_event_or_malformed(body: bytes, encoding: str | None, path_type: str) -> None:
    """Whatever a stranger sends is either understood or Malformed; nothing else is raised."""
    try:
        found = read(received(body=body, content_encoding=encoding, path_type=path_type))
    except Malformed:
        return
    assert isinstance(found, Event)
    decoded(found.body)


@settings(max_examples=60, deadline=None)
@given(
    document=json_objects,
    spoiler=st.sampled_from(
        ["", "\\", '"', ",", "0", "-", ".", "e", "\t", "\x00", "NaN", "]", "{}", "\\u12", "\\x", "//"]
    ),
    place=st.floats(0, 1),
)
def test_what_is_accepted_is_json_to_everybody(document: dict[str, Any], spoiler: str, place: float) -> None:
    """Only what the standard library reads as JSON too becomes an event: its bytes go into the outgoing document."""
    text = json.dumps(document)
    at = round(place * len(text))
    body = (text[:at] + spoiler + text[at:]).encode()
    try:
        found = read(received(body=body))
    except Malformed:
        return
    json.loads(found.body, parse_constant=pytest.fail)


@settings(max_examples=40, deadline=None)
@given(document=json_objects, indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans(), bom=st.booleans())
def test_any_object_passes_through(document: dict[str, Any], indent: int | None, ascii_only: bool, bom: bool) -> None:  # noqa: FBT001  # hypothesis fills it in
    """A JSON object becomes Event.body byte for byte, a leading byte order mark apart."""
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    found = read(received(body=BOM + body if bom else body))
    assert found.body == body


@settings(max_examples=25, deadline=None)
@given(document=json_objects, encoding=st.sampled_from(["gzip", "deflate", " X-GZIP "]))
def test_compressed_body_is_read_like_the_plain_one(document: dict[str, Any], encoding: str) -> None:
    """A compressed body gives the event, and the id, of the same body sent plain; the message stays as it came."""
    body = json.dumps(document).encode()
    came = received(
        body=zlib.compress(body) if encoding == "deflate" else gzip.compress(body), content_encoding=encoding
    )
    found = read(came)
    assert found == msgspec.structs.replace(read(received(body=body)), received=came)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" \n", id="blanks"),
        pytest.param(BOM, id="only a byte order mark"),
        pytest.param("{}".encode("utf-16"), id="utf-16"),
        pytest.param(b'{"a": "\xff"}', id="invalid utf-8 in a value nobody reads"),
        pytest.param(b'{"a": "\xed\xa0\x80"}', id="surrogate as utf-8"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'{"a": Infinity}', id="Infinity"),
        pytest.param(b'{"a": 1,}', id="trailing comma"),
        pytest.param(b'{"a": 01}', id="leading zero"),
        pytest.param(b'{"a": "\n"}', id="raw control character"),
        pytest.param(b'{"a": "\\q"}', id="unknown escape"),
        pytest.param(b"{} {}", id="two documents"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep array"),
        pytest.param(b'{"data":' * 100_000 + b"1" + b"}" * 100_000, id="deep object"),
        pytest.param(data("invoice_closed.broken.txt"), id="seed without its comma"),
        pytest.param(data("appointment_completed.broken.txt"), id="seed without its quote"),
        pytest.param(b'{"a": "\\ud83d}', id="half of an emoji, and no end"),
        pytest.param(b'{"a": "\\ud8"}', id="an escape cut off"),
        pytest.param(b'{"a": \\ud83d}', id="an escape outside of a text"),
        pytest.param(b'{"a": 1e400', id="a number beyond floats, and no end"),
        pytest.param(b"[1, 2", id="an array without its end"),
        pytest.param("{}".encode("utf-16-le"), id="utf-16 without a mark"),
    ],
)
def test_malformed(body: bytes) -> None:
    """What is not wholly valid UTF-8 JSON is Malformed."""
    with pytest.raises(Malformed):
        read(received(body=body))


def test_malformed_names_the_place_never_the_value() -> None:
    """The text of Malformed names the place and never the value: it goes into logs and headers."""
    cases = [
        data("invoice_closed.broken.txt"),
        b'{"data": {"invoice": {"id": "hush/../hush"}}}',
        b'"hush',
        b'{"event_type": "hush\xff"}',
    ]
    texts = []
    for body in cases:
        with pytest.raises(Malformed) as raised:
            read(received(body=body))
        texts.append(str(raised.value))
    assert "byte" in texts[0]
    assert "invoice.id" in texts[1]
    assert "UTF-8 at byte 20" in texts[3]
    assert not any("hush" in text or "Ada" in text or "555" in text for text in texts)


def test_seed_invoice_closed() -> None:
    """The published Invoice.Closed, repaired, is understood whole."""
    body = data("invoice_closed.json")
    message = received(body=body)
    found = read(message)
    assert found == event(id=found.id, body=body, message=message)


def test_seed_appointment_completed() -> None:
    """The published Appointment Completed, a bare body, is recognised by its shape; its id is its digest."""
    body = data("appointment_completed.json")
    found = read(received(body=body))
    assert found.type == "appointment.completed"
    assert found.invoice_id == found.subject == "1b7d2c4e-8a35-4f60-b1c9-5d2e0b7a0001"
    assert found.id == "sha256:" + hashlib.sha256(body).hexdigest()
    assert (found.event_id, found.time) == (None, None)
    assert found.center_id == "1b7d2c4e-8a35-4f60-b1c9-5d2e0b7a0003"


@pytest.mark.parametrize(
    ("body", "path_type", "expected"),
    [
        pytest.param(envelope_body(event_type="Invoice.Closed"), "", "invoice.closed", id="the envelope's"),
        pytest.param(
            envelope_body(event_type=" GUEST.Merged "), "x.y", "guest.merged", id="the envelope's before the path's"
        ),
        pytest.param(envelope_body(event_type=None), "Guest.Created", "guest.created", id="the path's"),
        pytest.param(
            envelope_body(event_type="  "), " Guest.Created ", "guest.created", id="a blank one counts as none"
        ),
        pytest.param(envelope_body(event_type="Größe/2"), "", "gr--e-2", id="characters outside become dashes"),
        pytest.param(bare(invoice={"invoice_number": "1"}), "", "invoice.closed", id="shape of an invoice"),
        pytest.param(
            envelope_body(event_type=None, data={"invoice": {"invoice_number": "1"}}),
            "",
            "invoice.closed",
            id="shape inside",
        ),
        pytest.param(bare(invoice={"invoice_number": "1"}), "Foo.Bar", "foo.bar", id="the path's before the shape"),
        pytest.param(bare(invoice={"id": "1"}), "", "unknown", id="invoice without a number"),
        pytest.param(bare(invoice="1"), "", "unknown", id="invoice is no object"),
        pytest.param(bare(invoice={"invoice_number": "1"}, guest_membership={}), "", "unknown", id="membership beside"),
        pytest.param(bare(invoice={"invoice_number": "1"}, Package_id=1), "", "unknown", id="package beside"),
        pytest.param(
            bare(appointments=[{"appointment_progress": 1}]), "", "appointment.started", id="highest progress 1"
        ),
        pytest.param(
            bare(appointments=[{"appointment_progress": 2}, {"appointment_progress": 0}, {}]),
            "",
            "appointment.completed",
            id="highest progress 2",
        ),
        pytest.param(bare(appointments=[{"appointment_progress": 0}]), "", "unknown", id="highest progress 0"),
        pytest.param(bare(appointments=[{"appointment_progress": 3}]), "", "unknown", id="highest progress 3"),
        pytest.param(bare(appointments=[{"appointment_progress": "2"}]), "", "unknown", id="progress is text"),
        pytest.param(bare(appointments=[{"appointment_progress": True}]), "", "unknown", id="progress is true"),
        pytest.param(bare(appointments=[]), "", "unknown", id="no appointments"),
        pytest.param(bare(appointments=[1]), "", "unknown", id="appointments are numbers"),
        pytest.param(bare(appointments={}), "", "unknown", id="appointments is an object"),
        pytest.param(b"[]", "", "unknown", id="an array"),
        pytest.param(b"null", "", "unknown", id="null"),
        pytest.param(b"{}", "", "unknown", id="an empty object"),
    ],
)
def test_type(body: bytes, path_type: str, expected: str) -> None:
    """The type is the envelope's, else the path's, else what the two seeds' shapes show, else unknown."""
    assert read(received(body=body, path_type=path_type)).type == expected


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        pytest.param({"invoice": {"id": "AbC-9"}}, "AbC-9", id="data.invoice.id, letter case kept"),
        pytest.param({"invoice_id": "x"}, "x", id="data.invoice_id"),
        pytest.param({"invoice": {"id": "a"}, "invoice_id": "b"}, "a", id="data.invoice.id first"),
        pytest.param({"invoice": {"id": ZERO_ID}, "invoice_id": "b"}, "b", id="all-zero counts as none"),
        pytest.param({"invoice": {"id": ""}}, None, id="empty"),
        pytest.param({"invoice": {"id": "  "}}, None, id="blank"),
        pytest.param({"invoice": {"id": None}, "invoice_id": None}, None, id="null"),
        pytest.param({"invoice": None}, None, id="invoice is null"),
        pytest.param({"invoice_id": ZERO_ID}, None, id="all-zero"),
        pytest.param({"invoice_id": "9" * 64}, "9" * 64, id="64 characters"),
        pytest.param({"id": "x"}, None, id="data.id is no invoice's"),
        pytest.param({"invoice": {"id": 7448}}, "7448", id="a number counts as its digits"),
        pytest.param({"invoice_id": 12345678901234567890}, "12345678901234567890", id="a large number"),
        pytest.param({"invoice_id": 0}, None, id="the number zero"),
        pytest.param({"invoice": ["a"], "invoice_id": "b"}, "b", id="invoice is a list"),
        pytest.param({"invoice": "a", "invoice_id": "b"}, "b", id="invoice is text"),
        pytest.param({"invoice": {}, "invoice_id": "b"}, "b", id="invoice without an id"),
    ],
)
@pytest.mark.parametrize("enveloped", [True, False], ids=["envelope", "bare"])
def test_invoice_id(inside: dict[str, Any], expected: str | None, enveloped: bool) -> None:  # noqa: FBT001  # a table's column
    """The invoice is found at data.invoice.id, then data.invoice_id; an empty or all-zero id counts as none."""
    body = envelope_body(data=inside) if enveloped else bare(**inside)
    assert read(received(body=body)).invoice_id == expected


@pytest.mark.parametrize(
    "value",
    [
        "../../admin",
        "a b",
        "a/b",
        "a?b",
        "a%2fb",
        "ä",
        "a\n",
        " a",
        "x" * 65,
        "a\x00",
        5.5,
        1e300,
        True,
        False,
        {},
        ["a"],
    ],
    ids=repr,
)
def test_unusable_invoice_id_is_malformed(value: Any) -> None:
    """An invoice id that could not stand in a URL, or is neither text nor digits, is a dead letter in either place."""
    with pytest.raises(Malformed, match=r"invoice\.id"):
        read(received(body=invoice_closed_body(invoice_id=value)))
    with pytest.raises(Malformed, match="invoice_id"):
        read(received(body=envelope_body(data={"invoice_id": value})))


@pytest.mark.parametrize(
    ("inside", "subject", "center_id"),
    [
        pytest.param(
            {"invoice": {"id": "i", "center_id": "c"}, "id": "d", "center_id": "e"}, "i", "c", id="the invoice's first"
        ),
        pytest.param({"id": "d", "center_id": "e"}, "d", "e", id="else those of data"),
        pytest.param({}, None, None, id="none"),
        pytest.param({"id": 5, "center_id": 6}, None, None, id="numbers are no ids"),
        pytest.param({"id": "", "center_id": ""}, None, None, id="empty"),
    ],
)
def test_subject_and_center(inside: dict[str, Any], subject: str | None, center_id: str | None) -> None:
    """Subject is the invoice's id, else data.id; the centre is the invoice's, else that of data."""
    found = read(received(body=envelope_body(data=inside)))
    assert (found.subject, found.center_id) == (subject, center_id)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("2031-05-06T17:08:09.1234567Z", True),
        ("2031-05-06T17:08:09Z", True),
        ("2031-05-06t17:08:09z", True),
        ("2031-05-06T17:08:09.1+05:30", True),
        ("2031-05-06T17:08:09", False),
        ("2031-05-06 17:08:09Z", False),
        ("2031-05-06", False),
        ("", False),
        ("2031-05-06T17:08:09Z\n", False),
        ("\u0662031-05-06T17:08:09Z", False),
        (None, False),
    ],
    ids=repr,
)
def test_time(value: str | None, kept: bool) -> None:  # noqa: FBT001  # a table's column
    """The event's time is kept as text where it is RFC 3339, and left out otherwise."""
    found = read(received(body=envelope_body(event_timestamp=value)))
    assert found.time == (value if kept else None)


@pytest.mark.parametrize("marks", [{"replay": "r1"}, {"redriven": True}], ids=["replayed", "redriven"])
def test_replayed_and_redriven_are_never_duplicates(marks: dict[str, Any]) -> None:
    """What an operator brought back is not dropped, however lately it was passed on."""
    assert read(received(body=invoice_closed_body(), **marks)).duplicate_key is None


def test_known_invoice() -> None:
    """The builder's body names the builder's invoice: the tests' own ground."""
    assert read(received(body=invoice_closed_body())).invoice_id == INVOICE_ID


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        pytest.param(b"\x1f\x8b", "br", id="unknown encoding"),
        pytest.param(b"\x1f\x8b", "gzip, br", id="unknown encoding beside a known one"),
        pytest.param(gzip.compress(b"{}"), "", id="compressed without a word"),
        pytest.param(gzip.compress(b"{}"), "identity", id="compressed and called identity"),
        pytest.param(gzip.compress(b"{"), "gzip", id="compressed, no JSON"),
        pytest.param(gzip.compress(gzip.compress(b"{}")), "gzip", id="a layer more than declared"),
        pytest.param(b"{", "gzip", id="neither compressed nor JSON"),
    ],
)
def test_no_json_in_any_encoding(body: bytes, encoding: str) -> None:
    """What is JSON neither as it came nor with as many compressions less as are declared is Malformed."""
    with pytest.raises(Malformed):
        read(received(body=body, content_encoding=encoding))


def test_the_largest_is_taken() -> None:
    """A body that inflates to exactly the bound is taken."""
    body = b'"' + b"0" * (DEFAULT_MAX_MESSAGE_BYTES - 2) + b'"'
    assert read(received(body=gzip.compress(body, 1), content_encoding="gzip")).body == body


@pytest.mark.parametrize("most", [1000, DEFAULT_MAX_MESSAGE_BYTES])
def test_inflating_is_bounded_by_what_can_be_published(most: int) -> None:
    """A body that inflates to one byte more than the bound is TooLarge, which is not Malformed."""
    body = gzip.compress(b'"' + b"0" * (most - 1) + b'"', 1)
    with pytest.raises(TooLarge, match=str(most)):
        read(received(body=body, content_encoding="gzip"), max_bytes=most)


def test_layers_are_bounded() -> None:
    """A header of a thousand words does not make a body be inflated a thousand times."""
    body = b"{}"
    for _ in range(5):
        body = gzip.compress(body)
    with pytest.raises(Malformed):
        read(received(body=body, content_encoding=", ".join(["gzip"] * 1000)))
