"""The simulator's board: switches, keys and counters, shared by API, sender and control.

It is pure: no clock, no socket; randomness comes from the seed. API and sender read a switch each time they need it.
"""

import random
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from zenoti_ingest.simulator import invention
from zenoti_ingest.simulator.counters import ApiCounters, Latencies, WebhookCounters
from zenoti_ingest.simulator.switches import Switches, WrongSwitch, changed

UNKNOWN_KEY: Final = "unknown"


class Board:
    """How the simulator should behave, and what has happened.

    Args:
        keys: the accepted API keys.
        seed: fixes the order of the faults.
        speed: how many simulated seconds pass in a real second.

    Attributes:
        switches: the current switches; `change` sets them.
        down: whether the API is down; calls on its open connections are cut.
        untested: whether the webhook was switched on and no test request has been sent since.
    """

    def __init__(
        self, *, keys: Sequence[str], seed: int = 0, speed: float = 1.0, switches: Switches | None = None
    ) -> None:
        self.switches = switches or Switches()
        self.seed = seed
        self.speed = speed
        self.down = False
        self.untested = self.switches.webhooks.on
        self.api = ApiCounters()
        self.webhooks = WebhookCounters()
        self.answers = Latencies()
        self._known: list[str] = []
        self._let_in: frozenset[str] = frozenset()
        self.let_in(keys)

    def let_in(self, keys: Sequence[str]) -> None:
        """From now on accept only these API keys: a rotation, with overlap if the old key is among them.

        Raises:
            WrongSwitch: there is no key, or a key is empty.
        """
        if not all(keys) or not keys:
            raise WrongSwitch("keys", "at least one, none of them empty")
        self._known += [key for key in dict.fromkeys(keys) if key not in self._known]
        self._let_in = frozenset(keys)

    def key_of(self, authorization: str) -> tuple[str, bool]:
        """The name under which the header's key is counted, and whether the key is accepted."""
        key = authorization.removeprefix("apikey ")
        name = str(self._known.index(key) + 1) if key in self._known else UNKNOWN_KEY
        return name, authorization == f"apikey {key}" and key in self._let_in

    def change(self, patch: bytes) -> None:
        """Change some switches; a webhook that is switched on begins with no failures, and is tested.

        Raises:
            WrongSwitch: the patch is invalid; nothing is changed.
        """
        was_on = self.switches.webhooks.on
        self.switches = changed(self.switches, patch)
        if self.switches.webhooks.on and not was_on:
            self.webhooks.failures_in_a_row = 0
            self.untested = True

    def switch_off(self) -> None:
        """Switch the webhook off, as the vendor does after too many failures."""
        self.change(b'{"webhooks": {"on": false}}')
        self.webhooks.switched_off += 1

    def chance(self, name: str) -> random.Random:
        """Randomness for a single purpose, fixed by the seed."""
        return invention.rng(f"{self.seed}:board:{name}")

    def shown(self) -> dict[str, Any]:
        """Everything that the control shows; of the keys only their number."""
        webhooks = msgspec.to_builtins(self.webhooks) | {
            "answer_milliseconds": msgspec.to_builtins(self.answers.quantiles())
        }
        return {
            "seed": self.seed,
            "speed": self.speed,
            "keys": len(self._let_in),
            "switches": msgspec.to_builtins(self.switches),
            "counters": {"api": msgspec.to_builtins(self.api), "webhooks": webhooks},
        }
