"""Connections that come and do not get to work; each that is dropped is made anew.

A process of its own, so that its work holds up no good request.

`python -m tests.bench.crowd.crowd PORT COUNT`: prints a line once all have been made, ends as its input does.
"""

import asyncio
import itertools
import random
import sys
from contextlib import suppress

HEAD = b"POST /webhooks/main HTTP/1.1\r\nHost: door\r\n"
BODY = b"Content-Length: 1000\r\n\r\n"
PING = b"Content-Length: 0\r\n\r\n"
BYTE_SECONDS = 5.0
MADE_PER_SECOND = 500.0

# What is sent at once, and what comes after it byte by byte: nothing at all; a head that never ends; a body that
# never ends; a request answered, and then nothing.
KINDS = ((b"", b""), (HEAD, b"X-Slow: "), (HEAD + BODY, b"{"), (HEAD + PING, b""))


async def one(port: int, number: int, made: list[int]) -> None:
    """One place of the crowd."""
    first, byte = KINDS[number % len(KINDS)]
    await asyncio.sleep(number / MADE_PER_SECOND)
    while True:
        writer = None
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            made.append(number)
            writer.write(first)
            reading = asyncio.create_task(reader.read())
            for at in itertools.count():
                done, _ = await asyncio.wait([reading], timeout=BYTE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311
                if done:
                    break
                writer.write(byte[at : at + 1] or byte[-1:])
            reading.exception()
        if writer is not None:
            writer.transport.abort()
        await asyncio.sleep(random.uniform(1, 3))  # noqa: S311  # not secrecy: a crowd in step would be none


async def crowd(port: int, count: int) -> None:
    """Stand at the door until the input ends."""
    made: list[int] = []
    standing = [asyncio.create_task(one(port, number, made)) for number in range(count)]
    while len(made) < count:  # noqa: ASYNC110  # one in a thousand turns is the last: an event would say less
        await asyncio.sleep(0.1)
    sys.stdout.write("all have come\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    for task in standing:
        task.cancel()
    await asyncio.wait(standing)


if __name__ == "__main__":
    asyncio.run(crowd(int(sys.argv[1]), int(sys.argv[2])))
