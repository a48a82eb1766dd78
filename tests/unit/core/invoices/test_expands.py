from zenoti_ingest.core.invoices.expands import COMBINED_EVERY, FRUITLESS, MAX_FAILED, Expands

PARTS = ("InvoiceItems", "Transactions", "gst_parameters")


def splitting() -> Expands:
    """A source whose API has been found to ignore a combined expand."""
    found = Expands(PARTS)
    found.came("Transactions", brought=True)
    return found


def test_one_call_with_all_of_them() -> None:
    """As documented: one call; where nothing is missing no other follows."""
    expands = Expands(PARTS)
    assert expands.first() == PARTS
    assert expands.alone(PARTS, ()) == ()


def test_what_is_missing_is_asked_for_alone() -> None:
    """Each part that the combined call lacked gets a call of its own."""
    assert Expands(PARTS).alone(PARTS, ("InvoiceItems", "Transactions")) == ("InvoiceItems", "Transactions")


def test_a_single_part_is_not_asked_for_twice() -> None:
    """Where one part is all that is wanted, a call for it alone is what was made already."""
    assert Expands(PARTS[:1]).alone(PARTS[:1], PARTS[:1]) == ()


def test_a_source_that_splits() -> None:
    """Once a part came alone: the first part by itself, then each other that is missing or cannot be looked for."""
    expands = splitting()
    assert expands.first() == ("InvoiceItems",)
    assert expands.alone(("InvoiceItems",), ("Transactions",)) == ("Transactions", "gst_parameters")
    assert expands.alone(("InvoiceItems",), ("InvoiceItems",)) == ("gst_parameters",)


def test_a_part_that_no_call_brings() -> None:
    """After a few fruitless calls it is not asked for alone any more, unlike others."""
    expands = Expands(PARTS)
    for _ in range(FRUITLESS):
        assert expands.alone(PARTS, ("InvoiceItems",)) == ("InvoiceItems",)
        expands.came("InvoiceItems", brought=False)
    assert expands.alone(PARTS, ("InvoiceItems", "Transactions")) == ("Transactions",)
    assert not expands.is_splitting


def test_a_source_that_splits_no_more() -> None:
    """Now and then the combined call is tried again; where it brings everything it is the rule again."""
    expands = splitting()
    firsts = [expands.first() for _ in range(COMBINED_EVERY)]
    assert firsts.count(PARTS) == 1
    assert expands.alone(PARTS, ("Transactions",)) == ("Transactions",)
    assert expands.first() == PARTS[:1]
    assert expands.alone(PARTS, ()) == ()
    assert expands.first() == PARTS


def test_a_part_that_fails_twice_for_an_invoice() -> None:
    """The first failure of a part is the invoice's; after the second the invoice goes without it. Memory is bounded."""
    expands = Expands(("InvoiceItems", "Transactions"))
    assert [expands.failed("a", "Transactions") for _ in range(4)] == [False, True, False, True]
    assert not any(expands.failed(f"i-{n}", "Transactions") for n in range(MAX_FAILED))
    expands.failed("b", "Transactions")
    assert not expands.failed("i-0", "Transactions")
