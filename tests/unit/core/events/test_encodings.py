import gzip
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cpu import least_cpu_seconds
from zenoti_ingest.core.events.encodings import inflate, is_known, layers
from zenoti_ingest.core.failures.errors import Malformed, TooLarge

BOUND = 1_000_000


def raw_deflate(body: bytes) -> bytes:
    """Without zlib's wrapper."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.binary(max_size=5000), min_size=1, max_size=4), padding=st.integers(0, 9000))
def test_members_are_put_together(parts: list[bytes], padding: int) -> None:
    """Gzip of any number of members is their contents in order; zeros between and behind them are padding."""
    packed = b"".join(gzip.compress(part) + bytes(padding) for part in parts)
    assert inflate(packed, at_most=BOUND) == b"".join(parts)


@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=9000), padding=st.sampled_from([b"", b"\0\0", b"\r\n"]))
def test_deflate_with_and_without_its_wrapper(body: bytes, padding: bytes) -> None:
    """Both that are called deflate are read; what stands behind them is skipped."""
    assert inflate(zlib.compress(body) + padding, at_most=BOUND) == body
    assert inflate(raw_deflate(body) + padding, at_most=BOUND) == body


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=300))
def test_any_bytes_are_inflated_or_malformed(body: bytes) -> None:
    """Whatever comes, nothing but Malformed is raised, and no more comes out than may."""
    for each in (body, b"\x1f\x8b" + body, b"\x78\x9c" + body):
        with suppress(Malformed, TooLarge):
            assert len(inflate(each, at_most=100)) <= 100


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (gzip.compress(b"x" * 100)[:-1], "cut off"),
        (gzip.compress(b"x") + gzip.compress(b"y")[:-4], "cut off"),
        (gzip.compress(b"x") + b"\x1f\x8bno member", "broken"),
        (zlib.compress(b"x" * 100)[:-1], "cut off|broken"),
        (b"", "cut off"),
        (b"no deflate", "broken"),
        (gzip.compress(b"x")[:-8] + bytes(8), "broken"),
    ],
    ids=["cut", "second cut", "no second", "zlib cut", "empty", "no deflate", "checksum"],
)
def test_refused(body: bytes, what: str) -> None:
    """What is not whole or not sound is malformed."""
    with pytest.raises(Malformed, match=what):
        inflate(body, at_most=BOUND)


@pytest.mark.parametrize("sizes", [(BOUND + 1,), (BOUND - 1, 2)], ids=repr)
def test_too_large(sizes: tuple[int, ...]) -> None:
    """The bound is that of all members together."""
    with pytest.raises(TooLarge, match=f"over {BOUND} bytes"):
        inflate(b"".join(gzip.compress(b"x" * size) for size in sizes), at_most=BOUND)


def test_exactly_the_bound() -> None:
    """A body of just so many bytes is taken."""
    assert len(inflate(gzip.compress(b"x" * (BOUND - 1)) + gzip.compress(b"y"), at_most=BOUND)) == BOUND


def test_many_members_cost_no_more_than_their_bytes() -> None:
    """A megabyte of empty members, or of padding, is read in one pass: four times as much takes some four times."""
    member = gzip.compress(b"", mtime=0)

    def seconds(body: bytes) -> float:
        assert inflate(body, at_most=BOUND) == b""
        return least_cpu_seconds(lambda: inflate(body, at_most=BOUND))

    few, many = seconds(member * 12_500), seconds(member * 50_000)
    assert many < 12 * few + 0.1
    assert seconds(member + bytes(BOUND)) < 0.1 + few


def test_a_bomb_takes_no_more_memory_than_the_bound() -> None:
    """What would inflate to a gigabyte is given up at the bound."""
    bomb = b"".join(gzip.compress(bytes(10_000_000), mtime=0) for _ in range(100))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        inflate(bomb, at_most=BOUND)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * BOUND


@pytest.mark.parametrize(
    ("header", "count", "known"),
    [
        (None, 0, True), ("", 0, True), ("identity", 0, True), (" GZIP ", 1, True), ("x-gzip,identity", 1, True),
        ("deflate , gzip", 2, True), ("utf-8", 0, False), ("gzip, br", 1, False), (", ".join(["gzip"] * 99), 4, True),
    ],
)  # fmt: skip
def test_the_header(header: str | None, count: int, known: bool) -> None:  # noqa: FBT001  # a table's column
    """A header says how many compressions there may be, four at most."""
    assert (layers(header), is_known(header)) == (count, known)
