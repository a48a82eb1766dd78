import pytest
from opentelemetry.semconv._incubating.attributes import messaging_attributes, url_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.semconv.attributes import url_attributes as stable_url_attributes

from tests.builders import INVOICE_ID, RECEIPT_ID, received
from zenoti_ingest.core.events import spans
from zenoti_ingest.core.events.spans import Place, Server
from zenoti_ingest.core.invoices.protocol import request

CONVENTIONS = (
    messaging_attributes,
    url_attributes,
    error_attributes,
    http_attributes,
    server_attributes,
    stable_url_attributes,
)
PLACE = Place(stage="translate", queue="zenoti.raw.main", exchange="zenoti.intake", routing_key="main", delivery_tag=7)
MESSAGE = received(body=b'{"guest": "Ada"}', attempts=3)
SENT = MESSAGE.to(exchange="zenoti.work", routing_key="zenoti.raw.main")
ASKED = request(INVOICE_ID, expand=("InvoiceItems",))
SERVER = spans.server("https://api.zenoti.com")


@pytest.mark.parametrize(
    "described",
    [
        spans.request(source="main", method="POST"),
        spans.publishing(SENT),
        spans.processing(MESSAGE, PLACE),
        spans.calling(ASKED, SERVER, source="main", events=3),
    ],
)
def test_attributes_are_of_the_conventions_or_ours(described: spans.Described) -> None:
    """Every attribute is one of OpenTelemetry's conventions, or begins with `zenoti.`; none holds a body or a query."""
    known = {value for module in CONVENTIONS for value in vars(module).values() if isinstance(value, str)}
    assert {name for name in described.attributes if not name.startswith("zenoti.")} <= known
    assert not any("Ada" in str(value) or "expand" in str(value) for value in described.attributes.values())
    assert {spans.ERROR, spans.STATUS} <= known


def test_a_request() -> None:
    """The server's span is named by method and route, and has the source."""
    made = spans.request(source="main", method="PUT")
    assert (made.name, made.kind) == ("PUT /webhooks/{source}", "server")
    assert made.attributes["zenoti.source"] == "main"
    assert made.attributes["url.path"] == "/webhooks/main"


def test_a_publish() -> None:
    """The producer's span is named by exchange and routing key."""
    made = spans.publishing(SENT)
    assert (made.name, made.kind) == ("publish zenoti.work:zenoti.raw.main", "producer")
    assert made.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "zenoti.work:zenoti.raw.main",
        "messaging.rabbitmq.destination.routing_key": "zenoti.raw.main",
        "messaging.message.id": RECEIPT_ID,
    }


@pytest.mark.parametrize(
    ("place", "name"),
    [
        pytest.param(PLACE, "process zenoti.intake:main:zenoti.raw.main", id="by a topic"),
        pytest.param(
            Place(stage="enrich", queue="q", exchange="zenoti.work", routing_key="q", delivery_tag=7),
            "process zenoti.work:q",
            id="by the queue's name",
        ),
        pytest.param(
            Place(stage="enrich", queue="q", exchange="", routing_key="q", delivery_tag=7),
            "process q",
            id="by the default exchange",
        ),
    ],
)
def test_a_delivery(place: Place, name: str) -> None:
    """The consumer's span is named by exchange, key and queue, each once, and `handed-back` until another outcome."""
    made = spans.processing(MESSAGE, place)
    assert (made.name, made.kind) == (name, "consumer")
    found = {key: made.attributes[key] for key in ("zenoti.stage", "zenoti.source", "zenoti.attempt", "zenoti.outcome")}
    assert found == {
        "zenoti.stage": place.stage,
        "zenoti.source": "main",
        "zenoti.attempt": 3,
        "zenoti.outcome": "handed-back",
    }
    assert made.attributes["messaging.rabbitmq.message.delivery_tag"] == 7


def test_a_call() -> None:
    """The client's span has the URL without its query, and how many events it is for."""
    made = spans.calling(ASKED, spans.server("http://127.0.0.1:9/base/"), source="main", events=3)
    assert (made.name, made.kind) == ("GET /v1/invoices/{invoice_id}", "client")
    assert made.attributes["url.full"] == f"http://127.0.0.1:9/base/v1/invoices/{INVOICE_ID}"
    assert made.attributes["zenoti.events"] == 3


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.zenoti.com", Server("https://api.zenoti.com:443", "api.zenoti.com", 443)),
        ("http://api.zenoti.com/", Server("http://api.zenoti.com:80", "api.zenoti.com", 80)),
        ("https://user:secret@h:8443/x/", Server("https://h:8443/x", "h", 8443)),
        ("http://[::1]:8080", Server("http://[::1]:8080", "::1", 8080)),
        ("", Server("://:80", "", 80)),
    ],
)
def test_a_server(base_url: str, expected: Server) -> None:
    """A base URL is shown with its port and without credentials."""
    assert spans.server(base_url) == expected
