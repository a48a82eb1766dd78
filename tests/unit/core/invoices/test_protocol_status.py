import pytest

from tests.builders import INVOICE_ID, answer
from zenoti_ingest.core.failures.errors import (
    ApiRefusedUs,
    ApiThrottled,
    ApiUnavailable,
    InvoiceNotFound,
    Refused,
    WorkerError,
)
from zenoti_ingest.core.invoices.protocol import decipher


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(401, b'{"code": 400, "message": "m"}', ApiRefusedUs, id="401 wins over a code"),
        pytest.param(429, b'{"code": 400}', ApiThrottled, id="429 wins over a code"),
        pytest.param(404, b'{"error": {"code": "AA102"}}', Refused, id="an unknown word leaves the status to speak"),
        pytest.param(404, b'{"error": {"code": 418}}', InvoiceNotFound, id="a known code says more than 404"),
        pytest.param(200, b'{"error": {}, "Error": {"StatusCode": 502}}', ApiUnavailable, id="the second holder"),
        pytest.param(200, b'{"code": "%s"}' % (b"9" * 5000), ApiUnavailable, id="a number of 5000 digits"),
        pytest.param(200, b'{"invoice": {"id": 1e999}}', ApiUnavailable, id="an id that is no text"),
    ],
)
def test_status_and_code(status: int, body: bytes, expected: type[WorkerError]) -> None:
    """If status and code disagree, the known and more exact of both counts, and nothing unforeseen is raised."""
    with pytest.raises(expected):
        decipher(answer(status=status, body=body), INVOICE_ID, expand=())


@pytest.mark.parametrize("error", [b'{"code": 0}', b'{"StatusCode": 200}', b"null", b"{}"])
def test_no_error_beside_an_invoice(error: bytes) -> None:
    """A code that says that all is well is no error; a byte order mark is no obstacle."""
    document = b'{"id": "%s"}' % INVOICE_ID.encode()
    body = b'\xef\xbb\xbf{"invoice": %s, "error": %s}' % (document, error)
    assert decipher(answer(body=body), INVOICE_ID, expand=()).document == document
