from zenoti_ingest.core.invoices.lease import Lease


def test_a_lease_counts_from_the_question() -> None:
    """It holds for its seconds after the question was sent, whenever the answer came; older questions add nothing."""
    lease = Lease(5)
    assert not lease.holds(0)
    lease.renew(100)
    assert lease.holds(104.9)
    assert not lease.holds(105)
    lease.renew(103)
    lease.renew(101)
    assert lease.holds(107.9)
    lease.end()
    assert not lease.holds(103)
