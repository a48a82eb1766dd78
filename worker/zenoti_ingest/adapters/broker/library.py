"""Corrects aiormq's behaviour: cancellations that are not ours, unforeseen errors, endless closes, a slow reader."""

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
# aiormq's errors for network and broker failures; their texts hold codes, addresses and names of queues. An answer that
# aiormq does not foresee makes it raise other errors (KeyError, UnicodeError, AttributeError).
_FORESEEN = (
    aiormq.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,
    OSError,
    StopAsyncIteration,
)
# An AMQP peer must offer at least this, or 0 for no limit (specification, 4.2.2). With smaller frames, or with 0,
# aiormq would cut bodies into empty pieces.
LEAST_FRAME_BYTES: Final = 4096


_closing: Final[set[asyncio.Task[None]]] = set()


async def close(connection: AbstractConnection, *, name: str) -> None:
    """Close a connection within CLOSE_SECONDS; a failure is logged, since a lost connection needs no close."""
    await _close(connection, name=name, within=CLOSE_SECONDS)


async def close_channel(channel: aiormq.abc.AbstractChannel, *, name: str) -> None:
    """Close a channel. The caller waits at most CLOSE_SECONDS, but the close goes on until channel or connection close.

    It is never cancelled: aiormq would send a second Channel.Close, for which a slow broker ends the connection.
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
    """Translate every error of the library into BrokerUnavailable; our own errors pass.

    A task counts as cancelled only if we cancelled it. The library cancels tasks by itself when a connection hangs, and
    a call that we cancel can end with an error of the library.

    Raises:
        BrokerUnavailable: instead of any error that is not from `zenoti_ingest.core.failures.errors`.
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
    """Refuse a broker whose frames are too small.

    Raises:
        BrokerUnavailable: there is no connection, or its frames are smaller than LEAST_FRAME_BYTES.
    """
    transport = connection.transport
    if transport is None:
        raise BrokerUnavailable("not connected")
    tune = transport.connection.connection_tune
    if tune.frame_max < LEAST_FRAME_BYTES:
        raise BrokerUnavailable(f"the broker takes frames of {tune.frame_max} bytes, which are too small")


def _tolerate(unmarshal: Callable[[ContentHeader, bytes], None]) -> Callable[[ContentHeader, bytes], None]:
    """Treat properties that the library cannot decode as absent.

    Unpatched, a message with a timestamp out of range ends the reader and the connection at each delivery, so no
    message behind it is ever delivered.
    """

    @wraps(unmarshal)
    def tolerant(header: ContentHeader, data: bytes) -> None:
        try:
            unmarshal(header, data)
        except Exception as error:  # noqa: BLE001  # foreign bytes can raise any error in the decoder
            header.properties = spec.Basic.Properties()
            log.warning("properties_undecodable", error=type(error).__name__)

    return tolerant


ContentHeader.unmarshal = _tolerate(ContentHeader.unmarshal)  # type: ignore[method-assign,assignment]
aiormq.connection.FrameReceiver = FrameReader  # type: ignore[misc]  # there is no public way to choose the reader


def what(error: BaseException) -> str:
    """An error as a text for logs. Of an unforeseen error only type and place: its text may hold the URL."""
    if isinstance(error, (*_FORESEEN, WorkerError)):
        return f"{type(error).__name__}: {error}".rstrip(": ")[:300]
    where = traceback.extract_tb(error.__traceback__)[-1:]
    return f"unexpected {type(error).__name__}" + "".join(f" in {Path(at.filename).name}:{at.lineno}" for at in where)
