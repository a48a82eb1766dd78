"""The frames of a publish and of an ack are those that pamqp makes."""

import struct
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from zenoti_ingest.adapters.broker import frames
from zenoti_ingest.core.events.messages import Outgoing

CHANNEL = 7
MOST = 100
SHORT = st.text(max_size=60)
HEADERS = st.dictionaries(
    st.text(min_size=1, max_size=140), st.one_of(st.text(), st.integers(-(2**40), 2**40)), max_size=6
)


def split(data: bytes) -> list[Any]:
    """Frames as pamqp reads them."""
    found = []
    while data:
        taken, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == CHANNEL
        found.append(frame)
        data = data[taken:]
    return found


@given(
    body=st.binary(max_size=3 * MOST + 1),
    headers=HEADERS,
    content_type=st.one_of(st.none(), SHORT),
    content_encoding=st.one_of(st.none(), SHORT),
    message_id=SHORT,
)
def test_a_publish(
    body: bytes, headers: dict[str, Any], content_type: str | None, content_encoding: str | None, message_id: str
) -> None:
    """A publish is read by pamqp as what it was; and is what pamqp makes of it, but for the order of the headers."""
    message = Outgoing(
        exchange="zenoti.events",
        routing_key="invoice.closed",
        body=body,
        message_id=message_id,
        headers=headers,
        content_type=content_type,
        content_encoding=content_encoding,
    )
    properties = spec.Basic.Properties(
        content_type=content_type,
        content_encoding=content_encoding,
        headers=headers,
        delivery_mode=2,
        message_id=message_id,
    )
    made = b"".join(frames.of_publish(message, message_id, channel=CHANNEL, most=MOST))
    method, header, *bodies = split(made)
    theirs = pamqp.frame.marshal(ContentHeader(body_size=len(body), properties=properties), CHANNEL)
    assert (method.exchange, method.routing_key, method.mandatory) == ("zenoti.events", "invoice.closed", True)
    [expected] = split(theirs)
    assert header.body_size == len(body)
    for name in spec.Basic.Properties.attributes():
        assert (getattr(header.properties, name) or None) == (getattr(expected.properties, name) or None), name
    assert b"".join(part.value for part in bodies) == body
    assert all(isinstance(part, ContentBody) and len(part.value) <= MOST for part in bodies)


@pytest.mark.parametrize("multiple", [True, False])
@pytest.mark.parametrize("tag", [1, 2**40])
def test_an_ack(tag: int, multiple: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """An ack is the very bytes that pamqp makes."""
    theirs = pamqp.frame.marshal(spec.Basic.Ack(delivery_tag=tag, multiple=multiple), CHANNEL)
    assert frames.of_ack(tag, multiple=multiple, channel=CHANNEL) == theirs


def test_rejects() -> None:
    """The bytes are pamqp's."""
    theirs = pamqp.frame.marshal(spec.Basic.Reject(7, requeue=False), CHANNEL)
    assert frames.of_reject(7, channel=CHANNEL) == theirs


@pytest.mark.parametrize(
    "wrong", [{"content_type": "x" * 256}, {"content_encoding": "é" * 128}, {"routing_key": "x" * 256}]
)
def test_what_amqp_cannot_carry(wrong: dict[str, str]) -> None:
    """What is too long for a short string raises."""
    given_ = {"exchange": "e", "routing_key": "k", "body": b"", "message_id": "m", "headers": dict[str, Any]()}
    with pytest.raises((TypeError, ValueError, struct.error)):
        frames.of_publish(Outgoing(**(given_ | wrong)), "m", channel=CHANNEL, most=MOST)  # type: ignore[arg-type]
