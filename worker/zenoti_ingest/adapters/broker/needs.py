"""The parts of a connection that the streams and queues of this package need, as protocols."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from zenoti_ingest.core.delivery.delivery import Delivery
from zenoti_ingest.core.events.messages import Outgoing


class Publisher(Protocol):
    """A connection to publish on; see `Link.publish`."""

    async def wait_ready(self) -> None: ...  # noqa: D102  # as Link says

    async def publish(self, message: Outgoing, *, within: float) -> None: ...  # noqa: D102  # as Link says


class Subscriber(Protocol):
    """A connection to consume on; see `Link.subscribe`."""

    async def wait_ready(self) -> None: ...  # noqa: D102  # as Link says

    def subscribe(  # noqa: D102  # as Link says
        self,
        queue: str,
        *,
        prefetch: int,
        on_delivery: Callable[[Delivery], Awaitable[None]],
        arguments: Any = None,
        publishes: bool = False,
    ) -> Any: ...
