import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.core.operating.printable import printable, printable_json

STEER = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))]


@pytest.mark.parametrize("character", STEER, ids=ascii)
def test_what_steers_a_terminal_is_spelled_out(character: str) -> None:
    """Line ends and tabs too, unless the text has lines."""
    assert printable(f"a{character}b").isprintable()
    kept = printable(f"a{character}b", lines=True)
    assert (kept == f"a{character}b") == (character in "\n\t")


def test_how_it_is_spelled() -> None:
    """As Python and a shell's printf have it."""
    assert printable("\x1b[31m\x9b\u202e\n\ud800 ü✓") == r"\x1b[31m\x9b\u202e\x0a\ud800 ü✓"
    assert printable("a\n\tb\r", lines=True) == "a\n\tb\\x0d"


@given(st.text())
def test_a_json_document_stays_the_same(text: str) -> None:
    """Only its spelling changes."""
    document = json.dumps({"a": text}, ensure_ascii=False)
    shown = printable_json(document)
    assert json.loads(shown) == json.loads(document)
    assert not set(shown) & set(STEER)
