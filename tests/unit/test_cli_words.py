"""What the command line refuses before it asks anybody."""

import argparse
from collections.abc import Iterator

import pytest
import structlog

from zenoti_ingest import cli


@pytest.fixture(autouse=True)
def _logging_stays_as_it_was() -> Iterator[None]:
    """A command configures logging for its process: here that would affect all later tests."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


EMPTY = ("", " ", "\t", "\n")


def words(parser: argparse.ArgumentParser, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every place of every command that takes a value, by the words that lead to it."""
    for action in parser._actions:  # noqa: SLF001  # argparse has no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, sub in action.choices.items():
                yield from words(sub, (*before, name))
        elif action.nargs is None:
            option = action.option_strings[:1]
            needed = ["--since", "1h"] if before[:1] == ("archive",) and before[1:] and option != ["--since"] else []
            yield (*before, *needed, *option)


PLACES = sorted(set(words(cli._parser([*cli.COMMANDS]))))  # noqa: SLF001


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that is refused says last."""
    try:
        status = cli.main(arguments)
    except SystemExit as ended:
        status = ended.code  # type: ignore[assignment]  # argparse's is a number
    assert status == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    return shown.splitlines()[-1]


def test_the_places_are_found() -> None:
    """A command that is added later is looked at as well."""
    found = {" ".join(place) for place in PLACES}
    assert {"dead discard --id", "dead show", "trace", "archive replay --since 1h --to", "--config"} <= found
    assert len(found) > 60


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
@pytest.mark.parametrize("empty", EMPTY, ids=repr)
def test_an_empty_value_is_wrong_usage(
    place: tuple[str, ...], empty: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would mean whatever has none: `dead discard --id "$ID"` without an ID, every letter that has no id."""
    monkeypatch.setenv("ZENOTI_INGEST_BROKER__URL", "amqp://127.0.0.1:1/")
    shown = refusal([*place, empty], capsys)
    option = place[-1].lstrip("-") if place and place[-1].startswith("-") else ""
    assert option in shown


TIMES = ["0000-01-01", "yesterday", "9" * 5000 + "d", "2031-05-06T17:08+99:99", "\x1b[31m", "-2h"]


@pytest.mark.parametrize(
    "place", [place for place in PLACES if place[-1:] in {("--since",), ("--until",)}], ids=" ".join
)
@pytest.mark.parametrize("time", TIMES, ids=lambda time: repr(time[:20]))
def test_a_time_that_is_none(place: tuple[str, ...], time: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, whatever it was."""
    *before, option = place
    more = ["x"] if before == ["trace"] else []
    assert refusal([*before, *more, f"{option}={time}"], capsys).isprintable()


NUMBERS = [
    (("archive", "replay", "--since", "1h", "--rate"), ["nan", "inf", "-inf", "0", "-1", "1e-9", "1e400", "x", "1e7"]),
    (("archive", "replay", "--since", "1h", "--after"), ["-1", "1.5", "nan", "x", str(2**63), str(10**30)]),
    (("simulate", "--port"), ["-1", "65536", str(10**30), "x", "1.5", "nan"]),
    (("simulate", "--visits"), ["-1", "x", str(10**30)]),
    (("simulate", "--invoices"), ["-1", "x", str(10**30)]),
    (("simulate", "--speed"), ["nan", "inf", "0", "-1", "1e-9", "1e9", "x"]),
    (("simulate", "--linger"), ["nan", "-1", "x"]),
    (("simulate", "--rate"), ["nan", "inf", "0", "-1", "1e300", "1e-300", "x"]),
    (("simulate", "--latency"), ["nan", "inf", "0-inf", "2-1", "-1", "1e300", "x"]),
    (("simulate", "--calls-per-minute"), ["nan", "inf", "0", "1e300", "x"]),
    (("simulate", "--late-calls"), ["0", "-1", str(10**30), "x"]),
    (("simulate", "--faults"), ["500=nan", "500=inf", "500=2", "500=-1", "\x1b", "=", ","]),
    (("simulate", "--door"), ["http://h:0", "http://a b", "h", "amqp://h", "http://[::1"]),
    (("simulate", "--host"), ["a b", "a" * 64, "http://h"]),
]


@pytest.mark.parametrize(("place", "number"), [(place, number) for place, wrong in NUMBERS for number in wrong])
def test_a_value_out_of_bounds(place: tuple[str, ...], number: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused by its option."""
    *before, option = place
    assert option in refusal([*before, f"{option}={number}"], capsys)
