"""The command line: finds the command, loads its configuration, and turns its errors into an exit status."""

import argparse
import asyncio
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from zenoti_ingest import __version__, signals, streams, telemetry
from zenoti_ingest.adapters.event_loop import loop_factory
from zenoti_ingest.command_line import Command, filled
from zenoti_ingest.core.failures.errors import WorkerError, WrongSettings
from zenoti_ingest.core.operating.printable import printable
from zenoti_ingest.settings import CONFIG_ENV, Settings, ignored, load

DONE, NOT_DONE, WRONG_USAGE = 0, 1, 2
# Each command is a module and a line here. The module is imported only when its command is wanted. A daemon gets the
# settings; an operation gets the Installation that app builds from them.
DAEMONS: Final[Mapping[str, tuple[str, str]]] = {
    "intake": ("app.intake", "the HTTP door"),
    "consume": ("app.consume", "the consumers"),
}
OPERATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "check": ("operations.check", "try configuration, broker, spool directory and API key"),
    "status": ("operations.status", "what is wrong, depths, daemons, backlog, dead letters"),
    "topology": ("operations.topology", "exchanges and queues: compare, declare, print as RabbitMQ definitions"),
    "dead": ("operations.dead", "the dead letters: look, put back, drop"),
    "archive": ("operations.archive", "everything received: look, feed it in again"),
    "trace": ("operations.trace", "what archive and dead letters know of an event, invoice or receipt id"),
    "simulate": (
        "operations.simulate_words",
        "a Zenoti of our own: the invoice API, and salon visits for the door",
    ),
}
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {**DAEMONS, **OPERATIONS}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    arguments = _parser(words).parse_args(words)
    try:
        status = _outcome(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has ended
        status = NOT_DONE
    except OSError as error:  # most often an address that is taken; also a stdout that cannot be written
        status = _complain(error, NOT_DONE)
    else:
        return status
    streams.discard_stdout()
    return status


def _outcome(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status, or the status that its error means. Raises OSError."""
    try:
        settings = load(path=arguments.config or os.environ.get(CONFIG_ENV), environ=os.environ)
        fmt = settings.log.format or ("console" if sys.stderr.isatty() else "json")
        # A command that a person waits for prints on stdout; it logs only when something is wrong.
        level = "warning" if settings.log.level == "info" and not arguments.daemon else settings.log.level
        if arguments.watch:  # the page shows what is wrong; a log line would break it
            level = "error"
        telemetry.configure(level=level, fmt=fmt)
        for variable, meant in ignored(os.environ):
            telemetry.log.warning("setting_ignored", variable=variable, meant=meant)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_run(settings, arguments))
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


async def _run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run the command until it ends, or until a signal asks it to finish."""
    stop = asyncio.Event()
    drains = arguments.drains or arguments.watch
    signals.heed(stop, hang_up=drains)
    work = asyncio.ensure_future(_begun(settings, arguments, stop))
    if drains:
        return await work
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not work.done():  # such a command needs no drain
        work.cancel()
        await asyncio.wait([work])
        return NOT_DONE
    return work.result()


def _begun(settings: Settings, arguments: argparse.Namespace, stop: asyncio.Event) -> Coroutine[Any, Any, int]:
    """Return the coroutine of the command. A daemon gets the settings, an operation gets the Installation."""
    if arguments.name in DAEMONS:
        daemon: Command[Settings] = arguments.command
        return daemon.run(settings, arguments, stop)
    from zenoti_ingest.app.installation import Installation  # noqa: PLC0415  # no daemon needs it

    operation: Command[Installation] = arguments.command
    return operation.run(Installation(settings), arguments, stop)


def _complain(error: BaseException, code: int) -> int:
    print("zenoti-ingest:", printable(" ".join(str(error).split())), file=sys.stderr)  # noqa: T201  # the line that the operator is promised
    return code


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser for these words. It imports only the commands among them; only these have their arguments."""
    parser = argparse.ArgumentParser(
        prog="zenoti-ingest", description="Zenoti's webhooks, enriched and fanned out, none lost."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--config", metavar="FILE", type=filled, help=f"TOML file; without it the file that {CONFIG_ENV} names"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        made = commands.add_parser(name, help=text, description=text)
        # People also write it after the command; SUPPRESS keeps the value that stood before the command.
        made.add_argument("--config", metavar="FILE", type=filled, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        if name in words:
            command: Command[Any] = import_module(f"zenoti_ingest.{module}")
            made.set_defaults(name=name, command=command, daemon=False, drains=False, watch=False)
            command.add_arguments(made)
    return parser
