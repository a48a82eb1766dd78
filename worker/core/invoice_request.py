"""The invoice API, sans I/O: the request to send, and the deciphering of (status, headers, body).

Source: https://docs.zenoti.com/reference, GET /v1/invoices/{invoice_id} with the key `expand` repeated. Errors come
as HTTP statuses and inside HTTP 200, in several shapes (schemas/invoice.py). The texts of errors stay unread.
"""

from collections.abc import Mapping

import msgspec

from schemas.invoice import InvoiceAnswer
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
from worker.core.quota import told

MAX_ANSWER_BYTES = 5 * 1024 * 1024
DEFAULT_RETRY_AFTER_SECONDS = 60.0
_OK, _UNAUTHORISED, _THROTTLED = 200, 401, 429
_CLIENT_ERRORS = range(400, 500)
_SPEAKS_FOR_ITSELF = {_UNAUTHORISED, _THROTTLED, *range(500, 600)}  # whatever the body says
_PERMANENT: dict[int | str, type[WorkerError]] = {
    602: AccessDenied,
    438: AccessDenied,
    400: Refused,
    405: RequestDefect,
    418: InvoiceNotFound,
}
# Where each part stands in the invoice. gst_parameters and dues_and_fees are no key of their own in the vendor's
# table, so whether they came cannot be told.
PLACE = {
    "invoiceitems": "invoice_items",
    "appointments": "appointments",
    "transactions": "transactions",
    "redemptions": "redemptions",
}
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Request(msgspec.Struct, frozen=True):
    """A GET: the path beneath the base URL, and the query's pairs in order. The id has been found usable before."""

    path: str
    query: tuple[tuple[str, str], ...]


class Response(msgspec.Struct, frozen=True):
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Invoice(msgspec.Struct, frozen=True):
    """The invoice object, byte for byte, and the parts asked for that it lacks."""

    document: bytes
    missing: tuple[str, ...] = ()


_answer = msgspec.json.Decoder(InvoiceAnswer)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def request(invoice_id: str, *, expand: tuple[str, ...]) -> Request:
    """The call that reads one invoice with the parts named."""
    return Request(f"/v1/invoices/{invoice_id}", tuple(("expand", part) for part in expand))


def merged(invoice: Invoice, other: Invoice) -> Invoice:
    """The invoice, with what it lacks taken from another answer about it; every value byte for byte."""
    members = _members.decode(invoice.document)
    more = {
        key: value
        for key, value in _members.decode(other.document).items()
        if bytes(value) != b"null" and bytes(members.get(key, b"null")) == b"null"
    }
    if not more:
        return invoice
    missing = tuple(part for part in invoice.missing if PLACE[part.lower()] not in more)
    return Invoice(msgspec.json.encode(members | more), missing)


def decipher(response: Response, *, invoice_id: str, expand: tuple[str, ...]) -> Invoice:
    """Read an answer.

    Raises:
        PermanentError: the row of the error table that it falls under.
        ApiThrottled: 429, with the seconds to wait.
        ApiRefusedUs: 401.
        ApiUnavailable: 5xx, a redirect, or nothing that can be read.
    """
    status = response.status
    answer = _read(response) if status not in _SPEAKS_FOR_ITSELF else None
    code = answer.error_code if answer else None
    if status != _OK and code not in _PERMANENT:  # a status says more than a code that nobody knows
        code = status
    if code is not None:
        raise _failure(code, response)
    if answer is None:
        raise ApiUnavailable("the API's answer is not JSON")
    return _invoice(bytes(answer.invoice), invoice_id=invoice_id, expand=expand)


def _read(response: Response) -> InvoiceAnswer | None:
    try:
        text = response.body.removeprefix(b"\xef\xbb\xbf")
        text.decode()
        return _answer.decode(text)
    except _UNREADABLE:
        return None


def _failure(code: int | str, response: Response) -> WorkerError:
    if code == _UNAUTHORISED:
        return ApiRefusedUs("the API does not take the key (401)")
    if code == _THROTTLED:
        said = told(response.headers)
        return ApiThrottled(said.retry_after_seconds or said.reset_seconds or DEFAULT_RETRY_AFTER_SECONDS)
    known = _PERMANENT.get(code)
    if known is not None:
        return known(f"the API answered code {code}")
    if code in _CLIENT_ERRORS:
        return Refused(f"the API answered code {code}")
    return ApiUnavailable(f"the API answered {f'code {code}' if isinstance(code, int) else 'an unknown error code'}")


def _invoice(document: bytes, *, invoice_id: str, expand: tuple[str, ...]) -> Invoice:
    if document[:1] != b"{":
        raise ApiUnavailable("the API's answer holds no invoice")
    members = _members.decode(document)
    found = bytes(members.get("id", b"null"))
    if found != b"null" and found.lower() != f'"{invoice_id}"'.lower().encode():
        raise ApiUnavailable("the API's answer holds another invoice")
    wanted = {part: PLACE[part.lower()] for part in expand if part.lower() in PLACE}
    missing = tuple(part for part, key in wanted.items() if bytes(members.get(key, b"null")) == b"null")
    return Invoice(document, missing)
