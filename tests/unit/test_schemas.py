import msgspec
import pytest

from zenoti_schemas.invoice import InvoiceAnswer


def read(body: bytes) -> InvoiceAnswer:
    """An answer of the invoice API."""
    return msgspec.json.decode(body, type=InvoiceAnswer)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b'{"invoice": {}, "error": null}', None, id="no error"),
        pytest.param(b'{"error": {"code": 418, "message": "m"}}', 418, id="error, code"),
        pytest.param(b'{"error": {"code": "AA102", "message": "m"}}', "AA102", id="a code that is a word"),
        pytest.param(b'{"error": {"code": "602"}}', 602, id="a number as text"),
        pytest.param(b'{"error": {"StatusCode": 502}}', 502, id="error, StatusCode"),
        pytest.param(b'{"Error": {"StatusCode": 502, "Message": "m"}}', 502, id="Error, StatusCode"),
        pytest.param(b'{"Error": {"code": 400}}', 400, id="Error, code"),
        pytest.param(b'{"code": 401, "message": "m"}', 401, id="bare code"),
        pytest.param(b'{"StatusCode": 500, "Message": "m", "InternalMessage": "i"}', 500, id="bare StatusCode"),
        pytest.param(b'{"Message": "m"}', None, id="ASP.NET's own"),
        pytest.param(b'{"error": {"message": "m"}}', None, id="an error without a code"),
        pytest.param(b'{"error": "text"}', "unknown", id="an error that is a text"),
        pytest.param(b'{"error": {"code": 418.0}}', 418, id="a code with a fraction of zero"),
        pytest.param(b'{"error": {"code": 1e400}}', "1e400", id="a code that no float holds"),
        pytest.param(b'{"error": {"message": "m"}, "StatusCode": 404}', 404, id="the code beside the error"),
        pytest.param(b'{"error": {"code": 418}, "code": 200}', 418, id="the inner code first"),
        pytest.param('{"code": "\u0664\u0661\u0668"}'.encode(), "\u0664\u0661\u0668", id="digits that are not ASCII"),
        pytest.param(b"{}", None, id="nothing"),
    ],
)
def test_error_code(body: bytes, code: int | str | None) -> None:
    """The code is found in every published shape of an error, as a number if it is numeric."""
    assert read(body).error_code == code


def test_the_invoice_stays_undecoded() -> None:
    """The invoice of an answer is its bytes, numbers as they were spelled; without one it is null."""
    assert bytes(read(b'{"invoice": {"total": 0.10}}').invoice) == b'{"total": 0.10}'
    assert bytes(read(b"{}").invoice) == b"null"


def test_unknown_fields_are_no_error() -> None:
    """The vendor adds fields without notice; the reader lets them pass."""
    assert read(b'{"new": [], "error": {"code": 1, "new": {}}}').error_code == 1
