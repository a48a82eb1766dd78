"""Publishes with a span around each publish; the span's context travels with the message."""

from zenoti_ingest.core.events.messages import Outgoing, carried
from zenoti_ingest.stages.ports import Publishes, Traces


class TracedPublisher:
    """The port `Publishes` around another; `anew`: each publish begins a trace, linked to the message's trace."""

    def __init__(self, publisher: Publishes, traces: Traces, *, anew: bool = False) -> None:
        self._publisher, self._traces, self._anew = publisher, traces, anew

    async def publish(self, message: Outgoing, *, within: float) -> None:
        """As the other does.

        Raises:
            PublishUnconfirmed, Unroutable, TooLarge, Unencodable: as the other does.
        """
        with self._traces.publishing(message, anew=self._anew) as span:
            await self._publisher.publish(carried(message, span.context), within=within)


def traced(publisher: Publishes, traces: Traces, *, anew: bool = False) -> Publishes:
    """The publisher, with spans if they are recorded at all."""
    return TracedPublisher(publisher, traces, anew=anew) if traces.are_on else publisher
