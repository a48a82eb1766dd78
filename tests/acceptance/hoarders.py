"""Connections that make the door hold as much memory as it will, each in its way; dropped connections come again.

A process of its own, with sockets instead of transports, so that it keeps nothing itself.

`python -m tests.acceptance.hoarders PORT COUNT KIND`: prints a line once all have come, only then begins to send, and
ends as its input does.
"""

import os
import resource
import selectors
import socket
import sys
import time
from contextlib import suppress
from typing import Final, NamedTuple

LINE: Final = b"POST /webhooks/main HTTP/1.1\r\n"
HEAD: Final = LINE + b"Host: door\r\n"
SIGNED_WRONGLY: Final = b"zenoti-webhook-signature: 00\r\n"
WIDE: Final = b"y" * 7000 + "\U0001f600".encode()  # one such character makes four bytes of each
SMALL_HEADERS: Final = b"".join(b"a%d:b\r\n" % number for number in range(95))
CHUNKED: Final = HEAD + SIGNED_WRONGLY + b"Transfer-Encoding: chunked\r\n\r\n"
PIPELINED: Final = HEAD + SIGNED_WRONGLY + b"X: " + b"x" * 8000 + b"\r\nContent-Length: 2\r\n\r\n{}"
AGAIN_SECONDS: Final = 0.5
DRIP_SECONDS: Final = 0.5
CONNECTS_A_TURN: Final = 50
SENT_AT_ONCE: Final = 256 * 1024


class Kind(NamedTuple):
    """One way to hoard.

    Attributes:
        opening: is sent at once.
        endless: is sent after it, for ever.
        drips: of that a byte now and then; else as much as is taken.
        reads: bytes of answers at a time; 0: none.
        shuts: the sending side is closed after the opening.
    """

    opening: bytes
    endless: bytes = b""
    drips: bool = False
    reads: int = 0
    shuts: bool = False


KINDS: Final = {
    "pipelined": Kind(b"", PIPELINED),
    "pipelined, small": Kind(b"", b"GET / HTTP/1.1\r\nHost: door\r\n\r\n"),
    "pipelined, wide": Kind(b"", HEAD + b"X: " + WIDE + b"\r\nContent-Length: 2\r\n\r\n{}"),
    "pipelined, closed": Kind(PIPELINED * 200, shuts=True),
    "pipelined, a byte read at a time": Kind(b"", PIPELINED, reads=1),
    "a head byte by byte": Kind(HEAD + b"X: ", b"y", drips=True),
    "many headers byte by byte": Kind(HEAD + SMALL_HEADERS, b"Z", drips=True),
    "a wide head byte by byte": Kind(HEAD + b"X: " + WIDE + b"\r\nY: " + WIDE, b"Z", drips=True),
    "an endless head": Kind(HEAD, b"X: " + b"x" * 4000 + b"\r\n"),
    "an endless line": Kind(b"POST /webhooks/main?", b"a=&"),
    "many names, half a body": Kind(HEAD + SMALL_HEADERS + b"Content-Length: 999999\r\n\r\n", b"x", drips=True),
    "a wide head, half a body": Kind(HEAD + b"X: " + WIDE + b"\r\nContent-Length: 9\r\n\r\n", b"x", drips=True),
    "a long query, half a body": Kind(
        LINE.replace(b" HTTP", b"?" + b"a=&" * 2600 + b" HTTP") + b"Host: door\r\nContent-Length: 999999\r\n\r\n",
        b"x",
        drips=True,
    ),
    "idle after a wide head": Kind(HEAD + b"X: " + WIDE + b"\r\nContent-Length: 2\r\n\r\n{}", reads=4096),
    "idle after a long query": Kind(
        LINE.replace(b" HTTP", b"?" + b"a=&" * 2600 + b" HTTP") + b"Host: door\r\nContent-Length: 2\r\n\r\n{}",
        reads=4096,
    ),
    "a body never sent": Kind(HEAD + b"Content-Length: 1000000\r\n\r\n", b"x", drips=True),
    "a body all but sent": Kind(HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 900_000, b"x", drips=True),
    "whole bodies": Kind(
        b"", HEAD + SIGNED_WRONGLY + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000, reads=4096
    ),
    "tiny chunks": Kind(CHUNKED, b"1\r\nx\r\n"),
    "chunk extensions": Kind(CHUNKED, b"1;" + b"e" * 4000 + b"\r\nx\r\n"),
    "an endless extension": Kind(CHUNKED + b"1;", b"e"),
    "endless trailers": Kind(CHUNKED + b"1\r\nx\r\n0\r\n", b"T: " + b"t" * 1000 + b"\r\n"),
    "many trailers": Kind(CHUNKED + b"1\r\nx\r\n0\r\n" + SMALL_HEADERS, b"T", drips=True),
    "half-closed": Kind(PIPELINED, shuts=True),
    "a websocket": Kind(HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"\x82\x7f" + bytes(65536)),
    "HTTP/2": Kind(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x40\x00\x00\x00\x00\x00\x00\x01" + bytes(16384)),
    "a tunnel": Kind(b"CONNECT door:443 HTTP/1.1\r\nHost: door\r\n\r\n", bytes(65536)),
    "TLS": Kind(b"\x16\x03\x01\x02\x00" + bytes(512), bytes(16384)),
}


class Place:
    """One place of the crowd, and the connection that stands there."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.socket: socket.socket | None = None
        self.at = 0  # of the opening and what is endless, how much has been sent
        self.due = 0.0
        self.is_done = False  # all that is sent at once


class Crowd:
    """All of them."""

    def __init__(self, port: int, count: int, kind: Kind) -> None:
        self._port, self._kind = port, kind
        self._places = [Place(number) for number in range(count)]
        endless = kind.endless * (1 if kind.drips or not kind.endless else -(-SENT_AT_ONCE // len(kind.endless)))
        self._opening, self._endless = memoryview(kind.opening), memoryview(endless)
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)

    def stand(self) -> None:
        """Come, one group after the other, then hoard until the input ends."""
        for place in self._places:
            self._connect(place)
            if place.number % CONNECTS_A_TURN == 0:
                time.sleep(DRIP_SECONDS / 10)
        time.sleep(DRIP_SECONDS)
        print("all", flush=True)  # noqa: T201  # what it is for
        while True:
            self._turn(time.monotonic())
            for key, events in self._selector.select(timeout=DRIP_SECONDS / 10):
                if key.data is not None:
                    self._served(key.data, events)
                elif not os.read(0, 1):
                    return

    def _turn(self, now: float) -> None:
        connects = 0
        for place in self._places:
            if place.due > now:
                continue
            if place.socket is None and connects < CONNECTS_A_TURN:
                connects += 1
                self._connect(place)
            elif place.socket is not None and place.is_done:
                place.due = now + DRIP_SECONDS
                if self._kind.drips:
                    self._say(place, self._endless[:1])
                elif not self._kind.reads and _has_ended(place.socket):
                    self._leave(place)

    def _connect(self, place: Place) -> None:
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect_ex(("127.0.0.1", self._port))
        place.socket, place.at, place.due, place.is_done = made, 0, 0.0, False
        self._selector.register(made, selectors.EVENT_WRITE | (selectors.EVENT_READ if self._kind.reads else 0), place)

    def _served(self, place: Place, events: int) -> None:
        if place.socket is None:
            return
        if events & selectors.EVENT_READ and not self._hears(place.socket):
            self._leave(place)
        elif events & selectors.EVENT_WRITE:
            if place.at < len(self._opening):
                self._say(place, self._opening[place.at :])
            elif self._kind.endless and not self._kind.drips:
                self._say(place, self._endless[(place.at - len(self._opening)) % len(self._endless) :])
            else:
                self._has_said_all(place)

    def _has_said_all(self, place: Place) -> None:
        assert place.socket is not None
        place.is_done = True
        if self._kind.shuts:
            with suppress(OSError):
                place.socket.shutdown(socket.SHUT_WR)
        if self._kind.reads:
            self._selector.modify(place.socket, selectors.EVENT_READ, place)
        else:
            self._selector.unregister(place.socket)

    def _hears(self, talk: socket.socket) -> bool:
        """Read a part of an answer; whether the connection goes on."""
        try:
            return bool(talk.recv(self._kind.reads))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _say(self, place: Place, text: memoryview) -> None:
        assert place.socket is not None
        try:
            place.at += place.socket.send(text)
        except BlockingIOError:
            return
        except OSError:
            self._leave(place)

    def _leave(self, place: Place) -> None:
        assert place.socket is not None
        with suppress(KeyError):
            self._selector.unregister(place.socket)
        place.socket.close()
        place.socket, place.due = None, time.monotonic() + AGAIN_SECONDS


def _has_ended(talk: socket.socket) -> bool:
    """Whether the other side has ended it, as far as that can be seen without reading."""
    try:
        return not talk.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


if __name__ == "__main__":
    port, count, kind = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Crowd(int(port), int(count), KINDS[kind]).stand()
