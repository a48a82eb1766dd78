"""The invoice API, sans I/O: builds requests, and interprets answers (status, headers, body).

Source: https://docs.zenoti.com/reference, GET /v1/invoices/{invoice_id} with the key `expand` repeated. Errors come
as HTTP statuses and inside HTTP 200, in several shapes (`zenoti_schemas.invoice`). Error texts are never read. Only the
API's own shapes count as statements about an invoice: any other page with a 2xx, 3xx or 4xx is a gateway's.
"""

from collections.abc import Mapping

import msgspec

from zenoti_ingest.core.failures.errors import (
    AccessDenied,
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
from zenoti_ingest.core.invoices.quota import rate_limit
from zenoti_schemas.fields import UNREADABLE
from zenoti_schemas.invoice import InvoiceAnswer
from zenoti_schemas.json_text import mended

MAX_ANSWER_BYTES = 5 * 1024 * 1024
DEFAULT_RETRY_AFTER_SECONDS = 60.0
_UNAUTHORISED, _THROTTLED = 401, 429
_OK, _CLIENT_ERRORS, _SERVER_ERRORS = range(200, 300), range(400, 500), range(500, 600)
# Statuses of a proxy before the API, or about the transport of this request only: a later request may succeed.
_TRANSIENT = frozenset((407, 408, 421, 423, 424, 425, 440, 444, 449, 460, 463, 464, *range(494, 500)))
_KNOWN: dict[int | str, type[WorkerError]] = {
    602: AccessDenied,
    438: AccessDenied,
    400: RequestInvalid,
    405: RequestDefect,
    418: InvoiceNotFound,
    **dict.fromkeys(_TRANSIENT, ApiUnavailable),
}
# The key of each part in the invoice. The vendor's table has no key for gst_parameters and dues_and_fees, so nobody can
# know whether they came.
PLACE = {
    "invoiceitems": "invoice_items",
    "appointments": "appointments",
    "transactions": "transactions",
    "redemptions": "redemptions",
}
_BOM = b"\xef\xbb\xbf"


class Request(msgspec.Struct, frozen=True):
    """A GET: the path below the base URL, the query's pairs in order, and the path with placeholders for its ids.

    The ids have been checked before.
    """

    path: str
    query: tuple[tuple[str, str], ...]
    template: str


class Response(msgspec.Struct, frozen=True):
    """An answer of the API; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Invoice(msgspec.Struct, frozen=True):
    """The invoice object, byte for byte, and the requested parts that it lacks."""

    document: bytes
    missing: tuple[str, ...] = ()


_answer = msgspec.json.Decoder(InvoiceAnswer)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


def request(invoice_id: str, *, expand: tuple[str, ...]) -> Request:
    """The call that reads an invoice with the named parts."""
    return Request(
        f"/v1/invoices/{invoice_id}", tuple(("expand", part) for part in expand), "/v1/invoices/{invoice_id}"
    )


def merged(invoice: Invoice, other: Invoice) -> Invoice:
    """The invoice, completed from another answer about it; every value byte for byte."""
    members = _read_members(invoice.document)
    more = {
        key: value
        for key, value in _read_members(other.document).items()
        if value != b"null" and members.get(key, b"null") == b"null"
    }
    if not more:
        return invoice
    missing = tuple(part for part in invoice.missing if PLACE[part.lower()] not in more)
    return Invoice(msgspec.json.encode({key: msgspec.Raw(value) for key, value in (members | more).items()}), missing)


def decipher(response: Response, invoice_id: str, *, expand: tuple[str, ...]) -> Invoice:
    """Read an answer.

    Raises:
        PermanentError: the class that the error table has for the code.
        ApiThrottled: 429, with the seconds to wait.
        ApiRefusedUs: 401 by the API.
        GatewayAnswered: the page is not the API's.
        ApiUnavailable: 5xx, a transient code, or an answer without the requested invoice.
    """
    status = response.status
    if status == _THROTTLED or status in _SERVER_ERRORS or status in _TRANSIENT:  # whatever the body contains
        raise _failure(status, response)
    body = response.body.lstrip(_BOM)
    copy = mended(body)
    answer = _read(copy)
    if answer is not None and answer.is_error and (status not in _OK or answer.error_code is not None):
        raise _failure(_code(answer.error_code, status), response)
    if status not in _OK:
        raise GatewayAnswered(f"a page that is not the API's came with status {status}")
    if answer is None:
        raise GatewayAnswered(f"a body that is not the API's came with status {status}")
    if answer.error_code is not None:
        raise ApiUnavailable("the API answered an unknown error")
    document = bytes(answer.invoice)
    if copy is not body:
        at = max(copy.find(document), 0)
        document = body[at : at + len(document)]
    return _invoice(document, invoice_id=invoice_id, expand=expand)


def _code(body_code: int | str | None, status: int) -> int | str:
    """The code that counts: the body's, since it is more exact than the status.

    The status counts if it is 401, if the body has no code, or if the body's code is unknown and the status is not 2xx.
    """
    if body_code is None or status == _UNAUTHORISED:
        return status
    is_known = body_code in _KNOWN or body_code in _CLIENT_ERRORS or body_code in _SERVER_ERRORS
    return body_code if is_known or status in _OK else status


def _read(text: bytes) -> InvoiceAnswer | None:
    try:
        text.decode()
        return _answer.decode(text)
    except UNREADABLE:
        return None


def _failure(code: int | str, response: Response) -> WorkerError:
    if code == _UNAUTHORISED:
        return ApiRefusedUs("the API does not take the key (401)")
    if code == _THROTTLED:
        limit = rate_limit(response.headers)
        return ApiThrottled(limit.retry_after_seconds or limit.reset_seconds or DEFAULT_RETRY_AFTER_SECONDS)
    known = _KNOWN.get(code)
    if known is not None:
        return known(f"the API answered code {code}")
    if code in _CLIENT_ERRORS:
        return Refused(f"the API answered code {code}")
    return ApiUnavailable(f"the API answered {f'code {code}' if isinstance(code, int) else 'an unknown error code'}")


def _read_members(document: bytes) -> dict[str, bytes]:
    """The members of an object, each as its bytes in the document."""
    copy, found, at = mended(document), {}, 0
    for key, value in _members.decode(copy).items():
        text = bytes(value)
        if copy is not document:  # replacements have the same length, so places are the same in both
            at = max(copy.find(text, at), copy.find(text))
            text = document[at : at + len(text)]
            at += len(text)
        found[key] = text
    return found


def _invoice(document: bytes, *, invoice_id: str, expand: tuple[str, ...]) -> Invoice:
    if document[:1] != b"{":
        raise ApiUnavailable("the API's answer holds no invoice")
    members = {key: value for key, value in _read_members(document).items() if value != b"null"}
    if not members:
        raise ApiUnavailable("the API's answer holds an empty invoice")
    found = _spelled(members.get("id"))
    if found is not None and found.lower() != invoice_id.lower():
        raise ApiUnavailable("the API's answer holds another invoice")
    wanted = {part: PLACE[part.lower()] for part in expand if part.lower() in PLACE}
    return Invoice(document, tuple(part for part, key in wanted.items() if key not in members))


def _spelled(value: bytes | None) -> str | None:
    """An id as text, whether it is a string with escapes or a number; None if the invoice has no id."""
    if value is None:
        return None
    return _text.decode(mended(value)) if value[:1] == b'"' else value.decode()
