import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenoti_ingest.core.failures import errors
from zenoti_ingest.core.failures.errors import (
    AccessDenied,
    ApiFailure,
    ApiRefusedUs,
    ApiThrottled,
    ApiUnavailable,
    ApiUnreachable,
    BrokerUnavailable,
    FatalError,
    GatewayAnswered,
    InvoiceNotFound,
    Malformed,
    PermanentError,
    PublishUnconfirmed,
    Refused,
    RequestDefect,
    RequestInvalid,
    TooLarge,
    TopologyMismatch,
    TurnLost,
    Unroutable,
    WorkerError,
)
from zenoti_ingest.core.failures.policy import (
    FEW_ATTEMPTS,
    MAX_DETAIL,
    DeadLetter,
    Hold,
    Ladder,
    Retry,
    defect_detail,
    settle,
)
from zenoti_ingest.core.invoices.circuit import Blame

HELD = (ApiThrottled, TurnLost, BrokerUnavailable, PublishUnconfirmed)
API_FAILURES = (ApiUnavailable, ApiUnreachable, GatewayAnswered, ApiRefusedUs)
LADDER = Ladder((5, 30, 120, 600), 8)
STABLE = {"malformed", "too-large", "invoice-not-found", "access-denied", "refused", "attempts-exhausted", "defect"}
LEAVES = sorted(
    (
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, WorkerError) and not kind.__subclasses__()
    ),
    key=lambda kind: kind.__name__,
)


def failure(kind: type[Exception], text: str = "it went wrong") -> Exception:
    """An error of a kind."""
    return ApiThrottled(7) if kind is ApiThrottled else kind(text)


ladders = st.builds(
    Ladder,
    st.lists(st.integers(1, 86_400), min_size=1, max_size=6).map(tuple),
    st.integers(1, 20),
)


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from([*LEAVES, ValueError, KeyError]),
    attempt=st.integers(1, 40),
    ladder=ladders,
    blame=st.sampled_from(Blame),
)
def test_any_failure_is_settled(kind: type[Exception], attempt: int, ladder: Ladder, blame: Blame) -> None:
    """Every failure has its verdict: no retry beyond the last attempt, delays off the ladder, reasons stable."""
    match settle(failure(kind), attempt=attempt, ladder=ladder, blame=blame):
        case Retry(seconds, again):
            assert again == attempt + 1 <= ladder.max_attempts
            assert seconds == ladder.delays_seconds[min(attempt, len(ladder.delays_seconds)) - 1]
        case DeadLetter(reason, detail):
            assert reason in STABLE
            assert detail
        case Hold():
            assert issubclass(kind, (*HELD, FatalError)) or (issubclass(kind, ApiFailure) and blame is not Blame.KEY)


@pytest.mark.parametrize("attempt", [1, 8, 9], ids="attempt {}".format)
@pytest.mark.parametrize("kind", [*HELD, TopologyMismatch, Unroutable], ids=lambda kind: kind.__name__)
def test_what_says_nothing_of_the_invoice_is_held(kind: type[Exception], attempt: int) -> None:
    """Throttled, the broker away, ours to mend: the event stays, no attempt is charged."""
    assert settle(failure(kind), attempt=attempt, ladder=LADDER) == Hold()


@pytest.mark.parametrize("blame", [Blame.API, Blame.UNKNOWN])
@pytest.mark.parametrize("kind", API_FAILURES, ids=lambda kind: kind.__name__)
def test_only_the_invoices_failure_is_charged(kind: type[Exception], blame: Blame) -> None:
    """A failure of the API, or one in doubt, holds the event at any attempt, whatever kind of failure it is."""
    assert {settle(failure(kind), attempt=attempt, ladder=LADDER, blame=blame) for attempt in (1, 8, 9)} == {Hold()}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Malformed, "malformed"),
        (TooLarge, "too-large"),
        (AccessDenied, "access-denied"),
        (Refused, "refused"),
        (RequestDefect, "defect"),
    ],
    ids=["malformed", "too large", "access denied", "refused", "request defect"],
)
def test_permanent_goes_to_the_dead_letters_at_once(kind: type[PermanentError], reason: str) -> None:
    """What no later attempt can mend is a dead letter after the first."""
    assert settle(kind("why"), attempt=1, ladder=LADDER) == DeadLetter(reason, "why")


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [(1, Retry(5, 2)), (2, Retry(30, 3)), (3, Retry(120, 4)), (4, DeadLetter("invoice-not-found", "why"))],
    ids="attempt {}".format,
)
def test_not_found_is_believed_after_a_few_attempts(attempt: int, expected: Retry | DeadLetter) -> None:
    """An invoice may be younger in the API than its event: three delayed attempts come before the dead letter."""
    assert settle(InvoiceNotFound("why"), attempt=attempt, ladder=LADDER) == expected
    as_invalid = DeadLetter("refused", "why") if isinstance(expected, DeadLetter) else expected
    assert settle(RequestInvalid("why"), attempt=attempt, ladder=LADDER) == as_invalid
    assert FEW_ATTEMPTS == 4


def test_not_found_respects_a_shorter_ladder() -> None:
    """Where fewer attempts are configured than a missing invoice would get, those count."""
    verdict = settle(InvoiceNotFound("why"), attempt=2, ladder=Ladder((5,), 2))
    assert verdict == DeadLetter("invoice-not-found", "why")


@pytest.mark.parametrize("kind", API_FAILURES, ids=lambda kind: kind.__name__)
def test_transient_climbs_the_ladder(kind: type[Exception]) -> None:
    """Each attempt waits longer, the last delay repeats, and after the last attempt the event is a dead letter."""
    verdicts = [settle(kind("why"), attempt=attempt, ladder=LADDER) for attempt in range(1, 9)]
    assert [verdict.attempt for verdict in verdicts if isinstance(verdict, Retry)] == [2, 3, 4, 5, 6, 7, 8]
    delays = [verdict.seconds for verdict in verdicts if isinstance(verdict, Retry)]
    assert delays == [5, 30, 120, 600, 600, 600, 600]
    reason = "access-denied" if kind is ApiRefusedUs else "attempts-exhausted"
    assert verdicts[-1] == DeadLetter(reason, "why (attempt 8 of 8)")


def test_a_single_attempt() -> None:
    """A ladder of one attempt never retries."""
    assert isinstance(settle(ApiUnavailable("why"), attempt=1, ladder=Ladder((5,), 1)), DeadLetter)


def test_defect_names_type_and_place_never_the_text() -> None:
    """A plain exception is a defect: its text may quote a customer, so only its type and place are kept."""
    try:
        int("hush")
    except ValueError as error:
        verdict = settle(error, attempt=1, ladder=LADDER)
        line = error.__traceback__.tb_lineno if error.__traceback__ else 0
    assert verdict == DeadLetter("defect", f"ValueError at {__name__}:{line}")


def test_defect_without_a_traceback() -> None:
    """An exception that was never raised is named by its type alone."""
    assert defect_detail(KeyError("hush")) == "KeyError"


def test_defect_names_the_innermost_place() -> None:
    """The place is where it was raised, not where it was caught."""
    with pytest.raises(ValueError, match="hush") as caught:
        failure(int, "hush")  # type: ignore[arg-type]  # raises inside the helper, which is the point
    assert defect_detail(caught.value) == f"ValueError at {__name__}:{caught.traceback[-1].lineno + 1}"


def test_detail_is_bounded() -> None:
    """A dead letter's detail goes into a header, so it is cut."""
    verdict = settle(Refused("x" * 10_000), attempt=1, ladder=LADDER)
    assert isinstance(verdict, DeadLetter)
    assert len(verdict.detail) == MAX_DETAIL
