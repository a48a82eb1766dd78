"""A webhook by the vendor's rules: its tries, their intervals, and the failures after which it is switched off.

Rules: https://docs.zenoti.com/docs/webhooks: no answer in 10 s is a failure; five tries, exponentially 30 s to 10 min
apart; 20 failures in a row switch the webhook off until a person switches it on.
"""

import asyncio
import time
from typing import Final

import structlog

from zenoti_ingest.simulator.board import Board
from zenoti_ingest.simulator.counters import NO_STATUS, count
from zenoti_ingest.simulator.webhooks import NO_ANSWER, PATIENCE_SECONDS, WebhookSender, taken
from zenoti_ingest.simulator.world import WebhookEvent

TRIES: Final = 5
FAILURES_IN_A_ROW: Final = 20
_FIRST_SECONDS, _LAST_SECONDS = 30.0, 600.0
_SHORTEST_PATIENCE: Final = 2.0  # seconds; the door's own deadlines, 1.5 s for the broker, do not scale with speed

RETRY_SECONDS: Final = tuple(
    _FIRST_SECONDS * (_LAST_SECONDS / _FIRST_SECONDS) ** (gap / (TRIES - 2)) for gap in range(TRIES - 1)
)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def patience_seconds(speed: float) -> float:
    """How long the vendor waits for an answer, at this speed."""
    return max(PATIENCE_SECONDS / speed, _SHORTEST_PATIENCE)


class Registration:
    """A webhook, switched on and off on the board.

    Args:
        sender: posts to its door.
        board: holds its switch and its counters.
    """

    def __init__(self, sender: WebhookSender, board: Board) -> None:
        self._sender = sender
        self._board = board

    async def first_try(self, event: WebhookEvent) -> int | None:
        """Post once and return the status, after the test request if that is due; None if the webhook is off."""
        if not self._is_on:
            self._board.webhooks.unsent += 1
            return None
        if self._board.untested:
            self._board.untested = False
            await self._test()
        return await self._try(event)

    async def later_tries(self, event: WebhookEvent) -> int:
        """Post again after each wait until the event is taken or the webhook is off; return the last status."""
        status = NO_ANSWER
        for seconds in RETRY_SECONDS:
            if self._is_on:
                await asyncio.sleep(seconds / self._board.speed)
            if not self._is_on:
                break
            self._board.webhooks.retried += 1
            status = await self._try(event)
            if taken(status):
                return status
        self._board.webhooks.given_up += 1
        return status

    @property
    def _is_on(self) -> bool:
        return self._board.switches.webhooks.on

    async def _test(self) -> None:
        self._board.webhooks.tests += 1
        if not taken(await self._sender.ping()):
            self._board.webhooks.tests_refused += 1

    async def _try(self, event: WebhookEvent) -> int:
        counters = self._board.webhooks
        counters.tried += 1
        began = time.monotonic()
        status = await self._sender.post(event)
        if status != NO_ANSWER:
            self._board.answers.add(time.monotonic() - began)
        if taken(status):
            counters.taken += 1
            counters.failures_in_a_row = 0
            return status
        count(counters.refused, NO_STATUS if status == NO_ANSWER else str(status))
        counters.failures_in_a_row += 1
        if counters.failures_in_a_row >= FAILURES_IN_A_ROW and self._is_on:
            self._board.switch_off()
            _log.error("simulator_webhook_off", failures_in_a_row=counters.failures_in_a_row)
        return status
