"""The contract of the port `States`, for the stream of states on a real broker and for the fake of the tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from tests.conftest import Hand, OpenLink
from tests.eventually import eventually
from tests.fakes import FakePublisher, FakeStates
from tests.proxy import Proxy
from zenoti_ingest.adapters import host
from zenoti_ingest.adapters.broker import state_stream
from zenoti_ingest.adapters.broker.state_stream import StateStream, latest
from zenoti_ingest.core.events.messages import Outgoing
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.stages.ports import States
from zenoti_schemas.state import DaemonState, SourceState


def described(instance: str, **more: Any) -> DaemonState:
    """A process, as it says of itself now."""
    given: dict[str, Any] = {"daemon": "consume", "version": "1", "started_at": "2031-05-06T17:08:10.000000Z"}
    return DaemonState(**(given | {"instance": instance, "at": host.utc_now(), "ready": True} | more))


class Process:
    """A process that speaks and listens: what it said, and what it heard with whether that was new."""

    def __init__(self, instance: str, states: StateStream) -> None:
        self.instance, self.states = instance, states
        self.said: list[DaemonState] = []
        self.confirmed: list[DaemonState] = []
        self.heard: list[tuple[str, bool]] = []
        self.claims: list[str] = []

    def describe(self) -> DaemonState:
        """Each state differs from the state before."""
        claim = f"{self.instance} {len(self.said)}"
        self.said.append(described(self.instance, sources={"main": SourceState(fetched_at_most=claim)}))
        return self.said[-1]

    def hear(self, said: DaemonState, is_live: bool) -> None:  # noqa: FBT001  # as a listener is called
        """Keep it."""
        self.heard.append((said.instance, is_live))
        self.claims.append(said.sources["main"].fetched_at_most or "")


Speak = Callable[..., Any]


@pytest.fixture
async def speak(names: Names, open_link: OpenLink) -> AsyncIterator[Speak]:
    """Start a process on a connection; it ends with the test."""
    running: list[asyncio.Task[None]] = []

    async def started(instance: str, *, url: str | None = None, listens: bool = True) -> Process:
        link = await (open_link(url) if url else open_link())
        process = Process(instance, StateStream(link, exchange=names.state))
        publishing = process.states.run(process.describe, confirmed=process.confirmed.append)
        running.append(asyncio.create_task(publishing))
        if listens:
            listening = process.states.listen(link, stream=names.state, heard=process.hear)
            running.append(asyncio.create_task(listening))
        return process

    yield started
    for task in running:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture(params=["fake", "stream"])
async def spoken(request: pytest.FixtureRequest, speak: Speak) -> tuple[States, Callable[[], int]]:
    """A port, and how many of its states are confirmed."""
    if request.param == "fake":
        states = FakeStates()
        return states, lambda: states.number
    process = await speak("contract-1")
    await eventually(lambda: process.confirmed)
    return process.states, lambda: len(process.confirmed)


async def test_said_soon_is_confirmed_soon(spoken: tuple[States, Callable[[], int]]) -> None:
    """What is to be said soon is said long before the next turn, and `said` returns once that is confirmed."""
    states, count = spoken
    for _ in range(3):
        before = count()
        states.say_soon()
        async with asyncio.timeout(2):
            assert await states.said()
        assert count() > before


async def test_catching_up_says_something(spoken: tuple[States, Callable[[], int]]) -> None:
    """Catching up ends with a state of our own that the broker has."""
    states, count = spoken
    before = count()
    async with asyncio.timeout(5):
        assert await states.catch_up()
        await eventually(lambda: count() > before)  # the stream may deliver it before it confirms it


@pytest.mark.parametrize("kind", ["fake", "stream"])
async def test_unconfirmed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no state is confirmed neither waits for long, and both say so."""
    monkeypatch.setattr(state_stream, "WAIT_SECONDS", 0.2)
    states: States
    if kind == "fake":
        states = FakeStates()
        states.are_confirmed = False
        running = asyncio.create_task(asyncio.Event().wait())
    else:
        publisher = _AlwaysReady()
        publisher.away = True
        states = StateStream(publisher, exchange="state")
        running = asyncio.create_task(states.run(lambda: described("contract-2")))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(2):
            states.say_soon()
            assert not await states.said()
            assert not await states.catch_up()
    finally:
        running.cancel()
        await asyncio.wait([running])


class _AlwaysReady(FakePublisher):
    async def wait_ready(self) -> None:
        """It is."""


async def test_who_has_caught_up_has_heard_all(speak: Speak) -> None:
    """Whatever another process had confirmed before is heard when catching up ends, as something of the past or not."""
    first = await speak("contract-3", listens=False)
    await eventually(lambda: first.confirmed)
    second = await speak("contract-4")
    assert await second.states.catch_up()
    for _ in range(5):
        first.states.say_soon()
        assert await first.states.said()
        newest = first.confirmed[-1].sources["main"].fetched_at_most
        assert await second.states.catch_up()
        assert newest in second.claims
    assert ("contract-3", True) in second.heard
    assert all(instance != "contract-4" for instance, _ in second.heard)
    assert second.heard[0][1] is False, "it was said before this process began to listen"


async def test_a_successor_hears_the_dead(speak: Speak, names: Names, hand: Hand) -> None:
    """A process that starts only after another's end receives what that published."""
    await hand.put(
        Outgoing(
            exchange=names.state,
            routing_key="",
            body=msgspec.json.encode(described("contract-5", sources={"main": SourceState(fetched_at_most="last")})),
            message_id="",
            headers={"number": 1},
        )
    )
    late = await speak("contract-6")
    assert await late.states.catch_up()
    assert "last" in late.claims


async def test_a_lost_connection(speak: Speak, proxy: Proxy) -> None:
    """Cut off and back again, a process hears what was said meanwhile, and no state twice."""
    first = await speak("contract-7", listens=False)
    cut_off = await speak("contract-8", url=proxy.url)
    assert await cut_off.states.catch_up()
    proxy.refusing = True
    proxy.cut()
    first.states.say_soon()
    assert await first.states.said()
    newest = first.confirmed[-1].sources["main"].fetched_at_most
    proxy.refusing = False
    await eventually(lambda: newest in cut_off.claims, within=15)
    ours = [claim for claim in cut_off.claims if claim.startswith("contract-7 ")]
    assert len(ours) == len(set(ours))


async def test_strangers_are_passed_over(speak: Speak, names: Names, hand: Hand, open_link: OpenLink) -> None:
    """What is no state keeps nobody from hearing and reading those that are; a wrong clock hides no daemon."""
    for body in (b"\xff", b"{}", b"[" * 10_000, b'{"daemon": 1}'):
        await hand.put(Outgoing(exchange=names.state, routing_key="", body=body, message_id="", headers={}))
    past = described("contract-9", at="1999-05-06T17:08:10.000000Z")
    encoded = msgspec.json.encode(past)
    await hand.put(Outgoing(exchange=names.state, routing_key="", body=encoded, message_id="", headers={}))
    listener = await speak("contract-10")
    assert await listener.states.catch_up()
    found = {said.instance for said in await latest(await open_link(), stream=names.state)}
    assert {"contract-9", "contract-10"} <= found
