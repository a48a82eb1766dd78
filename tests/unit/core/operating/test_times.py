from datetime import UTC, datetime, timedelta, timezone

import pytest

from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.core.operating.times import instant, moment

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
