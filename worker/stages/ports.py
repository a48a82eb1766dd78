"""The ports of the stages (hexagonal architecture): what they need of the world, with what it may raise.

Each has a contract suite in tests/contract, passed by the real adapter and by the fake of the tests.
"""

from typing import Final, Protocol

from worker.core.invoice_request import Request, Response
from worker.core.messages import Outgoing

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
