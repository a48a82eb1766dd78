"""The short form of `make fuzz`: the kept inputs, the seeds, and random changes to both, always the same."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS
from zenoti_ingest.core.intake import admission

KEPT = Path(__file__).parent / "corpus"
# What breaks parsers: ends, quotes, nesting, numbers beyond bounds, bytes that are no text.
SPLINTERS = [
    *(b"", b"\n", b"\0", b"{", b"}", b"[", b'"', b"\\", b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"null", b"true", b"-0"),
    *(b"1e999999", b"9" * 400, b"NaN", b"[" * 1200, b'"\xc3\xa9"', b": ", b"=", b"__", b"\xe2\x80\xa8"),
]


@cache
def known(target: str) -> list[bytes]:
    """Seeds and kept inputs."""
    kept = sorted((KEPT / target).iterdir()) if (KEPT / target).is_dir() else []
    return [*SEEDS[target](), *(each.read_bytes() for each in kept)]


@st.composite
def changed(draw: st.DrawFn, target: str) -> bytes:
    """A known input, with a few places of it cut out, doubled, or replaced."""
    text = draw(st.sampled_from(known(target)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        upto = min(len(text), at + draw(st.sampled_from([0, 1, 2, 8, 64])))
        splinter = draw(st.sampled_from([*SPLINTERS, text[at:upto] * 2]) | st.binary(max_size=6))
        text = text[:at] + splinter + text[upto:]
    return text


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_known(target: str) -> None:
    """Every seed, and every input that fuzzing found worth keeping, keeps the target's promise."""
    assert known(target)
    for given_bytes in known(target):
        TARGETS[target](given_bytes)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_changed(target: str) -> None:
    """So do some hundred changes to them."""

    @settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(changed(target) | st.binary(max_size=200))
    def holds(given_bytes: bytes) -> None:
        TARGETS[target](given_bytes)

    holds()


@pytest.mark.parametrize(
    ("target", "given_bytes"),
    [
        ("signature", b"18-2E\n{}"),
        ("webhook", b";\n\xff"),
        ("webhook", b";gzip\nno gzip"),
        ("configuration", b"[broker]\nurl = 'http://u:p@h'"),
        ("delivered", b"[" * 100_000),
        ("answer", b"200\n\n\xff"),
    ],
)
def test_foreseen(target: str, given_bytes: bytes) -> None:
    """What is wrong in a foreseen way is no finding."""
    TARGETS[target](given_bytes)


def test_a_finding_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A door that let everybody in would be found."""
    monkeypatch.setattr(admission, "judge", lambda *_, **__: admission.Accept())
    with pytest.raises(AssertionError):
        TARGETS["signature"](b"wrong\n{}")
