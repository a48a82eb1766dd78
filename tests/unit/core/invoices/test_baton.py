import pytest

from zenoti_ingest.core.invoices import baton
from zenoti_ingest.core.invoices.baton import Baton
from zenoti_ingest.core.invoices.circuit import Opened
from zenoti_ingest.core.invoices.quota import Spent


def test_a_baton_is_read_as_it_was_written() -> None:
    """Everything that it holds survives."""
    given = Baton(
        Spent(calls=(59.0, 1.5), saved=(1.5,), tokens=-3.25, pause_seconds=7, interval_seconds=2),
        Opened(
            failures=6, probes=1, probe_seconds=4, probe_in=2.5, failed=("i-1",), failing=("i-1",), waiting=("i-2",)
        ),
    )
    assert baton.decode(baton.encode(given)) == given


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"spent": 1}', b'{"spent": {"calls": ["x"]}}', b"\xff", b"[" * 2000]
)
def test_what_is_no_baton(body: bytes) -> None:
    """A stranger's message counts as none."""
    assert baton.decode(body) is None
