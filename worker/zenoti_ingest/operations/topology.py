"""`topology plan | apply | export`: compares, declares or prints the topology. Nothing here deletes anything."""

import argparse
import asyncio
from functools import partial
from pathlib import Path
from secrets import token_bytes

from zenoti_ingest.adapters.broker import topology as broker_topology
from zenoti_ingest.adapters.secrets import read_secrets
from zenoti_ingest.app.installation import Installation
from zenoti_ingest.command_line import add_json, filled
from zenoti_ingest.core.configuration.secret_text import UnusableSecret
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.core.topology.declared import definitions
from zenoti_ingest.core.topology.differences import Difference, joined, of_seen
from zenoti_ingest.core.topology.migration import with_migration
from zenoti_ingest.core.topology.permissions import ROLES, password_hash, rights, with_users
from zenoti_ingest.operations.terminal import document, say, show, table

WITHIN_SECONDS = 60.0
SALT_BYTES = 4  # as RabbitMQ does it
SHOWN = 3  # names before a remedy; of the others only their number
UNSEEN = (
    "bindings, queues that the configuration no longer knows, policies, and all but the first argument that differs: "
    "only RabbitMQ's management API knows them; set broker.management_url"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `topology`."""
    parser.add_argument("action", choices=["plan", "apply", "export"])
    users = "export: the broker's users too, by the passwords in the files intake, consumers and operator there"
    parser.add_argument("--users", metavar="DIR", type=filled, help=users)
    add_json(parser)


async def run(installation: Installation, arguments: argparse.Namespace, _: asyncio.Event) -> int:
    """Run the action that is asked for; returns the exit status."""
    match arguments.action:
        case "plan":
            return await plan(installation, as_json=arguments.json)
        case "apply":
            return await apply(installation, as_json=arguments.json)
        case _:
            return await export(installation, passwords=arguments.users)


async def plan(installation: Installation, *, as_json: bool) -> int:
    """Compare the declared topology with the broker's; returns 0 where both are the same, 1 where they differ.

    Raises:
        BrokerUnavailable: the broker, or a configured management API, does not answer.
    """
    found, unseen = await _compare(installation)
    if as_json:
        document({"same": not found, "differences": found, "unseen": unseen})
    else:
        _print_differences(found, unseen)
    return 1 if found else 0


async def apply(installation: Installation, *, as_json: bool) -> int:
    """Declare what is missing, and bind all; returns 1 where a receiver's own queue is missing.

    Raises:
        TopologyMismatch: something is there with other arguments.
    """
    declare = partial(broker_topology.declare, topology=installation.topology)
    async with installation.connected("topology apply") as link:
        made = await link.use(declare, within=WITHIN_SECONDS)
    new, absent = made.new_queues, made.absent
    if as_json:
        document({"new_queues": new, "absent": absent})
    else:
        say(f"Declared and bound as configured; {new} queues are new.")
        for queue in absent:
            say(f"{queue} is missing: its owner declares it (declare = false). Its events wait until it is there.")
    return 1 if absent else 0


async def export(installation: Installation, *, passwords: str | None) -> int:
    """Print RabbitMQ definitions.

    Args:
        installation: whose topology.
        passwords: a folder with the files `intake`, `consumers` and `operator`; the definitions then have the users.

    Raises:
        WrongSettings: a file cannot be used.
    """
    names, vhost = installation.names, installation.vhost
    found = definitions(installation.topology, vhost=vhost)
    if passwords is not None:
        queues = list(installation.receiver_queues.values())
        hashes = {role: password_hash(_password(passwords, role), salt=token_bytes(SALT_BYTES)) for role in ROLES}
        found = with_users(found, rights(names, queues=queues), names=names, vhost=vhost, hashes=hashes)
    document(found)
    return 0


def _password(folder: str, role: str) -> str:
    file = Path(folder) / role
    try:
        password, *others = read_secrets(file)
    except OSError as error:
        raise WrongSettings(f"--users: {file} cannot be read; it must hold the password of {role}") from error
    except UnusableSecret as error:
        raise WrongSettings(f"--users: {file} {error}; it must hold the password of {role}") from error
    if others:
        raise WrongSettings(f"--users: {file} has several lines; it must hold the one password of {role}")
    return password


async def _compare(installation: Installation) -> tuple[list[Difference], str | None]:
    """Return the differences, and what could not be compared; None: everything was."""
    names, topology, vhost = installation.names, installation.topology, installation.vhost
    async with installation.connected("topology plan") as link:
        found = await link.use(partial(broker_topology.compare, topology=topology), within=WITHIN_SECONDS)
    if (api := installation.management_api()) is not None:
        found = joined(found, of_seen(topology, await api.look(), names))
    return [with_migration(difference, names, vhost=vhost) for difference in found], UNSEEN if api is None else None


def _print_differences(found: list[Difference], unseen: str | None) -> None:
    if found:
        show(table(["kind", "name", "is", "detail"], [(d.kind, d.name, d.state, d.detail) for d in found]))
        say("What to do (docs/topology.md has it at length):")
        for text in dict.fromkeys(d.migrate for d in found):
            names = [d.name for d in found if d.migrate == text]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            say(f"- {', '.join(names[:SHOWN])}{more}:\n  {text}", lines=True)
    elif unseen:
        say("The broker has every exchange and queue as declared.")
    else:
        say("The broker has every exchange, queue and binding as declared, and nothing beside them.")
    if unseen:
        say(f"Not seen: {unseen}.")
