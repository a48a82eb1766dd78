import argparse

import msgspec
import pytest

from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.operations import simulate_words
from zenoti_ingest.operations.simulate import Wish
from zenoti_ingest.simulator.switches import ApiSwitches, Switches, WebhookSwitches


def wish(*words: str) -> Wish:
    """What these words ask for."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    simulate_words.add_arguments(parser)
    return simulate_words.wish(parser.parse_args(words))


def test_without_words() -> None:
    """Nothing said is a calm Zenoti at its own speed, on the usual port."""
    assert wish() == Wish(port=8070)


def test_all_words() -> None:
    """Every flag arrives where it belongs."""
    words = """--host 127.0.0.2 --port 1 --source main --door http://d --visits 3 --trace closing-time --linger inf
        --seed 4 --speed 60 --json --calls-per-minute 30 --other-calls 9 --no-quota-headers --latency 0.1-0.5
        --faults 500=0.1,418/200/text=0.2 --split-expands --late 0.3 --late-calls 2 --rate 5 --others 0.4 --bare 0.5
        --duplicates 0.6 --reordered 0.7 --reordered-by 8"""
    api = ApiSwitches(
        calls_per_minute=30,
        other_calls=9,
        quota_headers=False,
        latency=(0.1, 0.5),
        faults={"500": 0.1, "418/200/text": 0.2},
        split_expands=True,
        late=0.3,
        late_calls=2,
    )
    webhooks = WebhookSwitches(rate=5, others=0.4, bare=0.5, duplicates=0.6, reordered=0.7, reordered_by=8)
    assert wish(*words.split()) == Wish(
        host="127.0.0.2",
        port=1,
        source="main",
        door="http://d",
        visits=3,
        trace="closing-time",
        linger=float("inf"),
        seed=4,
        speed=60,
        json=True,
        switches=Switches(api=api, webhooks=webhooks),
    )


def test_every_switch_has_a_flag() -> None:
    """Each switch can be given at the start, except the switch that the vendor turns."""
    parser = argparse.ArgumentParser()
    simulate_words.add_arguments(parser)
    flags = {action.dest for action in parser._actions}  # noqa: SLF001  argparse has no other way
    switches = {f"api.{field.name}" for field in msgspec.structs.fields(ApiSwitches)}
    switches |= {f"webhooks.{field.name}" for field in msgspec.structs.fields(WebhookSwitches)}
    assert switches - flags == {"webhooks.on"}


def test_one_fault_alone() -> None:
    """A fault without a share strikes every call; one number of latency is all there is."""
    assert wish("--faults", "hang", "--latency", "2").switches.api == ApiSwitches(faults={"hang": 1}, latency=(2, 2))


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--others", "1"], "--others: Expected `float` < 1.0"),
        (["--late-calls", "0"], "--late-calls: "),
        (["--faults", "flood"], "--faults: flood is not a fault"),
        (["--latency", "2-1"], "--latency: the shortest first"),
        (["--speed", "0"], "--speed 0"),
        (["--speed", "inf"], "--speed inf"),
        (["--linger", "-1"], "--linger -1"),
    ],
)
def test_wrong_words(words: list[str], fault: str) -> None:
    """An impossible value is reported with its flag."""
    with pytest.raises(WrongSettings) as caught:
        wish(*words)
    assert fault in str(caught.value)


@pytest.mark.parametrize("words", [["--rate", "nan"], ["--latency", "long"], ["--trace", "noon"]])
def test_words_that_are_none(words: list[str]) -> None:
    """What is no value at all argparse refuses, by its flag."""
    with pytest.raises(argparse.ArgumentError, match=words[0]):
        wish(*words)
