"""Intake: may it in? -> publish to raw queue and archive -> confirmed -> 202.

The broker routes one publish to both; the confirm says that both have it. A bound archive alone would still confirm,
so the topology is watched, and while something is known to be missing nothing is taken.
"""

from collections.abc import Callable, Mapping

from multidict import CIMultiDictProxy

from worker.adapters.clock import new_receipt_id, utc_now
from worker.adapters.http_door import Answer, Arrival
from worker.core.door import Accept, Ping, Refuse, Rule, judge
from worker.core.errors import PublishUnconfirmed, Unroutable
from worker.core.messages import Received
from worker.core.topology import Names
from worker.stages.ports import Publishes
from worker.telemetry import door_unsigned, log

_MAX_TYPE_CHARS = 200
_MAX_PROPERTY_BYTES = 255  # AMQP's short string


class DoorSource:
    """What the door knows of a source: where its signature stands, and what it demands now (files may change)."""

    def __init__(self, *, signature_header: str, rule: Callable[[], Rule]) -> None:
        self.signature_header = signature_header
        self.rule = rule


class Intake:
    """The stage behind the door.

    Args:
        publisher: the port to the broker.
        names: of exchanges and queues.
        sources: by name.
        confirm_seconds: how long a confirm may take.
        broken: what stands against taking events; empty: nothing.
    """

    def __init__(
        self,
        publisher: Publishes,
        *,
        names: Names,
        sources: Mapping[str, DoorSource],
        confirm_seconds: float,
        broken: Callable[[], str],
    ) -> None:
        self._publisher = publisher
        self._names = names
        self._sources = sources
        self._confirm_seconds = confirm_seconds
        self._broken = broken
        self.last_event_at: dict[str, str] = {}

    async def receive(self, arrival: Arrival) -> Answer:
        """Decide on one request and, if it may in, see it safe."""
        source = self._sources[arrival.source]
        signatures = arrival.headers.getall(source.signature_header, [])
        tokens = (*arrival.tokens, *_bearer(arrival.headers))
        match judge(arrival.body, signatures=signatures, tokens=tokens, rule=source.rule()):
            case Ping():
                return Answer(200)
            case Refuse(status, detail):
                log.warning("door_refused", source=arrival.source, status=status, detail=detail)
                return Answer(status, detail=detail)
            case Accept(signed):
                if not signed:
                    door_unsigned.labels(arrival.source).inc()
                return await self._keep(arrival)

    async def _keep(self, arrival: Arrival) -> Answer:
        if self._broken():
            return Answer(503, detail="the broker cannot take events at the moment")
        message = Received(
            body=arrival.body,
            source=arrival.source,
            receipt_id=new_receipt_id(),
            received_at=utc_now(),
            path_type=_clean(arrival.path_type)[:_MAX_TYPE_CHARS],
            content_type=_property(arrival.headers.get("Content-Type")),
            content_encoding=_property(arrival.headers.get("Content-Encoding")),
        )
        try:
            outgoing = message.to(exchange=self._names.intake, routing_key=arrival.source)
            await self._publisher.publish(outgoing, within=self._confirm_seconds)
        except (PublishUnconfirmed, Unroutable) as error:
            log.error("door_unavailable", source=arrival.source, receipt_id=message.receipt_id, detail=str(error))
            return Answer(503, detail="the broker did not take the event in time")
        self.last_event_at[arrival.source] = message.received_at
        log.debug("door_accepted", source=arrival.source, receipt_id=message.receipt_id, bytes=len(arrival.body))
        return Answer(202, receipt_id=message.receipt_id)


def _bearer(headers: CIMultiDictProxy[str]) -> tuple[str, ...]:
    found = (value.partition(" ") for value in headers.getall("Authorization", []))
    return tuple(token.strip() for scheme, _, token in found if scheme.lower() == "bearer")


def _clean(text: str) -> str:
    """Text that AMQP can carry: undecodable bytes of the URL become question marks."""
    return text.encode("utf-8", "replace").decode()


def _property(value: str | None) -> str | None:
    """A header's value as an AMQP property; what a short string cannot carry is left out."""
    return value if value and value.isascii() and value.isprintable() and len(value) <= _MAX_PROPERTY_BYTES else None
