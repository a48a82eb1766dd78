"""systemd's two protocols: report our state (sd_notify(3)), and take over its listening sockets (sd_listen_fds(3)).

Outside of systemd both do nothing. The event loop feeds the watchdog, so systemd restarts a process whose loop hangs.
"""

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Final

FIRST_SOCKET: Final = 3
REPORT_SECONDS: Final = 5.0
_STATUS_CHARS: Final = 200


class Notify:
    """The socket of the service manager, from NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.

    Attributes:
        watchdog_seconds: how often it wants to hear from us at the latest; None: it has no watchdog for us.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        at = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + at[1:] if at.startswith("@") else at
        microseconds = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_seconds = int(microseconds) / 1e6 if microseconds.isdecimal() and ours else None

    def notify(self, **states: str) -> None:
        """Send states, such as READY="1"; do nothing if nobody listens."""
        if not self._address:
            return
        text = "\n".join(f"{name}={' '.join(value.split())[:_STATUS_CHARS]}" for name, value in states.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as talk:
            talk.setblocking(False)
            talk.sendto(text.encode(), self._address)

    async def run(self, *, is_ready: Callable[[], bool], status: Callable[[], str]) -> None:
        """Send READY when we are ready for the first time; send status and watchdog until cancelled."""
        was_ready = False
        pause = min(REPORT_SECONDS, (self.watchdog_seconds or 2 * REPORT_SECONDS) / 2)
        while self._address:
            states = {"STATUS": status(), "WATCHDOG": "1"}
            if not was_ready and is_ready():
                was_ready = True
                states["READY"] = "1"
            self.notify(**states)
            await asyncio.sleep(pause if was_ready else min(pause, 0.2))


def given_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd handed to this process; LISTEN_PID and LISTEN_FDS are then removed from `environ`."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = [socket.socket(fileno=number) for number in range(FIRST_SOCKET, FIRST_SOCKET + int(count))]
    for listening in found:
        listening.set_inheritable(False)
        listening.setblocking(False)
    return found
