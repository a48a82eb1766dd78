"""What the invoice API answers: the frame of an answer, and its error shapes. A tolerant reader.

Source: https://docs.zenoti.com/reference (GET /v1/invoices/{invoice_id}); the error shapes beside the first are
those that integrators have met in the field.
"""

from typing import Final

import msgspec

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
        inner = self.error or self.Error
        found = (inner.code if inner.code is not None else inner.StatusCode) if inner else None
        if found is None:
            found = self.code if self.code is not None else self.StatusCode
        if isinstance(found, str) and found.isdecimal() and found.isascii():
            return int(found)
        return found
