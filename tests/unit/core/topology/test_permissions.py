import base64
import hashlib
import re

import pytest

from tests.conftest import topology_of
from zenoti_ingest.core.topology.declared import definitions, intake_topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.core.topology.permissions import (
    CONSUMERS,
    INTAKE,
    OPERATOR,
    ROLES,
    Rights,
    password_hash,
    rights,
    with_users,
)

NAMES = Names("zen.oti")
TOPOLOGY = topology_of(NAMES)
RIGHTS = rights(NAMES, queues=["zen.oti.out.all", "Theirs+1"])


def may(pattern: str, name: str) -> bool:
    """Whether the broker finds the pattern in the name."""
    return re.search(pattern, name) is not None


@pytest.mark.parametrize("role", [INTAKE, CONSUMERS])
def test_daemons_configure_nothing(role: str) -> None:
    """A daemon makes and deletes nothing, not even what has no name."""
    for name in (*(q.name for q in TOPOLOGY.queues), *(e.name for e in TOPOLOGY.exchanges), "zen.oti.raw.new"):
        assert not may(RIGHTS[role].configure, name)


def test_each_binds_what_it_watches() -> None:
    """Door and consumers may bind all of the topology that they watch: write on the queue, read on the exchange."""
    door = intake_topology(NAMES, sources=("main", "another_1"), archive=None)
    for role, topology in ((INTAKE, door), (CONSUMERS, TOPOLOGY), (OPERATOR, TOPOLOGY)):
        given = rights(NAMES, queues=["zen.oti.out.all", "zen.oti.out.invoices"])[role]
        for binding in topology.bindings:
            assert may(given.write, binding.destination)
            assert may(given.read, binding.exchange)


def test_what_each_reads() -> None:
    """The door reads no event; consumers read what they consume, not the dead, the archive, or what receivers have."""
    queues = [queue.name for queue in TOPOLOGY.queues]
    read = {role: {q.removeprefix("zen.oti.") for q in queues if may(RIGHTS[role].read, q)} for role in ROLES}
    assert read[INTAKE] == {"state"}
    ours = {"state", "raw.main", "enrich.main.0", "enrich.main.0.turn", "retry.1s", "retry.2s", "unrouted"}
    ours |= {"wait.all", "wait.invoices"}
    assert read[CONSUMERS] == ours
    assert read[OPERATOR] == {queue.removeprefix("zen.oti.") for queue in queues}


def test_where_each_publishes() -> None:
    """The door publishes webhooks, puts back and publishes its state; consumers pass on, but not as the door does."""
    exchanges = [exchange.name for exchange in TOPOLOGY.exchanges]
    write = {role: {e.removeprefix("zen.oti.") for e in exchanges if may(RIGHTS[role].write, e)} for role in ROLES}
    assert write[INTAKE] == {"intake", "work", "state"}
    receivers = {f"{word}.{name}" for word in ("for", "to", "wait") for name in ("all", "invoices")}
    assert write[CONSUMERS] == {"work", "state", "events", "unrouted", "retry.1s", "retry.2s"} | receivers


@pytest.mark.parametrize("name", ["amq.default", "zenxoti.raw.main", "zen.oti", "x.zen.oti.work", "zen.oti.workshop"])
@pytest.mark.parametrize("role", [INTAKE, CONSUMERS])
def test_nothing_else(role: str, name: str) -> None:
    """No right reaches beyond the names: a dot is a dot, and a name is the whole name."""
    given = RIGHTS[role]
    assert not any(may(pattern, name) for pattern in (given.configure, given.write, given.read))


def test_receivers_queues_by_their_names() -> None:
    """A receiver's queue that has a name of its own is bound and declared by that name, nothing like it."""
    assert may(RIGHTS[OPERATOR].configure, "Theirs+1")
    assert may(RIGHTS[CONSUMERS].write, "Theirs+1")
    assert not may(RIGHTS[CONSUMERS].write, "Theirss1")


def test_a_password_as_the_broker_wants_it() -> None:
    """Base64 of four bytes of salt and SHA-256 of salt and password: the example of the broker's own page."""
    salt = bytes.fromhex("908dc60a")
    found = password_hash("test12", salt=salt)
    assert found == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    assert base64.b64decode(found)[4:] == hashlib.sha256(salt + b"test12").digest()


def test_definitions_of_users() -> None:
    """Users, rights and their virtual host stand beside exchanges and queues; no password does."""
    given = {INTAKE: Rights(write="^w$", read="^r$")}
    found = with_users(
        definitions(TOPOLOGY, vhost="v"),
        given,
        names=NAMES,
        vhost="v",
        hashes={INTAKE: password_hash("p", salt=b"salt")},
    )
    assert found["vhosts"] == [{"name": "v"}]
    assert [user["name"] for user in found["users"]] == ["zen.oti-intake"]
    assert found["permissions"] == [
        {"user": "zen.oti-intake", "vhost": "v", "configure": "^$", "write": "^w$", "read": "^r$"}
    ]
    assert found["queues"] == definitions(TOPOLOGY, vhost="v")["queues"]


@pytest.mark.parametrize("role", ROLES)
def test_a_name_with_a_line_end_is_another_name(role: str) -> None:
    """The broker's `$`, as Python's, matches before a line end, too: nobody makes or reads such a twin of a queue."""
    given = RIGHTS[role]
    for name in (*(q.name for q in TOPOLOGY.queues), *(e.name for e in TOPOLOGY.exchanges), "Theirs+1"):
        for pattern in (given.configure, given.write, given.read):
            assert not may(pattern, f"{name}\n")
