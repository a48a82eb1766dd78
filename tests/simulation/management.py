"""What aio_pika's connection does beside publishing and consuming: declare, compare, bind, delete; simulated.

Errors are aiormq's, with RabbitMQ's own texts: the real code reads them. As there, an error closes the channel.
"""

import asyncio
import re
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiormq.exceptions
import msgspec
from pamqp import commands as spec

from zenoti_ingest.core.events.messages import Outgoing

if TYPE_CHECKING:  # the other way round it is imported in earnest
    from tests.simulation.broker import SimulatedChannel, SimulatedLink

PASSIVE_NEEDS_READ = (4, 3)  # the first release that lets nobody ask for a queue that he may not read
_INTEGERS = ((8, "byte"), (16, "short"), (32, "signedint"), (64, "long"))  # bits, and RabbitMQ's name for the type

R = TypeVar("R")


class Declared(msgspec.Struct, frozen=True):
    """A declared queue, as aio_pika's has it."""

    declaration_result: spec.Queue.DeclareOk


class SimulatedConnection:
    """A connection, as aio_pika's `AbstractConnection` for one who only asks for channels."""

    def __init__(self, link: "SimulatedLink") -> None:
        self._link, self._lost = link, link.lost

    def channel(self) -> "ManagementChannel":
        """A channel, to be awaited or entered."""
        return ManagementChannel(self._link, self._lost)


class ManagementChannel:
    """A channel, as aio_pika's and, beneath it, aiormq's."""

    def __init__(self, link: "SimulatedLink", lost: asyncio.Event) -> None:
        self._link, self._lost = link, lost
        self._open_channel: SimulatedChannel | None = None

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._opened().__await__()

    async def _opened(self) -> Self:
        if self._lost.is_set():
            raise aiormq.exceptions.ChannelInvalidStateError("the connection is closed")
        self._open_channel = self._link.open_channel()
        return self

    async def __aenter__(self) -> Self:
        return await self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def is_closed(self) -> bool:
        """Whether either end has closed it, or it was never open."""
        return self._open_channel is None or self._open_channel.closing.done()

    async def get_underlay_channel(self) -> Self:
        """Aiormq's channel, which is the same here."""
        return self

    async def close(self) -> None:
        """Close it, behind what was asked before."""
        channel = self._open_channel
        if channel is not None and not channel.closing.done():
            await channel.ask(channel.ended)
            channel.lost()

    async def declare_queue(
        self, name: str, *, durable: bool = False, passive: bool = False, arguments: Mapping[str, Any] | None = None
    ) -> Declared:
        """As aio_pika's."""
        return Declared(await self.queue_declare(name, durable=durable, passive=passive, arguments=arguments))

    async def declare_exchange(
        self,
        name: str,
        kind: str,
        *,
        durable: bool = False,
        passive: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """As aio_pika's."""
        await self.exchange_declare(name, exchange_type=kind, durable=durable, passive=passive, arguments=arguments)

    async def queue_declare(
        self,
        queue: str,
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> spec.Queue.DeclareOk:
        """As aiormq's. An exclusive queue is as any other: it does not go with its connection."""

        def declare() -> spec.Queue.DeclareOk:
            broker = self._link.broker
            if not passive:
                self._require("configure", "queue", queue)
            elif broker.release >= PASSIVE_NEEDS_READ:
                self._require("read", "queue", queue)
            found = broker.queues.get(queue)
            if found is None:
                if passive:
                    raise _not_found("queue", queue)
                found = broker.declare_queue(queue, {} if arguments is None else arguments)
            elif not passive:
                asked = {"durable": durable or exclusive, **(arguments or {})}
                _compare("queue", queue, asked, {"durable": True, **found.arguments})
            count = len(found.stored) if found.is_stream else len(found.ready)
            return spec.Queue.DeclareOk(queue=queue, message_count=count, consumer_count=len(found.consumers))

        return await self._ask(declare)

    async def exchange_declare(
        self,
        exchange: str,
        *,
        exchange_type: str = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """As aiormq's."""

        def declare() -> None:
            broker = self._link.broker
            if not passive:
                self._require("configure", "exchange", exchange)
            found = broker.exchange(exchange)
            if found is None:
                if passive:
                    raise _not_found("exchange", exchange)
                broker.declare_exchange(exchange, exchange_type, arguments, auto_delete=auto_delete)
            elif not passive:
                kind, current, goes = found
                asked = {"type": exchange_type, "durable": durable, "auto_delete": auto_delete, **(arguments or {})}
                _compare("exchange", exchange, asked, {"type": kind, "durable": True, "auto_delete": goes, **current})

        await self._ask(declare)

    async def queue_bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """As aiormq's."""

        def bind() -> None:
            self._require("write", "queue", queue)
            self._require("read", "exchange", exchange)
            self._require_exchange(exchange)
            if queue not in self._link.broker.queues:
                raise _not_found("queue", queue)
            self._link.broker.bind(exchange, queue, routing_key)

        await self._ask(bind)

    async def exchange_bind(self, destination: str, source: str, routing_key: str = "") -> None:
        """As aiormq's."""

        def bind() -> None:
            self._require("write", "exchange", destination)
            self._require("read", "exchange", source)
            self._require_exchange(source)
            self._require_exchange(destination)
            self._link.broker.bind(source, destination, routing_key, kind="exchange")

        await self._ask(bind)

    async def queue_unbind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """As aiormq's; to remove a binding that is not there is no error."""

        def unbind() -> None:
            self._require("write", "queue", queue)
            self._require("read", "exchange", exchange)
            self._link.broker.unbind(exchange, queue, routing_key)

        await self._ask(unbind)

    async def exchange_unbind(self, destination: str, source: str, routing_key: str = "") -> None:
        """As aiormq's."""

        def unbind() -> None:
            self._require("write", "exchange", destination)
            self._require("read", "exchange", source)
            self._link.broker.unbind(source, destination, routing_key, kind="exchange")

        await self._ask(unbind)

    async def queue_delete(self, queue: str) -> spec.Queue.DeleteOk:
        """As aiormq's; to delete what is not there is no error."""

        def delete() -> spec.Queue.DeleteOk:
            self._require("configure", "queue", queue)
            return spec.Queue.DeleteOk(message_count=self._link.broker.delete_queue(queue))

        return await self._ask(delete)

    async def exchange_delete(self, exchange: str) -> None:
        """As aiormq's; to delete what is not there is no error."""

        def delete() -> None:
            self._require("configure", "exchange", exchange)
            self._link.broker.delete_exchange(exchange)

        await self._ask(delete)

    async def queue_purge(self, queue: str) -> None:
        """As aiormq's."""

        def purge() -> None:
            self._require("read", "queue", queue)
            if queue not in self._link.broker.queues:
                raise _not_found("queue", queue)
            self._link.broker.queues[queue].ready.clear()

        await self._ask(purge)

    async def basic_publish(
        self,
        body: bytes,
        *,
        exchange: str,
        routing_key: str,
        properties: spec.Basic.Properties,
        mandatory: bool = False,
    ) -> None:
        """As aiormq's, confirmed; a message that is returned is no error, as by default there."""
        del mandatory  # nobody looks at what is returned
        message = Outgoing(
            exchange=exchange,
            routing_key=routing_key,
            body=body,
            message_id=properties.message_id or "first",
            headers=dict(properties.headers or {}),
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
        )

        def publish() -> str:
            self._require("write", "exchange", exchange)
            self._require_exchange(exchange)
            return self._link.broker.route(message)

        if await self._ask(publish) == "nack":
            raise aiormq.exceptions.DeliveryError(None, spec.Basic.Nack())

    async def _ask(self, action: Callable[[], R]) -> R:
        if self._open_channel is None:
            raise aiormq.exceptions.ChannelInvalidStateError("Channel was not opened")
        return await self._open_channel.ask(action, at_once=True)

    def _require(self, right: str, kind: str, name: str) -> None:
        """Refuse what the user of the connection may not do."""
        rights = self._link.rights
        if rights is not None and not re.search(getattr(rights, right), name):
            text = f"ACCESS_REFUSED - {right} access to {kind} '{name}' in vhost '/' refused for user 'user'"
            raise aiormq.exceptions.ChannelAccessRefused(text)

    def _require_exchange(self, name: str) -> None:
        if self._link.broker.exchange(name) is None:
            raise _not_found("exchange", name)


def _not_found(kind: str, name: str) -> aiormq.exceptions.ChannelNotFoundEntity:
    return aiormq.exceptions.ChannelNotFoundEntity(f"NOT_FOUND - no {kind} '{name}' in vhost '/'")


def _compare(kind: str, name: str, asked: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Refuse a declaration whose arguments differ; the text names the first that does."""
    own = [key for key in ("type", "durable", "auto_delete") if key in asked]
    for key in [*own, *sorted(asked.keys() | current.keys() - set(own))]:
        if (text := _inequivalent(asked.get(key), current.get(key))) != "":
            raise aiormq.exceptions.ChannelPreconditionFailed(
                f"PRECONDITION_FAILED - inequivalent arg '{key}' for {kind} '{name}' in vhost '/': {text}"
            )


def _inequivalent(asked: Any, current: Any) -> str:
    """RabbitMQ's three spellings of a difference; empty: there is none."""
    if asked == current:
        return ""
    if asked is None:
        return f"received none but current is {_value(current)}"
    if current is None:
        return f"received {_value(asked)} but current is none"
    return f"received '{_spelt(asked)}' but current is '{_spelt(current)}'"


def _value(value: Any) -> str:
    kind = "longstr"
    if isinstance(value, int):
        kind = next(word for bits, word in _INTEGERS if -(1 << bits - 1) <= value < 1 << bits - 1)
    return f"the value '{_spelt(value)}' of type '{kind}'"


def _spelt(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
