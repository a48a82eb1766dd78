"""Connections that come and do not get to work; each that is dropped is made anew.

A process of its own, so that its work holds up no good request, and protocols without tasks, so that it leaves the door
what there is of CPU: strangers have machines of their own.

`python -m tests.bench.crowd.crowd PORT COUNT`: prints a line once all have been made, ends as its input does, and then
prints how many it has made in all.
"""

import asyncio
import itertools
import random
import sys

HEAD = b"POST /webhooks/main HTTP/1.1\r\nHost: door\r\n"
BODY = b"Content-Length: 1000\r\n\r\n"
PING = b"Content-Length: 0\r\n\r\n"
BYTE_SECONDS = 5.0
MADE_PER_SECOND = 500.0

# What is sent at once, and what comes after it byte by byte: nothing at all; a head that never ends; a body that
# never ends; a request answered, and then nothing.
KINDS = ((b"", b""), (HEAD, b"X-Slow: "), (HEAD + BODY, b"{"), (HEAD + PING, b""))


class Place(asyncio.Protocol):
    """One place of the crowd.

    Attributes:
        made: how many connections it has made.
        coming: the last of them, while it is made and after.
    """

    def __init__(self, port: int, number: int) -> None:
        self.made = 0
        self._port = port
        self._first, self._slowly = KINDS[number % len(KINDS)]
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(number / MADE_PER_SECOND, self._come)
        self.coming: asyncio.Task[object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what is sent at once."""
        self.made += 1
        assert isinstance(transport, asyncio.Transport)  # of a socket
        transport.write(self._first)
        if self._slowly:
            self._drip(transport, itertools.chain(self._slowly, itertools.repeat(self._slowly[-1])))

    def connection_lost(self, exc: Exception | None) -> None:
        """Come again."""
        del exc
        self._again()

    def _come(self) -> None:
        self.coming = self._loop.create_task(self._loop.create_connection(lambda: self, "127.0.0.1", self._port))
        self.coming.add_done_callback(self._has_come)

    def _has_come(self, coming: asyncio.Task[object]) -> None:
        if not coming.cancelled() and coming.exception():
            self._again()

    def _again(self) -> None:
        self._next.cancel()
        self._next = self._loop.call_later(random.uniform(1, 3), self._come)  # noqa: S311  # a crowd in step is none

    def _drip(self, writer: asyncio.Transport, bytes_left: "itertools.chain[int]") -> None:
        pause = BYTE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311  # not secrecy
        self._next = self._loop.call_later(pause, self._sent, writer, bytes_left)

    def _sent(self, writer: asyncio.Transport, bytes_left: "itertools.chain[int]") -> None:
        writer.write(bytes([next(bytes_left)]))
        self._drip(writer, bytes_left)


async def crowd(port: int, count: int) -> None:
    """Stand at the door until the input ends."""
    places = [Place(port, number) for number in range(count)]
    while not all(place.made for place in places):  # noqa: ASYNC110  # one in a thousand turns is the last
        await asyncio.sleep(0.1)
    print("all have come", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(sum(place.made for place in places), flush=True)
    under_way = [place.coming for place in places if place.coming is not None]
    for coming in under_way:
        coming.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(crowd(int(sys.argv[1]), int(sys.argv[2])))
