"""Compares the declared topology with the broker's, declares it, and verifies it.

The broker reports different arguments only to a client that declares again (406 names the argument), and a missing
queue only to a passive declare (404). Both close the channel, so the next question needs a new channel.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import aiormq.exceptions
import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection
from pamqp import commands as spec

from zenoti_ingest.core.failures.errors import TopologyMismatch
from zenoti_ingest.core.topology.declared import Beginning, Binding, Exchange, Queue, Topology
from zenoti_ingest.core.topology.differences import Difference, missing, refused
from zenoti_ingest.telemetry import log

NEW_QUEUE_SECONDS = 2.0  # a node killed within a second of a quorum queue's declaration forgets the queue


async def compare(
    connection: AbstractConnection, topology: Topology, *, passive: bool = False, where_allowed: bool = False
) -> list[Difference]:
    """What is missing or different.

    Args:
        connection: to the broker.
        topology: what must be there.
        passive: check only what is missing, which needs no configure permission.
        where_allowed: after the first refusal of that permission, check only what is missing. Whatever the broker does
            not let us check (from 4.3 on: a queue that we may not read) counts as present. A receiver's own queue that
            we may not check always counts as present.
    """
    asker = _Asker(connection)
    found: list[Difference] = []
    things: list[Exchange | Queue] = [*topology.exchanges, *topology.queues]
    for thing in things:
        try:
            if await asker.refusal(_question(thing, passive=True)) is not None:
                found.append(missing(thing))
            elif not passive and (isinstance(thing, Exchange) or thing.ours):
                refusal = await asker.refusal(_question(thing, passive=False))
                if refusal is not None:
                    found.append(refused(thing, str(refusal)))
        except _NoRight:
            if isinstance(thing, Queue) and not thing.ours:
                continue
            if not where_allowed:
                raise
            passive = True
            log.debug("arguments_unverified")
    await asker.close()
    return found


class Declared(msgspec.Struct, frozen=True):
    """The result of a declaration.

    Attributes:
        new_queues: how many queues it created.
        absent: missing queues of receivers; nothing was bound to them, and their events wait.
    """

    new_queues: int
    absent: tuple[str, ...] = ()


async def declare(connection: AbstractConnection, topology: Topology) -> Declared:
    """Declare what is missing, bind everything, remove superseded bindings; return once new queues are safe to use.

    Raises:
        TopologyMismatch: something exists with other arguments.
    """
    differences = await compare(connection, topology)
    _refuse([d for d in differences if d.state == "different"])
    missing = {d.name for d in differences}
    absent = {d.name for d in differences if not d.ours}
    async with connection.channel() as channel:
        for exchange in topology.exchanges:
            if exchange.name in missing:
                await _declare_exchange(channel, exchange, passive=False)
        for queue in topology.queues:
            if queue.name in missing and queue.ours:
                await _declare_queue(channel, queue, passive=False)
    await _bind_all(connection, topology, absent=absent)
    await _begin(connection, [first for first in topology.beginnings if missing.issuperset(first.queues)])
    new = sum(d.kind == "queue" and d.ours for d in differences)
    if new:
        await asyncio.sleep(NEW_QUEUE_SECONDS)
    return Declared(new, tuple(sorted(absent)))


async def _begin(connection: AbstractConnection, beginnings: Sequence[Beginning]) -> None:
    if not beginnings:
        return
    async with connection.channel() as channel:
        underlay = await channel.get_underlay_channel()
        for first in beginnings:
            properties = spec.Basic.Properties(delivery_mode=2, content_type=first.content_type)
            await underlay.basic_publish(
                first.body,
                exchange=first.exchange,
                routing_key=first.routing_key,
                properties=properties,
                mandatory=True,
            )


async def _bind_all(connection: AbstractConnection, topology: Topology, *, absent: Collection[str]) -> None:
    """Bind, then remove superseded bindings; a receiver's own queue that we may not bind keeps its owner's bindings."""
    asker, theirs = _Asker(connection), {queue.name for queue in topology.queues if not queue.ours}
    steps = [(_bind_one, binding) for binding in topology.bindings]
    steps += [(_unbind_one, binding) for binding in topology.superseded]
    for step, binding in steps:
        if binding.destination in absent:
            continue
        try:
            if (refusal := await asker.refusal(partial(step, binding=binding))) is not None:
                raise TopologyMismatch(f"cannot bind {binding.destination} to {binding.exchange}: {refusal}")
        except _NoRight:
            if binding.destination not in theirs:
                raise
            log.warning("receiver_cannot_be_bound", queue=binding.destination, exchange=binding.exchange)
    await asker.close()


async def verify(connection: AbstractConnection, topology: Topology) -> Declared:
    """Check that every exchange and queue exists and, if the broker lets us, is as declared; bind them again.

    This creates no exchange or queue. Nobody can see over AMQP whether a binding exists, so we bind again, which
    changes nothing if it does.

    Raises:
        TopologyMismatch: something differs, or something other than a receiver's queue is missing.
    """
    receivers = _receivers(topology)
    differences = await compare(connection, topology, where_allowed=True)
    _refuse([d for d in differences if d.state == "different" or d.name not in receivers])
    return await still_there(connection, topology)


async def still_there(connection: AbstractConnection, topology: Topology) -> Declared:
    """Bind everything again.

    Raises:
        TopologyMismatch: something other than a receiver's queue is missing.
    """
    lost, receivers = [d.name for d in await missing_ends(connection, topology)], _receivers(topology)
    if ours := [name for name in lost if name not in receivers]:
        raise TopologyMismatch(f"missing: {', '.join(ours)}")
    return Declared(0, tuple(sorted(lost)))


def _receivers(topology: Topology) -> set[str]:
    """The receivers' queues; a missing queue affects its receiver only."""
    return {queue.name for queue in topology.queues if queue.receiver}


async def missing_ends(connection: AbstractConnection, topology: Topology) -> list[Difference]:
    """Bind everything again, which shows what is missing; if the broker does not let us bind, compare passively.

    This check needs the fewest permissions (`core/topology/permissions`), and the broker does not log it.
    """
    asker = _Asker(connection)
    exchanges, queues = {e.name: e for e in topology.exchanges}, {q.name: q for q in topology.queues}
    lost: dict[str, Exchange | Queue] = {}
    for binding in topology.bindings:
        try:
            refusal = await asker.refusal(partial(_bind_one, binding=binding))
        except _NoRight:
            if binding.kind == "queue" and not queues[binding.destination].ours:
                continue
            log.debug("bindings_unverified")
            return await compare(connection, topology, passive=True)
        if refusal is not None:
            for end in _ends(binding, str(refusal), exchanges, queues):
                lost[end.name] = end
    await asker.close()
    return [missing(thing) for thing in lost.values()]


async def depths(
    connection: AbstractConnection, queues: Sequence[str], *, refused: set[str] | None = None
) -> dict[str, tuple[int, int] | None]:
    """The ready messages and the consumers of each queue; None if it is missing.

    Args:
        connection: to the broker.
        queues: names of queues.
        refused: receives the names of queues that the broker does not let us check; None: such a queue is an error.
    """
    asker = _Asker(connection)
    found: dict[str, tuple[int, int] | None] = {}

    async def ask(channel: AbstractChannel, name: str) -> None:
        result = (await channel.declare_queue(name, passive=True)).declaration_result
        found[name] = (result.message_count or 0, result.consumer_count or 0)

    for name in queues:
        found[name] = None
        try:
            await asker.refusal(partial(ask, name=name))
        except _NoRight:
            if refused is None:
                raise
            refused.add(name)
    await asker.close()
    return found


async def delete(connection: AbstractConnection, topology: Topology) -> None:
    """Delete queues and exchanges with all they hold; only for the prefixes of tests and demonstrations."""
    async with connection.channel() as channel:
        underlay = await channel.get_underlay_channel()
        for queue in topology.queues:
            await underlay.queue_delete(queue.name)
        for exchange in topology.exchanges:
            await underlay.exchange_delete(exchange.name)


def _ends(
    binding: Binding, refusal: str, exchanges: Mapping[str, Exchange], queues: Mapping[str, Queue]
) -> list[Exchange | Queue]:
    """The end of a binding that the broker's text names as missing."""
    if binding.kind == "queue" and "no exchange" not in refusal:
        return [queues[binding.destination]]
    named = [name for name in (binding.exchange, binding.destination) if f"'{name}'" in refusal]
    return [exchanges[name] for name in named or [binding.exchange]]


async def _bind_one(channel: AbstractChannel, *, binding: Binding) -> None:
    underlay = await channel.get_underlay_channel()
    if binding.kind == "queue":
        await underlay.queue_bind(binding.destination, binding.exchange, binding.routing_key)
    else:
        await underlay.exchange_bind(binding.destination, binding.exchange, binding.routing_key)


async def _unbind_one(channel: AbstractChannel, *, binding: Binding) -> None:
    underlay = await channel.get_underlay_channel()
    await underlay.queue_unbind(binding.destination, binding.exchange, binding.routing_key)


def _refuse(differences: Sequence[Difference]) -> None:
    if differences:
        first = differences[0]
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        detail = f": {first.detail}" if first.detail else ""
        raise TopologyMismatch(
            f"{first.kind} {first.name} is {first.state}{detail}{more}; "
            "`zenoti-ingest topology plan` shows all, and what to do"
        )


class _NoRight(TopologyMismatch):
    """The broker refuses to answer this user (403)."""


class _Asker:
    """Asks questions one by one, on a new channel after each refusal."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None

    async def refusal(self, question: Callable[[AbstractChannel], Awaitable[Any]]) -> Exception | None:
        """The broker's refusal; None if the broker accepts."""
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel()
        try:
            await question(self._channel)
        except (aiormq.exceptions.ChannelNotFoundEntity, aiormq.exceptions.ChannelPreconditionFailed) as refusal:
            self._channel = None
            return refusal
        except aiormq.exceptions.ChannelAccessRefused as error:
            raise _NoRight(f"the broker does not let us look: {error}") from error
        except aiormq.exceptions.ChannelClosed as error:  # 405
            raise TopologyMismatch(f"the broker does not let us look: {error}") from error
        return None

    async def close(self) -> None:
        if self._channel is not None and not self._channel.is_closed:
            await self._channel.close()


def _question(thing: Exchange | Queue, *, passive: bool) -> Callable[[AbstractChannel], Awaitable[Any]]:
    if isinstance(thing, Queue):
        return lambda channel: _declare_queue(channel, thing, passive=passive)
    return lambda channel: _declare_exchange(channel, thing, passive=passive)


async def _declare_exchange(channel: AbstractChannel, exchange: Exchange, *, passive: bool) -> None:
    arguments = dict(exchange.arguments)
    await channel.declare_exchange(exchange.name, exchange.kind, durable=True, passive=passive, arguments=arguments)


async def _declare_queue(channel: AbstractChannel, queue: Queue, *, passive: bool) -> None:
    await channel.declare_queue(queue.name, durable=True, passive=passive, arguments=dict(queue.arguments))
