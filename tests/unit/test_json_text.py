import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenoti_schemas.json_text import mended

PIECES = [rb"\ud83d", rb"\uDBFF", rb"\udc00", rb"\uDE00", rb"\u0041", rb"\\", rb"\"", rb"\n", b"u", b"d83d", b"x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb"x", rb"x"),
        (rb"\ud83d", rb"\ufffd"),
        (rb"\uDE00x", rb"\ufffdx"),
        (rb"\ud83d\ude00", rb"\ud83d\ude00"),
        (rb"\ud83d\ud83d\ude00", rb"\ufffd\ud83d\ude00"),
        (rb"\ud83d\ude00\ude00", rb"\ud83d\ude00\ufffd"),
        (rb"\ud83d\u0041", rb"\ufffd\u0041"),
        (rb"\\ud83d", rb"\\ud83d"),
        (rb"\\\ud83d", rb"\\\ufffd"),
        (rb"\ud83d\\ude00", rb"\ufffd\\ude00"),
    ],
    ids=repr,
)
def test_mended(text: bytes, expected: bytes) -> None:
    """An escape without its pair becomes U+FFFD in the same length; pairs, other escapes and backslashes stay."""
    assert mended(text) == expected


def test_the_body_itself_where_nothing_is_replaced() -> None:
    """No copy is made of a body that can be read as it is."""
    for body in (b'{"a": "x"}', rb'{"a": "\ud83d\ude00"}', rb'{"a": "\\ud83d"}'):
        assert mended(body) is body


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12))
def test_any_text_can_be_read(pieces: list[bytes]) -> None:
    """The copy is as long as the body and reads as Python reads the body, each lone surrogate a U+FFFD."""
    body = b'"%s"' % b"".join(pieces)
    copy = mended(body)
    assert len(copy) == len(body)
    assert msgspec.json.decode(copy) == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in json.loads(body))


@given(body=st.binary(max_size=60))
def test_any_bytes(body: bytes) -> None:
    """Whatever the bytes are, the length stays and a second time changes nothing."""
    assert len(mended(body)) == len(body)
    assert mended(mended(body)) == mended(body)
