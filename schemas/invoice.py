"""What the invoice API answers: the frame of an answer, and its error shapes. A tolerant reader.

Source: https://docs.zenoti.com/reference (GET /v1/invoices/{invoice_id}); the error shapes beside the first are
those that integrators have met in the field.
"""

from typing import Final

import msgspec

_MAX_DIGITS = 9
_NO_ERROR = (0, 200)  # codes that some answers carry beside a good invoice
NULL: Final = msgspec.Raw(b"null")


class ApiError(msgspec.Struct, frozen=True):
    """An error object: `{"code", "message"}` or `{"StatusCode", "Message"}`; a code is a number or a word."""

    code: int | str | None = None
    StatusCode: int | str | None = None


class InvoiceAnswer(msgspec.Struct, frozen=True):
    """The frame of every answer: `{"invoice": {…}, "error": null}`, or one of the error shapes.

    `error` and `Error` hold an error object; `code` and `StatusCode` stand at the top where the error is bare; ASP.NET
    itself answers `{"Message": "…"}`. The texts of errors are not read: they may quote what was sent.
    """

    invoice: msgspec.Raw = NULL
    error: ApiError | None = None
    Error: ApiError | None = None
    code: int | str | None = None
    StatusCode: int | str | None = None

    @property
    def error_code(self) -> int | str | None:
        """The first code found, as a number where it is one; None where the answer tells of no error."""
        holders = (self.error, self.Error, self)
        codes = [code for holder in holders if holder for code in (holder.code, holder.StatusCode) if code is not None]
        found = codes[0] if codes else None
        if isinstance(found, str) and found.isdecimal() and found.isascii() and len(found) <= _MAX_DIGITS:
            found = int(found)
        return None if found in _NO_ERROR else found
