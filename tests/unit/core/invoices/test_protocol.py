import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders import INVOICE_ID, answer, invoice_answer, json_objects
from zenoti_ingest.core.failures.errors import (
    AccessDenied,
    ApiFailure,
    ApiRefusedUs,
    ApiThrottled,
    ApiUnavailable,
    GatewayAnswered,
    InvoiceNotFound,
    Refused,
    RequestDefect,
    RequestInvalid,
    WorkerError,
)
from zenoti_ingest.core.invoices.protocol import Invoice, Request, Response, decipher, merged, request

EXPAND = ("InvoiceItems", "Transactions", "Appointments")


def read(response: Response, *, expand: tuple[str, ...] = EXPAND) -> Invoice:
    """The invoice of an answer."""
    return decipher(response, INVOICE_ID, expand=expand)


def refusal(response: Response) -> WorkerError:
    """The error for an answer without an invoice."""
    with pytest.raises(WorkerError) as raised:
        read(response)
    return raised.value


def test_request() -> None:
    """The request names the invoice in the path and repeats `expand` in the order given."""
    assert request("a-1", expand=("InvoiceItems", "Transactions")) == Request(
        "/v1/invoices/a-1", (("expand", "InvoiceItems"), ("expand", "Transactions")), "/v1/invoices/{invoice_id}"
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
        (400, RequestInvalid),
        (405, RequestDefect),
        (418, InvoiceNotFound),
        (429, ApiThrottled),
        (404, Refused),
        (408, ApiUnavailable),
        (460, ApiUnavailable),
        (500, ApiUnavailable),
        (502, ApiUnavailable),
        (503, ApiUnavailable),
    ],
    ids=str,
)
def test_error_inside_200(code: int, as_text: bool, shape: int, expected: type[WorkerError]) -> None:  # noqa: FBT001  # a table's column
    """Each row of the error table holds inside HTTP 200 too, in every shape, its code a number or a text."""
    assert type(refusal(answer(body=spelled(str(code) if as_text else code)[shape]))) is expected


ROWS = [
    (400, RequestInvalid),
    (401, ApiRefusedUs),
    (403, Refused),
    (404, Refused),
    (405, RequestDefect),
    (409, Refused),
    (418, InvoiceNotFound),
    (422, Refused),
    (438, AccessDenied),
    (602, AccessDenied),
]
OWN = [b'{"Message": "Authorization has been denied"}', b'{"code": "AA102", "message": "m"}']
FOREIGN = [
    b"",
    b"<html>",
    b"\xff",
    b"[1]",
    b"null",
    b'"error"',
    b"{}",
    b'{"error": "text"}',
    b'{"error": {"message": "m"}}',
    b'{"error": {"code": "", "message": ""}}',
    b'{"error": true, "code": null}',
    b'{"message": "no Route matched with those values"}',
    b'{"statusCode": 404, "message": "Resource not found"}',
    b'{"status": 404, "error": "Not Found", "path": "/v1"}',
    b'{"code": 403}',
    b'{"Message": 5}',
    b'{"invoice": {"id": "%s"}}' % INVOICE_ID.encode(),
]


@pytest.mark.parametrize("body", OWN, ids=repr)
@pytest.mark.parametrize(("status", "expected"), ROWS, ids=str)
def test_a_status_in_the_apis_own_shape(status: int, expected: type[WorkerError], body: bytes) -> None:
    """If the body is the API's and has no known code, the status has its row of the error table."""
    assert type(refusal(answer(status=status, body=body))) is expected


@pytest.mark.parametrize("body", FOREIGN, ids=repr)
@pytest.mark.parametrize("status", [301, 302, 308, *(status for status, _ in ROWS)], ids=str)
def test_a_page_that_is_not_the_apis(status: int, body: bytes) -> None:
    """A page beneath a 3xx or 4xx that has none of the API's shapes is a gateway's: nothing is known of the invoice."""
    assert type(refusal(answer(status=status, body=body))) is GatewayAnswered


@pytest.mark.parametrize("body", [*OWN, *FOREIGN, b'{"error": {"code": 418, "message": "m"}}'], ids=repr)
@pytest.mark.parametrize(
    ("status", "expected"),
    [(429, ApiThrottled)]
    + [(status, ApiUnavailable) for status in (407, 408, 421, 423, 425, 460, 499, 500, 502, 503, 520, 599)],
    ids=str,
)
def test_a_status_that_speaks_for_itself(status: int, expected: type[WorkerError], body: bytes) -> None:
    """Throttled, a failing server, a request that was lost on its way: so whatever the body says."""
    assert type(refusal(answer(status=status, body=body))) is expected


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, 418, InvoiceNotFound),
        (404, 602, AccessDenied),
        (500, 418, ApiUnavailable),
        (404, 502, ApiUnavailable),
        (400, 429, ApiThrottled),
        (302, 418, InvoiceNotFound),
        (203, 418, InvoiceNotFound),
        (400, "AA102", RequestInvalid),
    ],
    ids=str,
)
def test_the_body_is_the_more_exact(status: int, code: int, expected: type[WorkerError]) -> None:
    """Beneath a client error the code in the body decides; a server error is one whatever its body says."""
    assert type(refusal(answer(status=status, body=spelled(code)[0]))) is expected


@pytest.mark.parametrize("status", [200, 203, 206], ids=str)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"invoice": null, "error": null}', id="no invoice"),
        pytest.param(b'{"invoice": {}, "error": null}', id="an empty invoice"),
        pytest.param(b'{"invoice": {"id": null, "invoice_number": null}}', id="an invoice of nulls"),
        pytest.param(b'{"invoice": [], "error": null}', id="an array"),
        pytest.param(b'{"invoice": "x"}', id="a text"),
        pytest.param(b'{"invoice": {"id": "another"}}', id="another invoice"),
        pytest.param(b'{"invoice": {"id": 5}}', id="another number"),
        pytest.param(b'{"invoice": {"id": {"id": 5}}}', id="an id that is an object"),
        pytest.param(b'{"invoice": {"id": "00000000-0000-0000-0000-000000000000"}}', id="an all-zero id"),
        pytest.param(b'{"invoice": {"id": "' + INVOICE_ID.encode() + b'"', id="cut off"),
        pytest.param(b'{"invoice": {"a": "\xff"}}', id="invalid utf-8 in the invoice"),
        pytest.param(b'{"invoice": {"a": "\\q"}}', id="unknown escape in the invoice"),
        pytest.param(b'{"error": {"code": "AA102", "message": "m"}}', id="a code that is a word"),
        pytest.param(b'{"error": {"message": "m"}, "invoice": null}', id="an error without a code"),
        pytest.param(b'{"error": "text", "invoice": {"id": "%s"}}' % INVOICE_ID.encode(), id="an error that is a text"),
        pytest.param(b'{"Message": "m"}', id="a message alone"),
        pytest.param(b'{"status": "healthy"}', id="foreign JSON"),
        pytest.param(b"<html>", id="HTML"),
    ],
)
def test_an_unreadable_answer_says_nothing_of_the_invoice(body: bytes, status: int) -> None:
    """An answer in which the invoice asked for cannot be found is a failed call, never believed."""
    assert isinstance(refusal(answer(status=status, body=body)), ApiFailure)


GOOD = b'{"id":"%s","guest":{"first_name":"A"}}' % INVOICE_ID.encode()


@pytest.mark.parametrize(
    "body",
    [
        *(
            b'{"invoice":%s,"error":%s}' % (GOOD, error)
            for error in (b"null", b'""', b"false", b"0", b"[]", b"[ ]", b"{}", b'{"code":""}', b'{"code":null}')
        ),
        *(
            b'{"invoice":%s,"error":{"code":%s}}' % (GOOD, code)
            for code in (b"0", b'"0"', b"200", b"200.0", b'"200"', b'"200.00"', b'" 200 "', b"201", b"false")
        ),
        b'{"invoice":%s,"Error":{"StatusCode":200,"Message":""}}' % GOOD,
        b'{"invoice":%s,"code":200,"message":"Success"}' % GOOD,
        b'{"invoice":%s,"StatusCode":"200","Message":"Success"}' % GOOD,
        b'\xef\xbb\xbf\xef\xbb\xbf{"invoice":%s}' % GOOD,
    ],
    ids=repr,
)
@pytest.mark.parametrize("status", [200, 201, 203, 206], ids=str)
def test_what_says_that_all_is_well(body: bytes, status: int) -> None:
    """An empty error, a code that means success, any 2xx: the invoice is taken as it came."""
    assert read(answer(status=status, body=body), expand=()).document == GOOD


@pytest.mark.parametrize(
    ("asked", "invoice"),
    [
        ("ab-1", rb'{"id":"ab\u002d1"}'),
        ("ab-1", rb'{"id":"\u0061b-1"}'),
        ("AB-1", rb'{"id":"ab-1"}'),
        ("77", rb'{"id":77}'),
        ("ab-1", rb'{"number":"x"}'),
        ("ab-1", rb'{"id":null,"number":"x"}'),
        ("ab-1", rb'{"id":"ab-1","total":1e400,"n":-0.0E-9999}'),
    ],
    ids=repr,
)
def test_spellings_of_the_id(asked: str, invoice: bytes) -> None:
    """An id is compared as text, whatever its escapes, letter case or type; an invoice without an id is believed."""
    assert decipher(invoice_answer(invoice=invoice), asked, expand=()).document == invoice


@settings(max_examples=60)
@given(name=st.lists(st.sampled_from([rb"\ud83d", rb"\uDE00", rb"\ud83d\ude00", rb"\\", rb"\n", b"x", rb"\ufffd"])))
def test_unpaired_surrogates_stay_in_the_bytes(name: list[bytes]) -> None:
    """An unpaired escape in the invoice is no reason to refuse it, and it goes out as it came."""
    invoice = b'{"id":"%s","guest":{"first_name":"%s"}}' % (INVOICE_ID.encode(), b"".join(name))
    assert read(invoice_answer(invoice=invoice), expand=()).document == invoice


def test_merged_with_unpaired_surrogates() -> None:
    """Two answers with unpaired escapes are merged byte for byte."""
    first = Invoice(rb'{"id":"i-1","name":"\ufffd","guest":"\ud83d","transactions":null}', ("Transactions",))
    second = Invoice(rb'{"id":"i-1","name":"\ufffd","transactions":["\udc00"]}')
    assert merged(first, second).document == (
        rb'{"id":"i-1","name":"\ufffd","guest":"\ud83d","transactions":["\udc00"]}'
    )


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
    """429 waits for the time in the answer, at least a second and at most a quarter of an hour; a minute without it."""
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
        pytest.param(b'{"a": 1}', EXPAND, EXPAND, id="none there"),
        pytest.param(
            b'{"invoice_items": null, "transactions": [], "appointments": []}', EXPAND, ("InvoiceItems",), id="null"
        ),
        pytest.param(
            b'{"a": 1}', ("invoiceitems", "REDEMPTIONS"), ("invoiceitems", "REDEMPTIONS"), id="any letter case"
        ),
        pytest.param(b'{"a": 1}', ("gst_parameters", "dues_and_fees"), (), id="parts without a known place"),
        pytest.param(b'{"a": 1}', (), (), id="nothing asked for"),
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
        assert decipher(response, asked, expand=()).missing == ()


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
