"""Frames are those that aiormq's own reader finds, however the bytes come, and so are the errors."""

import asyncio
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import aiormq.exceptions
import pamqp.frame
import pytest
from aiormq.connection import FrameReceiver
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from zenoti_ingest.adapters.broker.frame_reader import READ_BYTES, FrameReader

PLAIN_READER: type[FrameReceiver] = FrameReader.__mro__[1]
SHORT = st.text(max_size=60)
NAME = st.text("abcz.-_", max_size=60)  # pamqp makes no frame with an exchange of any other name
TAG = st.integers(0, 2**63 - 1)  # pamqp writes no higher number
FRAMES = st.one_of(
    st.builds(spec.Basic.Ack, delivery_tag=TAG, multiple=st.booleans()),
    st.builds(spec.Basic.Nack, delivery_tag=TAG, multiple=st.booleans(), requeue=st.booleans()),
    st.builds(
        spec.Basic.Deliver,
        consumer_tag=SHORT,
        delivery_tag=TAG,
        redelivered=st.booleans(),
        exchange=NAME,
        routing_key=SHORT,
    ),
    st.builds(ContentHeader, body_size=TAG, properties=st.builds(spec.Basic.Properties, message_id=SHORT)),
    st.builds(ContentBody, st.binary(min_size=1, max_size=300)),
    st.just(Heartbeat()),
    st.just(spec.Basic.CancelOk(consumer_tag="ctag")),
)
DELIVER = pamqp.frame.marshal(spec.Basic.Deliver("ctag", 5, redelivered=True, exchange="x", routing_key="k"), 3)


def part(found: Any) -> Any:
    """What two frames must have in common: length, channel, kind, and every field."""
    weight, channel, frame = found
    if isinstance(frame, ContentHeader):
        return weight, channel, frame.body_size, frame.properties
    fields = [getattr(frame, name) for name in getattr(frame, "__slots__", [])]
    return weight, channel, type(frame), fields, getattr(frame, "value", None)


async def read(kind: type[FrameReceiver], pieces: list[bytes]) -> list[Any]:
    """Every frame of what comes in these pieces, and how it ended."""
    stream = asyncio.StreamReader()
    reader, found = kind(stream), list[Any]()

    async def feed() -> None:
        for piece in pieces:
            stream.feed_data(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        stream.feed_eof()

    feeding = asyncio.create_task(feed())
    try:
        while True:
            found.append(part(await reader.get_frame()))
    except Exception as error:  # noqa: BLE001  # whatever it is, both must raise it
        found.append(type(error))
    await feeding
    return found


@given(
    frames=st.lists(st.tuples(st.integers(0, 5), FRAMES), min_size=1, max_size=8),
    cuts=st.lists(st.floats(0, 1), max_size=5),
    lost=st.integers(0, 9),
)
def test_any_frames_in_any_pieces(frames: list[tuple[int, Any]], cuts: list[float], lost: int) -> None:
    """As aiormq's own reader has them; and where the last bytes are lost, it ends in the same way."""
    data = b"".join(pamqp.frame.marshal(frame, channel) for channel, frame in frames)
    data = data[: len(data) - lost]
    places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    assert asyncio.run(read(FrameReader, pieces)) == asyncio.run(read(PLAIN_READER, pieces))


@pytest.mark.parametrize("size", [READ_BYTES - 8, READ_BYTES, 3 * READ_BYTES])
async def test_a_frame_larger_than_one_read(size: int) -> None:
    """It comes whole, and so does what follows it."""
    body = bytes(range(256)) * (size // 256)
    data = DELIVER + pamqp.frame.marshal(ContentBody(body), 3) + DELIVER
    found = await read(FrameReader, [data])
    assert found == await read(PLAIN_READER, [data])
    assert [frame[-1] for frame in found[:3]] == [None, body, None]


def broken(change: Callable[[bytearray], None]) -> bytes:
    """A delivery, and a malformed delivery."""
    second = bytearray(DELIVER)
    change(second)
    return DELIVER + bytes(second)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(broken(lambda frame: frame.__setitem__(-1, 0)), id="no end"),
        pytest.param(broken(lambda frame: frame.__setitem__(0, 9)), id="a type that there is not"),
        pytest.param(broken(lambda frame: frame.__setitem__(slice(7, 11), b"\0\x3c\0\x3d")), id="no such method"),
        pytest.param(broken(lambda frame: frame.__setitem__(11, 250)), id="a text beyond its frame"),
        pytest.param(broken(lambda frame: frame.__setitem__(12, 0xFF)), id="a text that is no UTF-8"),
        pytest.param(DELIVER + struct.pack(">BHI", 1, 3, 4) + b"\0\x3c\0\x50\xce", id="an ack of nothing"),
        pytest.param(b"AMQP\0\0\x09\x01", id="another protocol"),
        pytest.param(b"\0" * 8, id="zeros"),
    ],
)
async def test_what_is_no_frame(data: bytes) -> None:
    """It ends the reader with an error of aiormq's, or as aiormq's own does; what came before it counts."""
    found, plain = await read(FrameReader, [data]), await read(PLAIN_READER, [data])
    assert found[:-1] == plain[:-1]
    assert found[-1] is plain[-1] or issubclass(found[-1], aiormq.exceptions.AMQPError)


async def test_a_connection_that_is_reset() -> None:
    """It is lost, and that is no error of its own kind."""
    stream = asyncio.StreamReader()
    stream.feed_data(DELIVER)
    reader = FrameReader(stream)
    await reader.get_frame()
    stream.set_exception(ConnectionResetError("reset by peer"))
    with pytest.raises(aiormq.exceptions.AMQPConnectionError, match="reset by peer"):
        await anext(reader)


def test_aiormq_uses_it() -> None:
    """A process that imports our adapters gets connections with this reader."""
    import aiormq.connection  # noqa: PLC0415  # as it is by now

    import zenoti_ingest.adapters.broker  # noqa: F401, PLC0415  # that it is imported is what is tested

    assert aiormq.connection.FrameReceiver is FrameReader
