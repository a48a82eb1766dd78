"""The ports of the stages (hexagonal architecture): what they need of the world, with what it may raise.

Each has a contract suite in tests/contract, passed by the real adapter and by the fake of the tests.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from worker.core.invoice_request import Request, Response
from worker.core.messages import Outgoing
from worker.core.spooled import Spooled

PUBLISH_SECONDS: Final = 15.0  # how long a stage waits for a confirm; then the delivery comes again


class Publishes(Protocol):
    """The broker, for publishing."""

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """Publish, and return once the broker has confirmed.

        Raises:
            PublishUnconfirmed: no confirm within so many seconds; it may still arrive.
            Unroutable: no queue is bound for it.
            Unencodable: AMQP cannot carry it as it is.
        """


class Fetches(Protocol):
    """The invoice API."""

    async def fetch(self, request: Request) -> Response:
        """Send the request, and return what came back, be it an error.

        Raises:
            ApiUnreachable: no answer at all.
            ApiUnavailable: the answer did not come whole in time.
        """

    def key_mark(self) -> object:
        """Something that differs when the key has changed."""


class Spools(Protocol):
    """The disk, where events wait for the broker."""

    async def put(self, spooled: Spooled) -> None:
        """Return once it is safe on disk.

        Raises:
            SpoolUnavailable: it is not; after a time-out it may still get there.
        """

    async def wait_for(self, source: str) -> None:
        """Return once an event of the source waits."""

    async def oldest(self, source: str, *, limit: int) -> Sequence[Any]:
        """The oldest of a source, each with what is `spooled`.

        Raises:
            SpoolUnavailable: they could not be read.
        """

    async def forget(self, source: str, items: Sequence[Any]) -> None:
        """They are published."""
