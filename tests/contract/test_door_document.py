"""The door's OpenAPI document and the door itself: the door does what the document says."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from jsonschema import Draft202012Validator

from tests.doors import limits
from zenoti_ingest.adapters.http_door import Answer, Arrival, HttpDoor
from zenoti_ingest.operations.schemas import HERE

DOCUMENT = msgspec.json.decode((HERE / "openapi.json").read_bytes())
MAX_BODY_BYTES = 1000
ANSWERS = {
    b"": Answer(200),
    b"good": Answer(202, receipt_id="01985a3e-7c40-7abc-8def-0123456789ab"),
    b"unsigned": Answer(401, detail="the signature is missing or wrong"),
    b"away": Answer(503, detail="the broker did not take the event in time"),
}


@pytest.fixture
async def door() -> AsyncIterator[str]:
    """The address of a door whose stage answers by the body; what it does not know is a defect."""

    async def receive(arrival: Arrival) -> Answer:
        return ANSWERS[arrival.body]

    listener = HttpDoor(
        receive,
        sources=frozenset({"main"}),
        limits=limits(max_body_bytes=MAX_BODY_BYTES),
        answered=lambda _source, _status: None,
    )
    port = await listener.listen(host="127.0.0.1", port=0, drain_seconds=1)
    yield f"http://127.0.0.1:{port}"
    await listener.close()


def answer_of(route: str, method: str, status: int) -> Any:
    """What the document says of one answer."""
    ref = DOCUMENT["paths"][route][method]["responses"][str(status)]["$ref"]
    return DOCUMENT["components"]["responses"][ref.rpartition("/")[2]]


def routes() -> dict[str, str]:
    """The document's routes, with an example's words in them."""
    return {route: route.format(source="main", event_type="Guest.Created") for route in DOCUMENT["paths"]}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 200, id="ping"),
        pytest.param(b"good", 202, id="accepted"),
        pytest.param(b"unsigned", 401, id="unsigned"),
        pytest.param(b"x" * (MAX_BODY_BYTES + 1), 413, id="too large"),
        pytest.param(b"defect", 500, id="defect"),
        pytest.param(b"away", 503, id="broker away"),
    ],
)
async def test_answers_are_those_of_the_document(door: str, body: bytes, status: int) -> None:
    """By every route and method the answer has the document's status, content type, headers and shape."""
    async with aiohttp.ClientSession() as session:
        for route, path in routes().items():
            for method in DOCUMENT["paths"][route].keys() - {"parameters"}:
                async with session.request(method, door + path, data=body) as response:
                    assert response.status == status
                    await keeps_to(answer_of(route, method, status), response)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/webhooks/main", 405), ("POST", "/webhooks/no", 404)])
async def test_what_is_not_there(door: str, method: str, path: str, status: int) -> None:
    """Other methods and unknown sources get the problem that the document names."""
    async with aiohttp.ClientSession() as session, session.request(method, door + path, data=b"good") as response:
        assert response.status == status
        await keeps_to(answer_of("/webhooks/{source}", "post", status), response)


async def keeps_to(answer: Any, response: aiohttp.ClientResponse) -> None:
    """Content type, headers and body are as the document says."""
    schema = answer["content"][response.content_type]["schema"]
    judge = Draft202012Validator({"allOf": [schema], "components": DOCUMENT["components"]})
    judge.validate(await response.json(content_type=None))
    for name, header in answer.get("headers", {}).items():
        assert response.headers[name] == str(header["schema"]["const"])
