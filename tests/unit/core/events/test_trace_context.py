import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.core.events.trace_context import (
    MAX_STATE_CHARS,
    TraceContext,
    begun,
    context,
    of_message,
    of_request,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"

_hex = "0123456789abcdef"
_ids = st.text(_hex, min_size=32, max_size=32).filter(lambda text: text.strip("0"))
_spans = st.text(_hex, min_size=16, max_size=16).filter(lambda text: text.strip("0"))
_members = st.from_regex(r"[a-z0-9][a-z0-9_*/-]{0,5}=[!-+\--<>-~]{1,5}", fullmatch=True)
_states = st.lists(_members, max_size=20, unique_by=lambda member: member.partition("=")[0]).map(",".join)
contexts = st.builds(context, _ids, _spans, flags=st.integers(0, 3), state=_states)


@given(contexts)
def test_what_is_written_is_read(written: TraceContext) -> None:
    """The headers of a context read back as the same, from a request as from a message."""
    headers = written.headers()
    assert of_message(headers) == written
    assert of_request([headers["traceparent"]], [headers.get("tracestate", "")]) == written
    assert written.parent == f"00-{written.trace_id}-{written.span_id}-{written.flags:02x}"


@given(parent=st.none() | st.integers() | st.binary() | st.text(), state=st.none() | st.integers() | st.text())
def test_reading_never_fails(parent: Any, state: Any) -> None:
    """Whatever a stranger writes there, it is read as a context of a valid form, or as none."""
    for found in (
        of_message({"traceparent": parent, "tracestate": state}),
        of_message({"traceparent": VALID, "tracestate": state}),
    ):
        if found is not None:
            assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", found.parent)
            assert of_message(found.headers()) == found


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        VALID.upper(),
        VALID[:-1],
        VALID + "-",
        VALID + "0",
        VALID.replace("-", "_"),
        f"ff-{TRACE}-{SPAN}-01",
        f"0g-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}-01\n",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
    ],
)
def test_a_malformed_parent_is_none(parent: str) -> None:
    """Of the malformed forms that the standard names none is taken, whatever state comes with it."""
    assert of_request([parent], ["a=b"]) is None


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        pytest.param(f" {VALID}\t", VALID, id="blanks around it"),
        pytest.param(f"01-{TRACE}-{SPAN}-01-what the future brings", VALID, id="a later version"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01", VALID, id="a later version of the same length"),
        pytest.param(f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03", id="unknown flags are not passed on"),
    ],
)
def test_what_is_valid_becomes_version_00(parent: str, expected: str) -> None:
    """A valid parent of any version goes on in the version that we know."""
    assert of_request([parent], []) == TraceContext(expected)


@pytest.mark.parametrize("parents", [[], [VALID, VALID]])
def test_none_or_several_parents_are_none(parents: list[str]) -> None:
    """A request without a parent, or with several, has no context."""
    assert of_request(parents, ["a=b"]) is None


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([], "", id="none"),
        pytest.param(["a=1", "b=2"], "a=1,b=2", id="several headers are one list"),
        pytest.param([" a=1 , ,\tt@v=2"], "a=1,t@v=2", id="blanks and empty members"),
        pytest.param(["a=1,A=2"], "", id="a malformed key"),
        pytest.param(["a=1,b"], "", id="no value"),
        pytest.param(["a=1=2"], "", id="an equals sign in a value"),
        pytest.param(["a=\u00e9"], "", id="not ASCII"),
        pytest.param(["a=1,a=2"], "", id="a key twice"),
        pytest.param([",".join(f"k{n}=1" for n in range(33))], "", id="too many members"),
        pytest.param([",".join(f"k{n}={'v' * 100}" for n in range(6))], "", id="too long"),
    ],
)
def test_state(states: list[str], expected: str) -> None:
    """A valid state goes on; of a malformed or too long one nothing does, and the parent is taken all the same."""
    assert of_request([VALID], states) == TraceContext(VALID, expected)
    assert len(expected) <= MAX_STATE_CHARS


def test_a_message_without_a_parent_has_none() -> None:
    """Messages of before, or of strangers, are of no trace."""
    assert of_message({}) is None
    assert of_message({"traceparent": VALID, "tracestate": b"a=1"}) == TraceContext(VALID)


@given(st.binary(min_size=24, max_size=24).filter(lambda found: any(found[:16]) and any(found[16:])))
def test_a_new_one_is_valid_and_not_sampled(random: bytes) -> None:
    """A context made from random bytes is read back, and asks nobody to record."""
    made = begun(random)
    assert of_message(made.headers()) == made
    assert not made.is_sampled
    assert context(TRACE, SPAN, flags=1).is_sampled
