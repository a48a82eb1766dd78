from zenoti_ingest.core.failures.defects import DEFECTS_IN_A_ROW, Defects


def test_so_many_in_a_row_are_too_many() -> None:
    """The stage may go on until the last of so many, and not after it."""
    defects = Defects()
    for _ in range(DEFECTS_IN_A_ROW):
        assert not defects.are_too_many
        defects.noted()
    assert defects.are_too_many


def test_an_event_that_went_well_begins_anew() -> None:
    """Only a row counts: one good event between them, and the count is at none."""
    defects = Defects()
    for _ in range(DEFECTS_IN_A_ROW - 1):
        defects.noted()
    defects.went_well()
    assert defects.in_a_row == 0


def test_what_was_in_hand_does_not_start_a_stopped_stage() -> None:
    """An event that goes well after the last straw changes nothing."""
    defects = Defects()
    for _ in range(DEFECTS_IN_A_ROW):
        defects.noted()
    defects.went_well()
    assert defects.are_too_many


def test_an_invoice_counts_once() -> None:
    """One invoice with a hundred events stops nothing; ten invoices with one event each do."""
    defects = Defects()
    for _ in range(100):
        defects.noted(invoice_id="I-1")
        defects.noted(invoice_id="i-1")
    assert defects.in_a_row == 1
    for number in range(2, DEFECTS_IN_A_ROW + 1):
        defects.noted(invoice_id=f"i-{number}")
    assert defects.are_too_many


def test_an_invoice_counts_again_after_a_success() -> None:
    """The streak begins anew."""
    defects = Defects()
    defects.noted(invoice_id="i-1")
    defects.went_well()
    defects.noted(invoice_id="i-1")
    assert defects.in_a_row == 1


def test_defects_without_an_invoice_all_count() -> None:
    """Each is of another event."""
    defects = Defects()
    for _ in range(DEFECTS_IN_A_ROW):
        defects.noted()
    assert defects.are_too_many
