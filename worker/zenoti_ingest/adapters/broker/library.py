"""What aiormq does that we do not want, put right: foreign cancellations, any errors, endless closes, a slow reader."""

import asyncio
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Final

import aiormq.abc
import aiormq.connection
import aiormq.exceptions
from aio_pika.abc import AbstractConnection
from pamqp import commands as spec
from pamqp.header import ContentHeader

from zenoti_ingest.adapters.broker.frame_reader import FrameReader
from zenoti_ingest.core.failures.errors import BrokerUnavailable, WorkerError
from zenoti_ingest.telemetry import log

CLOSE_SECONDS = 5.0
OPEN_CHANNEL_SECONDS = 10.0
# What aiormq raises when the world fails, and whose texts hold codes, addresses and names of queues. A broker that says
# something that it did not think of makes it raise anything else (KeyError, UnicodeError, AttributeError).
_FORESEEN = (
    aiormq.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,
    OSError,
    StopAsyncIteration,
)
# An AMQP peer offers no less (its specification, 4.2.2), and 0 is no bound. aiormq would cut bodies into nothing.
LEAST_FRAME_BYTES: Final = 4096


_closing: Final[set[asyncio.Task[None]]] = set()


async def close(connection: AbstractConnection, *, name: str) -> None:
    """Close a connection, within CLOSE_SECONDS; one that is lost already is closed enough."""
    await _close(connection, name=name, within=CLOSE_SECONDS)


async def close_channel(channel: aiormq.abc.AbstractChannel, *, name: str) -> None:
    """Close a channel; nobody waits for longer than CLOSE_SECONDS, but it goes on until it or its connection is closed.

    Cancelled, aiormq sends another Channel.Close, for which a broker that was merely slow ends the connection.
    """
    closing = asyncio.create_task(_close(channel, name=name, within=None))
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)
    await asyncio.wait((closing,), timeout=CLOSE_SECONDS)


async def _close(thing: AbstractConnection | aiormq.abc.AbstractChannel, *, name: str, within: float | None) -> None:
    try:
        with rim():
            async with asyncio.timeout(within):
                await thing.close()
    except BrokerUnavailable as error:
        log.debug("broker_close_failed", connection=name, detail=str(error))


@contextmanager
def rim() -> Iterator[None]:
    """Whatever the library makes of the broker's side, as BrokerUnavailable; our own errors pass.

    Cancelled or not is what we say, not the library: a connection that hangs makes it cancel tasks that nobody
    cancelled, and a call that we cancel can end in one of its own errors.

    Raises:
        BrokerUnavailable: instead of any error that is not of `zenoti_ingest.core.failures.errors`.
    """
    task = asyncio.current_task()
    try:
        yield
    except asyncio.CancelledError as error:
        if task is not None and task.cancelling() > 0:
            raise
        raise BrokerUnavailable("the connection hangs") from error
    except Exception as error:
        if task is not None and task.cancelling() > 0:
            raise asyncio.CancelledError from error
        if isinstance(error, WorkerError):
            raise
        raise BrokerUnavailable(what(error)) from error


def require_frame_size(connection: AbstractConnection) -> None:
    """Refuse a broker into whose frames nothing fits.

    Raises:
        BrokerUnavailable: see there.
    """
    transport = connection.transport
    if transport is None:
        raise BrokerUnavailable("not connected")
    tune = transport.connection.connection_tune
    if tune.frame_max < LEAST_FRAME_BYTES:
        raise BrokerUnavailable(f"the broker takes frames of {tune.frame_max} bytes, which are too small")


def _tolerate(unmarshal: Callable[[ContentHeader, bytes], None]) -> Callable[[ContentHeader, bytes], None]:
    """Properties that the library cannot decode count as absent.

    As it comes, one message whose timestamp is out of range ends the reader, and with it the connection, each time it
    is delivered, and nothing behind it is ever reached.
    """

    @wraps(unmarshal)
    def tolerant(header: ContentHeader, data: bytes) -> None:
        try:
            unmarshal(header, data)
        except Exception as error:  # noqa: BLE001  # whatever a stranger's bytes make of the decoder
            header.properties = spec.Basic.Properties()
            log.warning("properties_undecodable", error=type(error).__name__)

    return tolerant


ContentHeader.unmarshal = _tolerate(ContentHeader.unmarshal)  # type: ignore[method-assign,assignment]
aiormq.connection.FrameReceiver = FrameReader  # type: ignore[misc]  # there is no public way to name the reader


def what(error: BaseException) -> str:
    """A sentence for logs. What nobody foresaw is named by its kind and place alone: its text may hold the URL."""
    if isinstance(error, (*_FORESEEN, WorkerError)):
        return f"{type(error).__name__}: {error}".rstrip(": ")[:300]
    where = traceback.extract_tb(error.__traceback__)[-1:]
    return f"unexpected {type(error).__name__}" + "".join(f" in {Path(at.filename).name}:{at.lineno}" for at in where)
