"""What aiormq does that we do not want, put right: cancellations that are none, fatal properties, endless closes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Final

import aiormq.abc
import aiormq.exceptions
from aio_pika.abc import AbstractConnection
from pamqp import commands as spec
from pamqp.header import ContentHeader

from worker.core.errors import BrokerUnavailable
from worker.telemetry import log

CLOSE_SECONDS = 5.0
OPEN_CHANNEL_SECONDS = 10.0
# All that aiormq raises when the world fails. ChannelInvalidStateError is a RuntimeError, time-outs are OSErrors; a
# connection that the broker closes before it has said a word ends in the StopAsyncIteration of the library's reader.
LOST = (
    aiormq.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,
    OSError,
    RuntimeError,
    StopAsyncIteration,
)


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
        with no_foreign_cancel():
            async with asyncio.timeout(within):
                await thing.close()
    except (*LOST, BrokerUnavailable) as error:
        log.debug("broker_close_failed", connection=name, detail=what(error))


@contextmanager
def no_foreign_cancel() -> Iterator[None]:
    """Cancelled or not is what we say, not the library.

    A connection that hangs makes it cancel tasks that nobody cancelled: that is a lost connection. And a call that we
    cancel can end in one of its own errors: that is a cancellation.
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
        raise


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


def what(error: BaseException) -> str:
    """A sentence for logs; aiormq's texts hold codes and names of queues, never bodies."""
    return f"{type(error).__name__}: {error}".rstrip(": ")[:300]
