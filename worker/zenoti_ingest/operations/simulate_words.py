"""The arguments of `simulate`: an option for each switch, and options for how the run begins and ends."""

import argparse
import asyncio
import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

from zenoti_ingest.app.installation import Installation
from zenoti_ingest.command_line import filled, number
from zenoti_ingest.core.configuration.addresses import host_fault, url_fault
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.operations.simulate import TRACES, Wish, simulate
from zenoti_ingest.simulator.plans import CLOSING_TIME_INVOICES
from zenoti_ingest.simulator.switches import WIRE_FAULTS, Switches, WrongSwitch, changed

_FASTEST: Final = 1_000_000
_count, _port = number(int, least=0, most=1_000_000_000), number(int, least=0, most=65_535)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `simulate`."""
    parser.set_defaults(daemon=True, drains=True)
    parser.add_argument("--host", type=_host, default="127.0.0.1", help="address of API and control (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=8070, help="their port (8070); 0: any")
    parser.add_argument("--source", type=filled, help="the source whose key, secret and token are used (the first)")
    parser.add_argument("--door", type=_url, metavar="URL", help="where webhooks go (the configured intake)")
    parser.add_argument("--visits", type=_count, help="so many; 0: the API alone; else without end")
    parser.add_argument("--trace", choices=sorted(TRACES), help="send this instead of visits")
    parser.add_argument(
        "--invoices",
        type=_count,
        default=CLOSING_TIME_INVOICES,
        help="how many the trace has (300)",
    )
    parser.add_argument(
        "--linger",
        type=_any_number,
        default=30.0,
        metavar="S",
        help="after the last event: end once all its invoices were asked for, or nobody has called for so long (30)",
    )
    parser.add_argument("--seed", type=int, help="the same seed makes the same visits and faults")
    parser.add_argument("--speed", type=_any_number, default=1.0, help="all times and rates so many times as fast (1)")
    parser.add_argument("--json", action="store_true", help="at the end one JSON document on stdout: what was counted")
    for section, switches in _SWITCHES.items():
        group = parser.add_argument_group(section, "switches; also at run time: PATCH /simulator")
        for name, (read, text) in switches.items():
            how: dict[str, Any] = {"type": read, "metavar": "X"} if read else {"action": argparse.BooleanOptionalAction}
            flag = "--" + name.replace("_", "-")
            group.add_argument(flag, dest=f"{section}.{name}", default=argparse.SUPPRESS, help=text, **how)


async def run(installation: Installation, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    """Run `simulate`; returns the exit status."""
    return await simulate(installation, stop, wish(arguments))


def wish(arguments: argparse.Namespace) -> Wish:
    """Return what the arguments ask for.

    Raises:
        WrongSettings: a value is out of bounds; the text names the option.
    """
    given = vars(arguments)
    patch = {
        section: {name: given[f"{section}.{name}"] for name in switches if f"{section}.{name}" in given}
        for section, switches in _SWITCHES.items()
    }
    try:
        switches = changed(Switches(), msgspec.json.encode(patch))
    except WrongSwitch as error:
        section, _, name = error.where.partition(".")
        field, _, what = ("", "", error.what) if name else error.what.partition(": ")
        raise WrongSettings(f"--{(name or field).replace('_', '-')}: {what} ({section})") from error
    if not 1 / _FASTEST <= given["speed"] <= _FASTEST:
        raise WrongSettings(f"--speed {given['speed']:g}: above 0, at most {_FASTEST}; 60 makes a minute a second")
    if given["linger"] < 0:
        raise WrongSettings(f"--linger {given['linger']:g}: 0 or more; inf to go on until interrupted")
    own = {field: given[field] for field in Wish.__struct_fields__ if field != "switches"}
    return Wish(**own, switches=switches)


def _any_number(text: str) -> float:
    value = float(text)
    if math.isnan(value):
        raise ValueError("no number")
    return value


def _number(text: str) -> float:
    """Read the number of a switch. It may not be infinite: it is passed on as JSON, which has no infinity."""
    if math.isinf(value := _any_number(text)):
        raise ValueError("not finite")
    return value


def _host(text: str) -> str:
    if fault := host_fault(text):
        raise argparse.ArgumentTypeError(fault)
    return text


def _url(text: str) -> str:
    if fault := url_fault(text, schemes=("http", "https")):
        raise argparse.ArgumentTypeError(fault)
    return text


def _range(text: str) -> tuple[float, float]:
    shortest, _, longest = text.partition("-")
    return _number(shortest), _number(longest or shortest)


def _shares(text: str) -> dict[str, float]:
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): _number(share or "1") for name, _, share in pairs}


_SWITCHES: Final[dict[str, dict[str, tuple[Callable[[str], Any] | None, str]]]] = {
    "api": {
        "calls_per_minute": (_number, "the organisation's quota, and its burst (60)"),
        "other_calls": (_number, "calls a minute that other integrations spend of it (0)"),
        "quota_headers": (None, "the answers show it (they do)"),
        "latency": (_range, "seconds to an answer, one number or a range such as 0.1-0.8 (0)"),
        "faults": (
            _shares,
            "shares of the calls that go wrong, as 500=0.1,hang=0.01; without a share: all of them. The names: "
            + ", ".join(WIRE_FAULTS)
            + "; refusals as <code>[/<status>[/<shape>]], such as 602 and 418/200/text",
        ),
        "split_expands": (None, "a call for several parts brings none of them"),
        "late": (_number, "share of invoices that are not found at first (0)"),
        "late_calls": (int, "by so many calls (1)"),
    },
    "webhooks": {
        "rate": (_number, "events a second (1)"),
        "others": (_number, "share of all other kinds of events (0), below 1"),
        "bare": (_number, "share of events without envelope, their type in the path (0)"),
        "duplicates": (_number, "share of events delivered twice (0)"),
        "reordered": (_number, "share of events held back until later ones have gone (0)"),
        "reordered_by": (int, "at most so many later ones (5)"),
    },
}
