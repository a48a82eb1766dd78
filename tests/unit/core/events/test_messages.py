from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import RECEIPT_ID, RECEIVED_AT, received
from zenoti_ingest.core.events.messages import Received, carried
from zenoti_ingest.core.events.messages import received as read
from zenoti_ingest.core.events.trace_context import TraceContext, context

TRACE = context("a" * 32, "b" * 16, flags=1, state="vendor=1")
OTHER = context("c" * 32, "d" * 16)

header_values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5) | st.just([])
)


def test_first_hop_bears_only_what_is_known() -> None:
    """The message of a fresh event has three headers, and is named by its receipt."""
    found = received(body=b"x", content_encoding="gzip").to(exchange="zenoti.intake", routing_key="main")
    assert found.headers == {"source": "main", "receipt_id": RECEIPT_ID, "received_at": RECEIVED_AT}
    assert (found.exchange, found.routing_key, found.body) == ("zenoti.intake", "main", b"x")
    assert (found.message_id, found.content_type, found.content_encoding) == (RECEIPT_ID, "application/json", "gzip")


def test_the_door_need_not_say_what_is_usual() -> None:
    """A webhook made of its four needful parts is a first attempt, neither replayed nor redriven."""
    made = Received(body=b"{}", source="main", receipt_id=RECEIPT_ID, received_at=RECEIVED_AT)
    assert made == received(content_type=None)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(received(), id="plain"),
        pytest.param(received(path_type="Invoice.Closed"), id="type in the path"),
        pytest.param(received(attempts=3), id="third attempt"),
        pytest.param(received(replay="r1"), id="replayed"),
        pytest.param(received(redriven=True), id="redriven"),
        pytest.param(received(body=b"\x1f\x8b\xff", content_type=None, content_encoding="gzip"), id="compressed"),
        pytest.param(received(trace=TRACE), id="traced"),
        pytest.param(received(path_type="a/b", attempts=8, replay="r1", redriven=True, trace=OTHER), id="everything"),
    ],
)
def test_a_hop_loses_nothing(message: Received) -> None:
    """What one stage publishes the next reads back whole."""
    sent = message.to(exchange="e", routing_key="k")
    found = read(
        sent.body,
        sent.headers,
        source=message.source,
        message_id=sent.message_id,
        content_type=sent.content_type,
        content_encoding=sent.content_encoding,
    )
    assert found == message


@settings(max_examples=100, deadline=None)
@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "source",
                "receipt_id",
                "received_at",
                "path_type",
                "attempts",
                "replay",
                "redriven",
                "traceparent",
                "tracestate",
            ]
        ),
        header_values,
    )
)
def test_reading_never_fails(headers: dict[str, Any]) -> None:
    """Whatever headers a stranger publishes with, the event is read: attempts from 1, texts where texts belong."""
    found = read(b"x", headers, source="main", message_id="m")
    assert found.source == "main"
    assert found.attempts >= 1
    assert isinstance(found.receipt_id + found.received_at + found.path_type + found.replay, str)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(
            {}, received(body=b"x", receipt_id="m", received_at=""), id="nothing: the message id is the receipt"
        ),
        pytest.param({"source": "other"}, received(body=b"x", receipt_id="m", received_at=""), id="the queue's source"),
        pytest.param({"receipt_id": b"r\xff"}, received(body=b"x", receipt_id="r\ufffd", received_at=""), id="bytes"),
        pytest.param({"attempts": 0}, received(body=b"x", receipt_id="m", received_at=""), id="attempt 0 is the first"),
        pytest.param({"attempts": "9"}, received(body=b"x", receipt_id="m", received_at=""), id="attempts as text"),
    ],
)
def test_what_a_stranger_left_out(headers: dict[str, Any], expected: Received) -> None:
    """Missing and odd headers are read as nothing, as bytes in UTF-8, or as the first attempt."""
    assert read(b"x", headers, source="main", message_id="m", content_type="application/json") == expected


def test_a_message_is_carried_into_another_trace() -> None:
    """Carried into a trace a message has the headers of that trace and none of its own; all else is as it was."""
    message = received(trace=TRACE).to(exchange="e", routing_key="k")
    found = carried(message, OTHER)
    assert found.headers == {**received().to(exchange="e", routing_key="k").headers, **OTHER.headers()}
    assert (found.body, found.exchange, found.routing_key) == (message.body, "e", "k")


@pytest.mark.parametrize("trace", [None, TRACE])
def test_into_no_trace_or_its_own_nothing_changes(trace: TraceContext | None) -> None:
    """Where nobody traces, a message passes as it is."""
    message = received(trace=TRACE).to(exchange="e", routing_key="k")
    assert carried(message, trace) is message


def test_the_id_for_logs() -> None:
    """It is that of the trace, or empty."""
    assert (received(trace=TRACE).trace_id, received().trace_id) == ("a" * 32, "")
