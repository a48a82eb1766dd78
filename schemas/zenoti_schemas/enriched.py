"""The messages for downstream services, written strictly: CloudEvents 1.0 in structured mode.

Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md and
https://github.com/knative-extensions/eventing-rabbitmq/blob/main/cloudevents-protocol-spec/spec.md
"""

from typing import Literal

import msgspec

DATASCHEMA = "urn:zenoti-ingest:enriched-event:v1"
CONTENT_TYPE = "application/cloudevents+json"

Status = Literal["enriched", "not_applicable", "skipped", "failed"]


class Enrichment(msgspec.Struct, frozen=True, kw_only=True):
    """How the invoice was obtained.

    Attributes:
        status: `enriched`: `invoice` holds the API's answer; `not_applicable`: the event names no invoice;
            `skipped`: the configuration asks for no call; `failed`: see `reason`.
        expand: the requested parts.
        missing: the requested parts that the API did not return.
        fetched_at: when the call that returned the invoice began (RFC 3339, UTC); of two events keep the newer.
        reason: why it failed, as a fixed word.
    """

    status: Status
    expand: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    fetched_at: str | None = None
    reason: str | None = None


class EnrichedData(msgspec.Struct, frozen=True, kw_only=True):
    """The event and its invoice.

    Attributes:
        event: the webhook body as received, byte for byte.
        invoice: the API's invoice object as received, byte for byte, or `null`.
        enrichment: how the invoice was obtained.
    """

    event: msgspec.Raw
    invoice: msgspec.Raw
    enrichment: Enrichment


class EnrichedEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CloudEvent. The same Zenoti event always has the same `id`; two different events never do.

    Attributes:
        specversion: the CloudEvents version.
        id: `eventid`, a dot, and 16 hex digits of SHA-256 over the type, a NUL and the bytes of the envelope's `data`
            (without `data`: of the whole body); without `eventid`: `sha256:` and the digest of the body, in hex.
        eventid: the envelope's `event_id`, if it is a text that is not blank, of at most 200 bytes.
        source: `/zenoti/<source>`.
        type: `com.zenoti.` and the event's type in lower case.
        subject: the invoice's id, else the id of the event's object.
        time: when it happened, by Zenoti's clock, if that is RFC 3339.
        datacontenttype: the content type of `data`.
        dataschema: the schema of `data`.
        centerid: Zenoti's `center_id`.
        receivedat: when the door received it (RFC 3339, UTC).
        receiptid: the door's answer to Zenoti; new for each delivery of the webhook.
        replay: set on events that were replayed from the archive.
        data: the event, its invoice, and how that was obtained.
    """

    specversion: Literal["1.0"]
    id: str
    eventid: str | None = None
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: Literal["application/json"]
    dataschema: str
    centerid: str | None = None
    receivedat: str | None = None
    receiptid: str | None = None
    replay: str | None = None
    data: EnrichedData
