import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders import INVOICE_ID, answer, invoice_answer, json_objects
from worker.core.errors import (
    AccessDenied,
    ApiRefusedUs,
    ApiThrottled,
    ApiUnavailable,
    InvoiceNotFound,
    Refused,
    RequestDefect,
    WorkerError,
)
from worker.core.invoice_request import Invoice, Request, Response, decipher, merged, request

EXPAND = ("InvoiceItems", "Transactions", "Appointments")


def read(response: Response, *, expand: tuple[str, ...] = EXPAND) -> Invoice:
    """The invoice of an answer."""
    return decipher(response, invoice_id=INVOICE_ID, expand=expand)


def refusal(response: Response) -> WorkerError:
    """How an answer that holds no invoice is told."""
    with pytest.raises(WorkerError) as raised:
        read(response)
    return raised.value


def test_request() -> None:
    """The request names the invoice in the path and repeats `expand` in the order given."""
    assert request("a-1", expand=("InvoiceItems", "Transactions")) == Request(
        "/v1/invoices/a-1", (("expand", "InvoiceItems"), ("expand", "Transactions"))
    )
    assert request("a-1", expand=()).query == ()


@settings(max_examples=40, deadline=None)
@given(document=json_objects, indent=st.sampled_from([None, 2]), blank=st.sampled_from(["", " ", "\n\t"]))
def test_the_invoice_comes_as_it_was_sent(document: dict[str, Any], indent: int | None, blank: str) -> None:
    """The invoice object is handed on byte for byte, whatever stands in it and around it."""
    invoice = json.dumps({**document, "id": INVOICE_ID}, indent=indent, ensure_ascii=False).encode()
    body = b'{"error": null, "invoice":' + blank.encode() + invoice + blank.encode() + b"}"
    assert read(answer(body=body), expand=()).document == invoice


@settings(max_examples=80, deadline=None)
@given(
    status=st.sampled_from([200, 204, 301, 400, 401, 404, 405, 418, 429, 500, 503]) | st.integers(100, 999),
    body=st.binary(max_size=60)
    | st.builds(
        lambda key, value: json.dumps({key: value}).encode(),
        st.sampled_from(["invoice", "error", "Error", "code", "StatusCode", "Message"]),
        json_objects | st.integers() | st.text(max_size=5) | st.none(),
    ),
    retry_after=st.text(max_size=12),
)
@example(status=200, body=b"[" * 100_000, retry_after="")
@example(status=200, body=b'{"invoice": ' + b'{"id":' * 100_000, retry_after="")
@example(status=200, body=b"\xef\xbb\xbf{}", retry_after="")
@example(status=200, body=b'{"code": 1e400}', retry_after="")
@example(status=429, body=b"", retry_after="9" * 5000)
def test_any_answer_is_an_invoice_or_a_foreseen_failure(status: int, body: bytes, retry_after: str) -> None:
    """Whatever comes back is an invoice or a WorkerError; nothing else is raised."""
    try:
        found = read(answer(status=status, body=body, retry_after=retry_after))
    except WorkerError:
        return
    assert found.document.startswith(b"{")


def spelled(code: Any) -> list[bytes]:
    """The shapes in which an error stands inside an answer."""
    word = json.dumps(code)
    return [
        f'{{"error": {{"code": {word}, "message": "m"}}, "invoice": null}}'.encode(),
        f'{{"Error": {{"StatusCode": {word}, "Message": "m"}}}}'.encode(),
        f'{{"code": {word}, "message": "m"}}'.encode(),
        f'{{"StatusCode": {word}, "Message": "m", "InternalMessage": null}}'.encode(),
    ]


@pytest.mark.parametrize("shape", range(4), ids=["error", "Error", "bare code", "bare StatusCode"])
@pytest.mark.parametrize("as_text", [False, True], ids=["number", "text"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (602, AccessDenied),
        (438, AccessDenied),
        (401, ApiRefusedUs),
        (400, Refused),
        (405, RequestDefect),
        (418, InvoiceNotFound),
        (429, ApiThrottled),
        (404, Refused),
        (500, ApiUnavailable),
        (502, ApiUnavailable),
        (503, ApiUnavailable),
    ],
    ids=str,
)
def test_error_inside_200(code: int, as_text: bool, shape: int, expected: type[WorkerError]) -> None:  # noqa: FBT001  # a table's column
    """Each row of the error table holds inside HTTP 200 too, in every shape, its code a number or a text."""
    assert type(refusal(answer(body=spelled(str(code) if as_text else code)[shape]))) is expected


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"\xff", b"[1]", b'{"Message": "Authorization has been denied"}', b'{"error": "text"}'],
    ids=repr,
)
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Refused),
        (401, ApiRefusedUs),
        (403, Refused),
        (404, Refused),
        (405, RequestDefect),
        (418, InvoiceNotFound),
        (429, ApiThrottled),
        (438, AccessDenied),
        (602, AccessDenied),
        (500, ApiUnavailable),
        (503, ApiUnavailable),
        (599, ApiUnavailable),
        (204, ApiUnavailable),
        (302, ApiUnavailable),
    ],
    ids=str,
)
def test_status_where_the_body_tells_no_code(status: int, expected: type[WorkerError], body: bytes) -> None:
    """A status has its row of the error table, whatever page some proxy put beneath it."""
    assert type(refusal(answer(status=status, body=body))) is expected


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, 418, InvoiceNotFound),
        (404, 602, AccessDenied),
        (500, 418, ApiUnavailable),
    ],
    ids=str,
)
def test_the_body_is_the_more_exact(status: int, code: int, expected: type[WorkerError]) -> None:
    """Beneath a client error the code in the body decides; a server error is one whatever its body says."""
    assert type(refusal(answer(status=status, body=spelled(code)[0]))) is expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"invoice": null, "error": null}', id="no invoice"),
        pytest.param(b'{"invoice": [], "error": null}', id="an array"),
        pytest.param(b'{"invoice": "x"}', id="a text"),
        pytest.param(b'{"invoice": {"id": "another"}}', id="another invoice"),
        pytest.param(b'{"invoice": {"id": 5}}', id="an id that is a number"),
        pytest.param(b'{"invoice": {"id": "' + INVOICE_ID.encode() + b'"', id="cut off"),
        pytest.param(b'{"invoice": {"a": "\xff"}}', id="invalid utf-8 in the invoice"),
        pytest.param(b'{"invoice": {"a": "\\q"}}', id="unknown escape in the invoice"),
        pytest.param(b'{"error": {"code": "AA102", "message": "m"}}', id="a code that is a word"),
        pytest.param(b'{"error": {"message": "m"}, "invoice": null}', id="an error without a code"),
    ],
)
def test_unreadable_200_is_transient(body: bytes) -> None:
    """An answer in which the invoice asked for cannot be found is tried again, never believed."""
    assert type(refusal(answer(body=body))) is ApiUnavailable


def test_failures_never_quote_the_answer() -> None:
    """The text of a failure names codes and never the vendor's words: they may quote what was sent."""
    bodies = [body for code in (400, 418, 602, "hush") for body in spelled(code)]
    texts = [str(refusal(answer(body=body.replace(b'"m"', b'"hush"')))) for body in bodies]
    texts.append(str(refusal(answer(status=404, body=b'{"Message": "hush"}'))))
    assert not any("hush" in text for text in texts)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        (" 5 ", 5.0),
        ("0", 1.0),
        ("100000", 900.0),
        ("9" * 50, 900.0),
        ("", 60.0),
        ("-5", 60.0),
        ("soon", 60.0),
        ("Wed, 21 Oct 2031 07:28:00 GMT", 60.0),
        ("\u0663", 60.0),
    ],
    ids=repr,
)
def test_retry_after(value: str, seconds: float) -> None:
    """429 waits as told, at least a second and at most a quarter of an hour; a minute where it is not told."""
    error = refusal(answer(status=429, retry_after=value))
    assert isinstance(error, ApiThrottled)
    assert error.retry_after == seconds


def test_retry_after_absent() -> None:
    """429 without the header waits a minute."""
    error = refusal(answer(status=429))
    assert isinstance(error, ApiThrottled)
    assert error.retry_after == 60.0


@pytest.mark.parametrize(
    ("invoice", "expand", "missing"),
    [
        pytest.param(
            b'{"invoice_items": [{}], "transactions": [{}], "appointments": [{}]}', EXPAND, (), id="all there"
        ),
        pytest.param(b"{}", EXPAND, EXPAND, id="none there"),
        pytest.param(
            b'{"invoice_items": null, "transactions": [], "appointments": []}', EXPAND, ("InvoiceItems",), id="null"
        ),
        pytest.param(b"{}", ("invoiceitems", "REDEMPTIONS"), ("invoiceitems", "REDEMPTIONS"), id="any letter case"),
        pytest.param(b"{}", ("gst_parameters", "dues_and_fees"), (), id="parts that cannot be told"),
        pytest.param(b"{}", (), (), id="nothing asked for"),
    ],
)
def test_missing_parts_are_named(invoice: bytes, expand: tuple[str, ...], missing: tuple[str, ...]) -> None:
    """A part asked for that is absent or null is missing; an empty list is an answer."""
    assert read(invoice_answer(invoice=invoice), expand=expand) == Invoice(invoice, missing)


@pytest.mark.parametrize("spelling", [INVOICE_ID.upper(), INVOICE_ID.lower()], ids=["upper case", "lower case"])
def test_letter_case_of_the_id_varies(spelling: str) -> None:
    """The API may spell the id in another letter case than the event did."""
    response = invoice_answer(invoice=json.dumps({"id": spelling}).encode())
    for asked in (INVOICE_ID.upper(), INVOICE_ID.lower()):
        assert decipher(response, invoice_id=asked, expand=()).missing == ()


def test_merged() -> None:
    """What the first answer lacks comes from the second, every value byte for byte; what it has stays."""
    first = Invoice(b'{"id": "i-1", "invoice_items": [{"price": 1.10}], "transactions": null}', ("Transactions",))
    second = Invoice(b'{"id":"other","transactions":[{"amount":0.10}],"gst":{ "a": 1e2 },"appointments":null}')
    both = merged(first, second)
    assert both.missing == ()
    assert both.document == (
        b'{"id":"i-1","invoice_items":[{"price": 1.10}],"transactions":[{"amount":0.10}],"gst":{ "a": 1e2 }}'
    )


def test_merged_with_nothing_new() -> None:
    """Where the second answer brings nothing, the first is handed on as it came."""
    first = Invoice(b'{ "id": "i-1" }', ("Transactions",))
    assert merged(first, Invoice(b'{"id":"i-1","transactions":null}')) is first


def test_throttled_until_the_reset() -> None:
    """429 without Retry-After waits until the vendor's reset."""
    error = refusal(Response(429, {"ratelimit-reset": "7"}, b""))
    assert isinstance(error, ApiThrottled)
    assert error.retry_after == 7.0
