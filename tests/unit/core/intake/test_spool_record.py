import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import received
from zenoti_ingest.core.events.trace_context import context
from zenoti_ingest.core.intake.spool_record import Spooled, is_note_of, note, noted, notes_of, seal, unseal

TRACE = context("a" * 32, "b" * 16, flags=1, state="vendor=1")


@given(body=st.binary(), archived=st.booleans(), encoding=st.none() | st.text())
def test_comes_back_as_it_was(body: bytes, encoding: str | None, *, archived: bool) -> None:
    """What is sealed comes back byte for byte, with every field."""
    spooled = Spooled(
        event=received(body=body, content_encoding=encoding, path_type="a.b", trace=TRACE), archived=archived
    )
    assert unseal(seal(spooled)) == spooled


@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed(at: int, bit: int) -> None:
    """Whichever bit of a record is flipped, it is not read."""
    record = bytearray(seal(Spooled(event=received(body=b'{"a": 1}'))))
    record[at % len(record)] ^= 1 << bit
    assert unseal(bytes(record)) is None


@given(length=st.integers(0, 200))
def test_a_torn_record_is_noticed(length: int) -> None:
    """A record that is not whole is not read."""
    record = seal(Spooled(event=received(body=b"x" * 100)))
    assert unseal(record[:length]) is None


@pytest.mark.parametrize("record", [None, 1, "text", b"", msgspec.msgpack.encode({"other": 1})])
def test_what_was_never_sealed_is_not_read(record: object) -> None:
    """Whatever a damaged row holds in place of a record."""
    assert unseal(record) is None


def test_a_whole_record_of_another_shape_is_not_read() -> None:
    """A checksum that holds over a shape that is not ours."""
    content = msgspec.msgpack.encode({"event": 1})
    assert unseal(zlib.crc32(content).to_bytes(4, "big") + content) is None


def test_a_note() -> None:
    """It waits under a name that no configured source can have, without the body, and gives back all else."""
    event = received(source="main", content_encoding="gzip")
    left = note(event, body_at="disk:here:/x")
    assert (left.event.body, left.body_at) == (b"", "disk:here:/x")
    assert unseal(seal(left)) == left
    assert noted(left) == msgspec.structs.replace(event, body=b"")
    assert left.event.source == notes_of("main") != "main"
    assert is_note_of(left.event.source, {"main"})
    assert not is_note_of("main", {"main"})
    assert not is_note_of(notes_of("other"), {"main"})
