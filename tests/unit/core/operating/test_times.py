from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.core.operating.times import as_text, instant, microseconds, moment, seconds_since

NEAR = st.integers(0, 4_102_444_800_000_000)  # up to the year 2100
BEGINNING = "1970-01-01T00:00:00.000000Z"
NOW = datetime(2031, 5, 6, 17, 8, 10, 5, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2h", "2031-05-06T13:08:10.000005Z"),
        (" 3D ", "2031-05-03T15:08:10.000005Z"),
        ("90s", "2031-05-06T15:06:40.000005Z"),
        ("5m", "2031-05-06T15:03:10.000005Z"),
        ("1w", "2031-04-29T15:08:10.000005Z"),
        ("2031-05-06", "2031-05-06T00:00:00.000000Z"),
        ("2031-05-06T17:08", "2031-05-06T17:08:00.000000Z"),
        ("2031-05-06T17:08:10.5Z", "2031-05-06T17:08:10.500000Z"),
        ("2031-05-06T17:08:10+05:30", "2031-05-06T11:38:10.000000Z"),
        ("2031-05-06T17:08+23:59", "2031-05-05T17:09:00.000000Z"),
        ("1970-01-01", BEGINNING),
        ("1969-12-31T23:59:59.999999", BEGINNING),
        ("1970-01-01T00:00+00:01", BEGINNING),
        ("0001-01-01", BEGINNING),
        ("0001-01-01T00:00+23:59", BEGINNING),
        ("4000w", BEGINNING),
        ("999999w", BEGINNING),
        ("999999999999999999d", BEGINNING),
        ("9999-12-31", "9999-12-31T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999-23:59", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_as_people_write_them(text: str, meant: str) -> None:
    """So long ago, or ISO 8601, in UTC where no zone is given; as `received_at` is written.

    What lies before 1970 means from the beginning: nothing was received then, and AMQP has no such times.
    """
    assert moment(text, now=NOW) == meant
    assert instant(meant).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") == meant


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "yesterday",
            "2",
            "h",
            "-2h",
            "2y",
            "2031-13-01",
            "0000-01-01",
            "10000-01-01",
            "9" * 5000 + "d",
            "٢h",
        ),
        *(
            "2031-05-06T24:00",
            "2031-05-06T17:08+24:00",
            "2031-05-06T17:08+99:99",
            "2h\0",
            "\x1b[31m",
            "x" * 5000,
            "nan",
        ),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Whatever is neither is wrong usage, and the message says what would do."""
    with pytest.raises(WrongSettings, match="2h, 3d") as refused:
        moment(text, now=NOW)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2031-05-06T17:08:10.000000Z", "2031-05-06T17:08:10.000000Z"),
        ("2031-05-06T17:08:10Z", "2031-05-06T17:08:10.000000Z"),
        ("2031-05-06T17:08:10.1234567Z", "2031-05-06T17:08:10.123456Z"),
        ("2031-05-06T19:08:10.5+02:00", "2031-05-06T17:08:10.500000Z"),
        ("2031-05-06 17:08:10", "2031-05-06T17:08:10.000000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ("9998-12-31T23:59:59.999999Z", "9998-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59.999999Z", None),
        ("9999-01-01T00:00:00+14:00", None),
        ("", None),
        ("yesterday", None),
        ("2031-13-06T17:08:10Z", None),
        ("\ud800", None),
        ("\x00", None),
    ],
)
def test_a_time_as_text(text: str, means: str | None) -> None:
    """Any precision and offset is read to the microsecond; what is no time, or of the last year there is, is none."""
    at = microseconds(text)
    assert (None if at is None else as_text(at)) == means


@given(NEAR)
def test_text_has_six_digits(at: int) -> None:
    """A time as text has always six digits and a Z, and means the same."""
    assert microseconds(as_text(at)) == at
    assert len(as_text(at)) == len("2031-05-06T17:08:10.000000Z")


@pytest.mark.parametrize(
    ("at", "seconds"),
    [
        ("2031-05-06T17:08:10.000000Z", 5.5),
        ("2031-05-06T19:08:10+02:00", 5.5),
        ("2031-05-06T17:08:16Z", 0.0),
        ("", None),
        ("yesterday", None),
    ],
)
def test_how_long_ago(at: str, seconds: float | None) -> None:
    """Seconds since a time, never less than 0; None where the text is no time."""
    now = microseconds("2031-05-06T17:08:15.5Z")
    assert now is not None
    assert seconds_since(at, now=now) == seconds
