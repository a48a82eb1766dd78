"""Posts the events of a run and times the answers, in a process of its own; requests are made and signed beforehand.

`python -m tests.bench.speed.load`: for each plan (a line of JSON) it prints a line once all is made and connected,
and after another line of input goes, and prints what it saw.
"""

import asyncio
import hashlib
import hmac
import sys
import time
from collections import deque

import msgspec

from tests.bench.speed.trace import body

SECRET = b"test-secret"
LEAST_ANSWER_BYTES = 12
CONNECT_SECONDS = 10.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to post. `rate`: so many a second, answered or not, each timed from when it was due; 0: as they can."""

    port: int
    tag: str
    count: int
    connections: int
    rate: float = 0.0
    within: float = 60.0


class Seen(msgspec.Struct, kw_only=True):
    """What came of it.

    Attributes:
        accepted: how many were answered with 202.
        seconds: for all.
        begun: per event, when it was begun or due, by the machine's monotonic clock.
        waits: per event, seconds until its answer.
    """

    accepted: int = 0
    seconds: float = 0.0
    begun: list[float] = []
    waits: list[float] = []


class Run:
    """One plan under way."""

    def __init__(self, plan: Plan, requests: list[bytes]) -> None:
        self.plan = plan
        self.seen = Seen(begun=[0.0] * plan.count, waits=[-1.0] * plan.count)
        self.done = asyncio.Event()
        self._requests = requests
        self._due = deque(range(plan.count)) if not plan.rate else deque[int]()
        self._idle: list[Sender] = []
        self._open = plan.count

    async def connect(self) -> None:
        """Open every connection."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            for _ in range(self.plan.connections):
                _, sender = await loop.create_connection(lambda: Sender(self), "127.0.0.1", self.plan.port)
                self._idle.append(sender)

    async def go(self) -> Seen:
        """Post all."""
        started = time.monotonic()
        if self.plan.rate:
            self._by_the_clock(0, started)
        else:
            senders, self._idle = self._idle, []
            for sender in senders:
                self.next(sender)
        try:
            async with asyncio.timeout(self.plan.within):
                await self.done.wait()
        except TimeoutError:
            pass  # what was not answered is not among the accepted
        self.seen.seconds = time.monotonic() - started
        return self.seen

    def next(self, sender: "Sender") -> None:
        """Give a connection that is free the next request."""
        if not self._due:
            self._idle.append(sender)
            return
        number = self._due.popleft()
        if not self.plan.rate:
            self.seen.begun[number] = time.monotonic()
        sender.post(number, self._requests[number])

    def answered(self, number: int, *, accepted: bool) -> None:
        """A request is answered, or never will be."""
        self.seen.accepted += accepted
        self.seen.waits[number] = time.monotonic() - self.seen.begun[number]
        self._open -= 1
        if not self._open:
            self.done.set()

    def _by_the_clock(self, number: int, started: float) -> None:
        """Post what is due, and come back for the next; a timer for each, made beforehand, would hold up the first."""
        loop, plan, passed = asyncio.get_running_loop(), self.plan, time.monotonic() - started
        while number < plan.count and number / plan.rate <= passed:
            self.seen.begun[number] = started + number / plan.rate
            self._due.append(number)
            if self._idle:
                self.next(self._idle.pop())
            number += 1
        if number < plan.count:
            loop.call_later(number / plan.rate - passed, self._by_the_clock, number, started)


class Sender(asyncio.Protocol):
    """One connection: a request, its answer, the next."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._number = -1
        self._answer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def post(self, number: int, request: bytes) -> None:
        """Write a request."""
        assert self._transport is not None
        self._number, self._answer = number, b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Its status is enough; the rest of an answer comes in the same piece, or is awaited by its length."""
        self._answer += data
        head, found, rest = self._answer.partition(b"\r\n\r\n")
        if not found or len(rest) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0):
            return
        number, self._number = self._number, -1
        self._run.answered(number, accepted=head[9:LEAST_ANSWER_BYTES] == b"202")
        self._run.next(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """What was under way is not accepted, and this connection posts no more."""
        del exc
        if self._number >= 0:
            self._run.answered(self._number, accepted=False)


def request(plan: Plan, number: int) -> bytes:
    """A whole request, signed as Zenoti does."""
    posted = body(plan.tag, number)
    digest = hmac.new(SECRET, posted, hashlib.sha256).digest().hex("-").upper()
    head = (
        "POST /webhooks/main HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\n"
        f"zenoti-webhook-signature: sha256 ={digest}\r\nContent-Length: {len(posted)}\r\n\r\n"
    )
    return head.encode() + posted


async def carry_out(plan: Plan) -> Seen:
    """Make it, say so, wait for the word, go."""
    run = Run(plan, [request(plan, number) for number in range(plan.count)])
    await run.connect()
    print("ready", flush=True)
    sys.stdin.readline()
    return await run.go()


if __name__ == "__main__":
    for line in sys.stdin:
        print(msgspec.json.encode(asyncio.run(carry_out(msgspec.json.decode(line, type=Plan)))).decode(), flush=True)
