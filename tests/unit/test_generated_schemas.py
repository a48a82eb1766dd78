import shutil
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from msgspec import Meta
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from tests.builders import INVOICE_ID, enrichment, event, received
from zenoti_ingest.core.events import cloud_event
from zenoti_ingest.core.events.identity import UNKNOWN
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.policy import DeadLetter
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.documents.shapes import json_schemas, public_shapes
from zenoti_ingest.operations.schemas import HERE, ROOT, drift, drifted_pages, main
from zenoti_schemas.state import DaemonState, SourceState

INVOICE = b'{"id": "i1", "price": {"sales": 10.10}, "unheard_of": []}'
STATE = DaemonState(
    daemon="consume",
    instance="host-1",
    version="1",
    started_at="2031-05-06T17:08:09.000000Z",
    at="2031-05-06T17:08:14.000000Z",
    ready=True,
    sources={"main": SourceState(events_held=3, calls_saved=0.5, circuit="closed")},
)


class Card(msgspec.Struct, frozen=True):
    """What a guest gave."""

    owner: Annotated[str, Meta(max_length=9, extra={"personal": True})] | None = None
    number: Annotated[str, Meta(extra_json_schema={"x-personal": True})] | None = None


class Folder(msgspec.Struct, frozen=True):
    """A shape within itself."""

    inner: "Folder | None" = None


class Payment(msgspec.Struct, frozen=True):
    """A shape with everything that is hard to show.

    Attributes:
        amount: in the centre's currency,
            exact.
        card: whose it was.
    """

    amount: Decimal
    tip: Decimal | None = None
    card: Annotated[Card | None, Meta(extra={"personal": True})] = None
    first: Card = Card()
    more: msgspec.Raw = msgspec.Raw(b"null")


def generated(shape: str) -> Draft202012Validator:
    """What judges by the file of a shape."""
    return Draft202012Validator(msgspec.json.decode((HERE / f"{shape}.schema.json").read_bytes()))


def published_event() -> Any:
    """An enriched event as it goes out."""
    sent = cloud_event.outgoing(event(), exchange="zenoti.events", enrichment=enrichment(), fetched=INVOICE)
    return msgspec.json.decode(sent.body)


def letter_headers() -> dict[str, Any]:
    """The headers of a dead letter."""
    verdict = DeadLetter("refused", "the API answered code 400")
    names, dead_at = Names("zenoti"), "2031-05-06T18:00:00.000000Z"
    sent = dead_letter.write(
        received(attempts=2), verdict, names=names, stage="enrich", dead_at=dead_at, identity=UNKNOWN
    )
    return sent.headers


def test_nothing_drifts() -> None:
    """The files in zenoti_schemas/generated are what the code makes: none differs, is missing, or is left over."""
    assert drift(HERE) == [], "run `make schemas`"


def test_no_page_drifts() -> None:
    """The pages and the dashboard that are generated from the code are as the code makes them."""
    assert drifted_pages(ROOT) == [], "run `make schemas`"


def test_a_page_that_drifts_is_named_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check names it and writes nothing; without --check it is written."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "metrics.md").write_text("| `zenoti_gone` |\n")
    assert main(["--check"], root=tmp_path) == 1
    files = ("docs/configuration.md", "docs/metrics.md", "deploy/grafana/dashboards/every-metric.json")
    assert capsys.readouterr().out.splitlines() == [f"{file} differs" for file in files]
    assert main([], root=tmp_path) == 0
    assert drifted_pages(tmp_path) == []


def test_drift_is_named_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check names every file that differs, is missing or is left over, ends with 1 and writes nothing."""
    shutil.copytree(HERE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "openapi.json").write_text("{}\n")
    (tmp_path / "asyncapi.json").unlink()
    (tmp_path / "Gone.schema.json").write_text("{}\n")
    drifted = ["Gone.schema.json is left over", "asyncapi.json is missing", "openapi.json differs"]

    assert main(["--check"], folder=tmp_path) == 1
    assert capsys.readouterr().out.splitlines() == drifted
    assert drift(tmp_path) == drifted
    assert main([], folder=tmp_path) == 0
    assert drift(tmp_path) == []
    assert main(["--check"], folder=tmp_path) == 0


def test_every_public_shape_has_its_file() -> None:
    """No public Struct of `schemas` is without a JSON Schema."""
    files = [msgspec.json.decode(path.read_bytes()) for path in HERE.glob("*.schema.json")]
    titles = [file["$defs"][file["$ref"].removeprefix("#/$defs/")]["title"] for file in files]
    assert sorted(titles) == sorted(shape.__name__ for shape in public_shapes())


@pytest.mark.parametrize("path", sorted(HERE.glob("*.schema.json")), ids=lambda path: path.name)
def test_json_schemas_are_json_schema(path: Path) -> None:
    """Each is accepted as JSON Schema 2020-12, ends with a newline, and refers to nothing outside itself."""
    text = path.read_text(encoding="utf-8")
    document = msgspec.json.decode(text)
    Draft202012Validator.check_schema(document)
    assert text.endswith("}\n")
    assert {ref.removeprefix("#/$defs/") for ref in references(document)} <= document["$defs"].keys()


def test_the_doors_document_is_openapi() -> None:
    """The official rules of OpenAPI 3.1 hold for it."""
    validate(msgspec.json.decode((HERE / "openapi.json").read_bytes()), cls=OpenAPIV31SpecValidator)


def test_an_event_keeps_to_its_schema() -> None:
    """What core.events.cloud_event writes is valid, with an invoice and without."""
    generated("EnrichedEvent").validate(published_event())
    generated("EnrichedData").validate(published_event()["data"])
    bare = event(invoice_id=None, subject=None, time=None, center_id=None)
    sent = cloud_event.outgoing(bare, exchange="", enrichment=enrichment(status="not_applicable", fetched_at=None))
    generated("EnrichedEvent").validate(msgspec.json.decode(sent.body))


def test_a_dead_letter_keeps_to_its_schema() -> None:
    """The headers that core.failures.dead_letter writes are valid."""
    generated("DeadLetterHeaders").validate(letter_headers())


def test_a_daemons_state_keeps_to_its_schema() -> None:
    """What a daemon says of itself is valid."""
    generated("DaemonState").validate(msgspec.json.decode(msgspec.json.encode(STATE)))


@pytest.mark.parametrize(
    ("shape", "wrong"),
    [
        pytest.param("EnrichedEvent", published_event() | {"specversion": "0.3"}, id="another CloudEvents version"),
        pytest.param("EnrichedEvent", published_event() | {"id": 1}, id="an id that is a number"),
        pytest.param("EnrichedEvent", published_event() | {"data": {"event": {}}}, id="data without its parts"),
        pytest.param("Enrichment", {"status": "perhaps"}, id="an unknown status"),
        pytest.param("DeadLetterHeaders", letter_headers() | {"attempts": "2"}, id="attempts as text"),
        pytest.param("DeadLetterHeaders", letter_headers() | {"reason": None}, id="a reason that is null"),
        pytest.param("DaemonState", {"daemon": "consume"}, id="a state that says too little"),
        pytest.param("DaemonState", msgspec.to_builtins(STATE) | {"ready": "yes"}, id="ready in words"),
    ],
)
def test_what_is_wrong_is_refused(shape: str, wrong: Any) -> None:
    """A message that is not of the shape does not pass its schema."""
    with pytest.raises(ValidationError):
        generated(shape).validate(wrong)


def test_what_is_hard_to_show() -> None:
    """A Decimal is a number or text; raw bytes are any JSON, not required; personal fields and texts are marked."""
    shown = json_schemas([Payment])["Payment"]
    Draft202012Validator.check_schema(shown)
    fields = shown["$defs"]["Payment"]["properties"]
    assert fields["amount"] == {
        "type": ["number", "string"],
        "format": "decimal",
        "description": "in the centre's currency, exact.",
    }
    assert fields["tip"]["anyOf"] == [{"type": ["number", "string"], "format": "decimal"}, {"type": "null"}]
    assert fields["more"] == {}
    assert fields["card"]["x-personal"] is True
    assert fields["first"] == {"allOf": [{"$ref": "#/$defs/Card"}], "default": {"owner": None, "number": None}}
    assert all(field["x-personal"] for field in shown["$defs"]["Card"]["properties"].values())
    assert shown["$defs"]["Payment"]["required"] == ["amount"]
    assert shown["$defs"]["Payment"]["description"] == "A shape with everything that is hard to show."
    judge = Draft202012Validator(shown)
    assert judge.is_valid({"amount": 0.10, "more": [INVOICE_ID]})
    assert judge.is_valid({"amount": "0.10"})
    assert not judge.is_valid({"amount": None})


def test_a_shape_within_itself_is_any_json_there() -> None:
    """A recursive shape has a schema, open where it begins anew."""
    shown = json_schemas([Folder])["Folder"]
    assert Draft202012Validator(shown).is_valid({"inner": {"inner": None}})


def references(node: Any) -> list[str]:
    """Every reference within a document."""
    if isinstance(node, list):
        return [ref for item in node for ref in references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [ref for value in node.values() for ref in references(value)]
