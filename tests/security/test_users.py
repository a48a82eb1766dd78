"""Each user of the broker can do its work and no more."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import aio_pika
import aiormq
import aiormq.abc
import aiormq.exceptions
import pytest

from tests.acceptance.conftest import http
from tests.acceptance.signing import signed
from tests.eventually import eventually, next_turn
from tests.security.conftest import PREFIX, ROLES, Guarded, Installation, exported

BODY = b'{"event_id":"%s","event_type":"Guest.Created","data":{"id":"g-1"}}'
BROKEN = b'{"event_id":'
Attempt = Callable[[aiormq.abc.AbstractChannel], Awaitable[object]]


def name(of: str) -> str:
    """A name beneath the prefix."""
    return f"{PREFIX}.{of}"


def publish(exchange: str, key: str = "main") -> Attempt:
    """Publish to an exchange, confirmed."""
    return lambda channel: channel.basic_publish(b"{}", exchange=exchange, routing_key=key, timeout=10)


def get(queue: str) -> Attempt:
    """Take a message."""
    return lambda channel: channel.basic_get(queue, timeout=10)


def consume(queue: str, **arguments: str) -> Attempt:
    """Consume a queue."""

    async def receive(_: object) -> None:
        """Nobody looks."""

    async def attempt(channel: aiormq.abc.AbstractChannel) -> object:
        await channel.basic_qos(prefetch_count=1)
        return await channel.basic_consume(queue, receive, arguments={f"x-{k}": v for k, v in arguments.items()})

    return attempt


def declare(queue: str) -> Attempt:
    """Make a queue."""
    return lambda channel: channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})


def delete(queue: str) -> Attempt:
    """Delete a queue."""
    return lambda channel: channel.queue_delete(queue)


def delete_exchange(exchange: str) -> Attempt:
    """Delete an exchange."""
    return lambda channel: channel.exchange_delete(exchange)


def purge(queue: str) -> Attempt:
    """Empty a queue."""
    return lambda channel: channel.queue_purge(queue)


def bind(queue: str, exchange: str) -> Attempt:
    """Bind a queue."""
    return lambda channel: channel.queue_bind(queue, exchange, "x")


async def attempt(guarded: Guarded, role: str, act: Attempt) -> None:
    """Do something as one of the users, on a connection of its own."""
    async with await aio_pika.connect(guarded.url_of(role), timeout=10) as connection:
        assert connection.transport is not None
        channel = await connection.transport.connection.channel()
        async with asyncio.timeout(15):
            await act(channel)


FORBIDDEN = {
    "intake": {
        "reads no webhooks": get(name("raw.main")),
        "consumes no webhooks": consume(name("raw.main")),
        "reads no archive": consume(name("archive"), **{"stream-offset": "first"}),
        "reads no dead letters": get(name("dead")),
        "reads no lane": get(name("enrich.main.0")),
        "reads no receiver's queue": get(name("out.all")),
        "publishes no events": publish(name("events"), "main.guest.created"),
        "publishes to no retry": publish(name("retry.5s")),
        "publishes to no queue by name": publish("", name("raw.main")),
        "declares nothing": declare(name("raw.another")),
        "deletes nothing": delete(name("raw.main")),
        "deletes no exchange": delete_exchange(name("intake")),
        "empties nothing": purge(name("raw.main")),
        "turns no event to itself": bind(name("raw.main"), name("events")),
        "touches nobody else's": declare("elsewhere"),
    },
    "consumers": {
        "reads no dead letters": get(name("dead")),
        "reads no archive": consume(name("archive"), **{"stream-offset": "first"}),
        "reads no receiver's queue": get(name("out.all")),
        "publishes nothing at the door": publish(name("intake")),
        "publishes to no queue by name": publish("", name("out.all")),
        "declares nothing": declare(name("raw.another")),
        "deletes nothing": delete(name("out.all")),
        "empties no dead letters": purge(name("dead")),
        "touches nobody else's": declare("elsewhere"),
    },
    "operator": {
        "publishes to no queue by name": publish("", name("out.all")),
        "makes nothing elsewhere": declare("elsewhere"),
        "makes nothing beside the prefix": declare("zixusers.raw"),
    },
}


@pytest.mark.parametrize(
    ("role", "act"),
    [pytest.param(role, act, id=f"{role} {what}") for role, acts in FORBIDDEN.items() for what, act in acts.items()],
)
async def test_is_refused(guarded: Guarded, role: str, act: Attempt) -> None:
    """What is not a user's work the broker refuses it."""
    with pytest.raises((aiormq.exceptions.ChannelAccessRefused, aiormq.exceptions.PublishError)) as refused:
        await attempt(guarded, role, act)
    assert "ACCESS_REFUSED" in str(refused.value) or isinstance(refused.value, aiormq.exceptions.ChannelAccessRefused)


async def test_nobody_else_is_let_in(guarded: Guarded) -> None:
    """There is no guest, and no user without the right password."""
    for url in (guarded.url, guarded.url.with_user(f"{PREFIX}-intake").with_password("wrong")):
        with pytest.raises(aiormq.exceptions.AMQPConnectionError):
            await aio_pika.connect(str(url), timeout=10)


async def test_the_whole_way_with_three_users(installation: Installation) -> None:
    """Door, consumers and operator each do their work as their user, where none of them declares anything."""
    await installation.spawn_as("intake", "intake")
    await installation.spawn_as("consumers", "consume")
    await installation.ready(installation.intake_admin)
    await installation.ready(installation.consume_admin)

    body = BODY % b"whole-way"
    for sent in (body, BROKEN):
        assert (await http("POST", installation.door, body=sent, headers=signed(sent)))[0] == 202
    (out,) = await installation.take("out.all", 1)
    assert body in out.body
    await eventually(lambda: installation.depth("dead"), within=10)

    for command in ("topology plan", "check", "status --json", "dead list --json"):
        status, printed, complaint = await installation.as_role("operator", *command.split())
        # `check` asks the API for an invoice that its stand-in has: any answer but 401 will do.
        assert status == 0, f"{command}: {printed} {complaint}"
    status, printed, _ = await installation.as_role("operator", "dead", "redrive", "--all", "--json")
    assert (status, json.loads(printed)["redriven"]) == (0, 1)

    async def again() -> bool:
        listed = await installation.as_role("operator", "dead", "list", "--json")
        letters = json.loads(listed[1])["letters"]
        return len(letters) == 1 and letters[0]["reason"] == "malformed"

    await eventually(again, within=20)
    assert (await installation.as_role("operator", "dead", "discard", "--all"))[0] == 0

    # Logged about the topology after ten seconds of checks: nothing.
    for daemon in ("intake", "consume"):
        assert "topology_broken" not in installation.log(daemon)
        assert "ACCESS_REFUSED" not in installation.log(daemon)


async def test_the_door_sees_and_mends_its_bindings(installation: Installation) -> None:
    """As a user that may configure and read nothing, the door notices a queue that is gone, and binds one anew."""
    async with installation.connection.channel() as channel:
        raw = await channel.get_queue(name("raw.main"))
        await raw.unbind(name("intake"), "main")
        await installation.spawn_as("intake", "intake")
        await installation.ready(installation.intake_admin)
        body = BODY % b"bound"
        assert (await http("POST", installation.door, body=body, headers=signed(body)))[0] == 202
        assert await installation.depth("raw.main") == 1
        await channel.queue_delete(name("raw.main"))

        async def logged() -> bool:
            return name("raw.main") in json.dumps(await installation.ready(installation.intake_admin, whole=False))

        await eventually(logged, within=20)
        assert (await http("POST", installation.door, body=body, headers=signed(body)))[0] == 202
        assert (await installation.as_role("operator", "topology", "apply"))[0] == 0
        await eventually(lambda: installation.depth("raw.main"), within=20)  # out of the spool


async def test_no_password_shows(installation: Installation, guarded: Guarded) -> None:
    """No process shows a password in its title, no command and no log in what it says, however it fails."""
    processes = [await installation.spawn_as("intake", "intake"), await installation.spawn_as("consumers", "consume")]
    await installation.ready(installation.intake_admin)
    titles = [Path(f"/proc/{process.pid}/cmdline") for process in processes]
    said = [title.read_text() for title in titles if title.exists()]
    url = guarded.url_of("operator")
    asking = []
    for wrong in (url, url.replace("@", "@@"), url.replace(PREFIX, "nobody")):
        installation.settings["BROKER__URL"] = wrong
        asking += [asyncio.create_task(installation.run("check", "--json", within=90))]
        await next_turn()  # it has its environment now
    for _, printed, complaint in await asyncio.gather(*asking):
        said += [printed, complaint]
    said += [installation.log(daemon) for daemon in ("intake", "consume")]
    secrets = [
        *guarded.passwords.values(),
        *(v for k, v in installation.settings.items() if re.search("SECRET|KEY$", k)),
    ]
    assert len(secrets) == len(ROLES) + 2
    for secret in secrets:
        assert not any(secret in text for text in said)


def test_a_password_that_is_missing(tmp_path: Path) -> None:
    """Exporting users wants all three passwords, and says which file it misses."""
    with pytest.raises(AssertionError, match=f"{tmp_path}/intake cannot be read; it must hold the password of intake"):
        exported(tmp_path)
