"""Words of the command line -> calls. No work of its own. A command is imported once it is the one that is wanted."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from zenoti_ingest import __version__, signals, streams, telemetry
from zenoti_ingest.adapters.event_loop import loop_factory
from zenoti_ingest.core.failures.errors import WorkerError, WrongSettings
from zenoti_ingest.core.operating.printable import printable
from zenoti_ingest.settings import CONFIG_ENV, MAX_INTEGER, Settings, ignored, load

DONE, NOT_DONE, WRONG_USAGE = 0, 1, 2
_STAGES = {
    "all": frozenset({"translate", "enrich"}),
    "translate": frozenset({"translate"}),
    "enrich": frozenset({"enrich"}),
}

_LETTERS = ("reason", "fingerprint", "source", "type", "id")
_ID = "a CloudEvent's id, an event_id, a receipt's or an invoice's id"
_HELP = {"type": "a type or pattern", "id": _ID}

Command = Callable[[Settings, argparse.Namespace, asyncio.Event], Coroutine[Any, Any, int]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    arguments = _parser(words).parse_args(words)
    try:
        status = _outcome(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has enough
        status = NOT_DONE
    except OSError as error:  # an address that cannot be listened on, above all; or what stdout is
        status = _complain(error, NOT_DONE)
    else:
        return status
    streams.discard_stdout()
    return status


def _outcome(arguments: argparse.Namespace) -> int:
    """Run it; what its errors mean is a status. Raises OSError."""
    command: Command = arguments.command
    try:
        settings = load(path=arguments.config or os.environ.get(CONFIG_ENV), environ=os.environ)
        fmt = settings.log.format or ("console" if sys.stderr.isatty() else "json")
        # A command that a person waits for speaks on stdout; its logs are for when something is wrong.
        level = "warning" if settings.log.level == "info" and not arguments.daemon else settings.log.level
        if arguments.watch:  # it shows itself what is wrong; a line of log would break the page
            level = "error"
        telemetry.configure(level=level, fmt=fmt)
        for variable, meant in ignored(os.environ):
            telemetry.log.warning("setting_ignored", variable=variable, meant=meant)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_run(command, settings, arguments))
    except WrongSettings as error:
        return _complain(error, WRONG_USAGE)
    except WorkerError as error:
        return _complain(error, NOT_DONE)
    except BaseExceptionGroup as errors:
        first = _first(errors)
        if isinstance(first, OSError):
            raise first from errors
        if not isinstance(first, WorkerError):
            raise  # a defect: its traceback is what helps
        return _complain(first, WRONG_USAGE if isinstance(first, WrongSettings) else NOT_DONE)


async def _run(command: Command, settings: Settings, arguments: argparse.Namespace) -> int:
    """Run it until it ends, or until a signal asks it to finish."""
    stop = asyncio.Event()
    drains = arguments.daemon or arguments.stops or arguments.watch
    signals.heed(stop, hang_up=drains)
    work = asyncio.ensure_future(command(settings, arguments, stop))
    if drains:
        return await work
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not work.done():  # a command that ends by itself needs no drain
        work.cancel()
        await asyncio.wait([work])
        return NOT_DONE
    return work.result()


def _complain(error: BaseException, code: int) -> int:
    print("zenoti-ingest:", printable(" ".join(str(error).split())), file=sys.stderr)  # noqa: T201  # the one line that the operator is promised
    return code


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _intake(settings: Settings, _: argparse.Namespace, stop: asyncio.Event) -> int:
    from zenoti_ingest.app.intake import run_intake

    await run_intake(settings, stop)
    return DONE


async def _consume(settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    from zenoti_ingest.app.consume import run_consume

    await run_consume(settings, stop, stages=_STAGES[arguments.stage])
    return DONE


async def _check(settings: Settings, arguments: argparse.Namespace, _: asyncio.Event) -> int:
    from zenoti_ingest.operations import check

    return await check.check(settings, as_json=arguments.json)


async def _status(settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    from zenoti_ingest.operations import status, status_watch

    if arguments.watch:
        return await status_watch.watch(settings, stop)
    return await status.status(settings, as_json=arguments.json)


async def _topology(settings: Settings, arguments: argparse.Namespace, _: asyncio.Event) -> int:
    from zenoti_ingest.operations import topology

    match arguments.action:
        case "plan":
            return await topology.plan(settings, as_json=arguments.json)
        case "apply":
            return await topology.apply(settings, as_json=arguments.json)
        case _:
            return await topology.export(settings, passwords=arguments.users)


async def _dead(settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    from zenoti_ingest.operations import dead, redrive

    if arguments.action == "show":
        return await dead.show_(settings, arguments.letter_id, as_json=arguments.json)
    chosen = dead.Filter(**{option: getattr(arguments, option) for option in _LETTERS})
    if arguments.action == "list":
        return await dead.list_(settings, chosen, as_json=arguments.json)
    if chosen == dead.Filter() and not arguments.all:
        options = ", ".join(f"--{option}" for option in _LETTERS)
        raise WrongSettings(f"dead {arguments.action}: say which by {options}, or --all")
    act = redrive.redrive if arguments.action == "redrive" else redrive.discard
    return await act(settings, chosen, stop, dry_run=arguments.dry_run, as_json=arguments.json)


async def _archive(settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    from zenoti_ingest.core.operating.archive_entries import Wanted
    from zenoti_ingest.operations import archive, replay

    wanted = Wanted(
        since=archive.time_of(arguments.since),
        until=archive.time_of(arguments.until) if arguments.until is not None else None,
        source=arguments.source,
        type=arguments.type,
        invoice=arguments.invoice,
    )
    if arguments.action == "list":
        return await archive.list_(settings, wanted, as_json=arguments.json)
    how = {option: getattr(arguments, option) for option in ("after", "rate", "to", "dry_run")}
    return await replay.replay(settings, wanted, stop, **how, as_json=arguments.json)


async def _trace(settings: Settings, arguments: argparse.Namespace, _: asyncio.Event) -> int:
    from zenoti_ingest.operations import archive, trace

    return await trace.trace(settings, arguments.id, archive.time_of(arguments.since), as_json=arguments.json)


async def _simulate(settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> int:
    from zenoti_ingest.operations import simulate, simulate_words

    return await simulate.simulate(settings, stop, simulate_words.wish(arguments))


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zenoti-ingest", description="Zenoti's webhooks, enriched and fanned out, none lost."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--config", metavar="FILE", type=_filled, help=f"TOML file; else the one that {CONFIG_ENV} names"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "intake", _intake, "the HTTP door", daemon=True)
    consume = _add(commands, "consume", _consume, "the consumers", daemon=True)
    consume.add_argument("--stage", choices=sorted(_STAGES), default="all")
    _json(_add(commands, "check", _check, "try configuration, broker, spool directory and API key"))
    _add_status(commands)
    _add_topology(commands)
    _add_dead(commands)
    _add_archive(commands)
    _add_trace(commands)
    _add_simulate(commands, words)
    return parser


def _add(commands: Any, name: str, command: Command, text: str, *, daemon: bool = False) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    made.set_defaults(command=command, daemon=daemon, stops=False, watch=False)
    # Given after the command too, where people write it; SUPPRESS keeps what stood before the command.
    made.add_argument("--config", metavar="FILE", type=_filled, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return made


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def _add_status(commands: Any) -> None:
    made = _add(commands, "status", _status, "what is wrong, depths, daemons, backlog, dead letters")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="again and again, on a terminal, until Ctrl-C")
    how.add_argument("--json", action="store_true", help="one JSON document on stdout")


def _add_topology(commands: Any) -> None:
    made = _add(
        commands, "topology", _topology, "exchanges and queues: compare, declare, print as RabbitMQ definitions"
    )
    made.add_argument("action", choices=["plan", "apply", "export"])
    users = "export: the broker's users too, by the passwords in the files intake, consumers and operator there"
    made.add_argument("--users", metavar="DIR", type=_filled, help=users)
    _json(made)


def _add_dead(commands: Any) -> None:
    made = _add(commands, "dead", _dead, "the dead letters: look, put back, drop")
    actions = made.add_subparsers(required=True, dest="action", metavar="ACTION")
    one = actions.add_parser("show", help="every letter that has the id, whole, its body too")
    one.add_argument("letter_id", metavar="ID", type=_filled, help=_ID)
    _json(one)
    for name, text in (
        ("list", "all that match"),
        ("redrive", "put back where they came from"),
        ("discard", "drop for good"),
    ):
        action = actions.add_parser(name, help=text)
        for option in _LETTERS:
            action.add_argument(f"--{option}", type=_filled, help=_HELP.get(option))
        _json(action)
        if name != "list":
            action.set_defaults(stops=True)
            action.add_argument("--all", action="store_true", help="every letter")
            action.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _add_archive(commands: Any) -> None:
    made = _add(commands, "archive", _archive, "everything received: look, feed it in again")
    actions = made.add_subparsers(required=True, dest="action", metavar="ACTION")
    for name, text in (("list", "what was received"), ("replay", "into the raw queues again, live events first")):
        action = actions.add_parser(name, help=text)
        action.add_argument(
            "--since",
            required=True,
            metavar="T",
            type=_filled,
            help="received from then on, by the door's clock: ISO 8601 (UTC without a zone), or 2h, 3d ago",
        )
        action.add_argument("--until", metavar="T", type=_filled, help="before this time")
        action.add_argument("--source", type=_filled)
        action.add_argument("--type", type=_filled, help="a type or pattern, such as invoice.*")
        action.add_argument("--invoice", metavar="ID", type=_filled)
        _json(action)
        if name == "replay":
            action.set_defaults(stops=True)
            action.add_argument("--dry-run", action="store_true", help="only count")
            action.add_argument(
                "--rate", type=_number(float, least=0.001, most=1_000_000), metavar="N", help="events a second at most"
            )
            action.add_argument(
                "--to", metavar="RECEIVER", type=_filled, help="only this receiver (downstream.<name>) gets them"
            )
            action.add_argument(
                "--after",
                type=_number(int, least=0, most=MAX_INTEGER - 1),
                metavar="OFFSET",
                help="go on where a replay was cut short",
            )


def _add_trace(commands: Any) -> None:
    made = _add(commands, "trace", _trace, "what archive and dead letters know of an event, invoice or receipt id")
    made.add_argument("id", metavar="ID", type=_filled, help=_ID)
    made.add_argument("--since", default="24h", metavar="T", type=_filled, help="look so far back (24h)")
    _json(made)


def _filled(text: str) -> str:
    """An empty one would mean all that have none: of `--id "$ID"` where there is no ID, every letter without."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def _number(read: Callable[[str], float], *, least: float, most: float) -> Callable[[str], Any]:
    def number(text: str) -> float:
        try:
            found = read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not least <= found <= most:  # nor is NaN
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:g}")
        return found

    return number


def _add_simulate(commands: Any, words: Sequence[str]) -> None:
    text = "a Zenoti of our own: the invoice API, and salon visits sent to the door"
    made = _add(commands, "simulate", _simulate, text, daemon=True)
    if "simulate" in words:  # its flags want the whole simulator
        from zenoti_ingest.operations import simulate_words

        simulate_words.add(made)
