"""Permissions on the broker, as data: a user for each role, each with only the rights that its work needs.

RabbitMQ checks three rights by the name of the exchange or queue (https://www.rabbitmq.com/docs/access-control):
*configure* creates and deletes; *write* publishes to an exchange, and binds a queue; *read* consumes a queue, and binds
from an exchange. Binding again changes nothing, and fails if either end is missing. So the daemons, which may configure
nothing, verify by binding that everything exists (from 4.3 on, a passive declare needs more rights than that).

Families of names (`raw.<source>`) are patterns, so a new source needs no new rights.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from zenoti_ingest.core.topology.names import Names

INTAKE, CONSUMERS, OPERATOR = "intake", "consumers", "operator"
ROLES: Final = (INTAKE, CONSUMERS, OPERATOR)
NOTHING: Final = "^$"
_HASHING: Final = "rabbit_password_hashing_sha256"
_SOURCE: Final = "[a-z0-9_]+"


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """Regular expressions over names of exchanges and queues."""

    configure: str = NOTHING
    write: str
    read: str


def rights(names: Names, *, queues: Sequence[str]) -> dict[str, Rights]:
    """The rights of each role.

    Args:
        names: the names of exchanges and queues.
        queues: the queues of the downstreams.
    """
    raw, lane, retry = (
        _family(names, "raw", _SOURCE),
        _family(names, "enrich", rf"{_SOURCE}\.0(\.turn)?"),
        _retries(names),
    )
    receivers = _family(names, "(for|to|wait)", _SOURCE)
    door = [raw, *_exactly(names.work, names.state)]
    ends = _exactly(names.dead, names.archive)
    outs = _exactly(*queues)
    out = _exactly(names.events, names.unrouted)
    everything = rf"{re.escape(names.prefix)}\..+"
    return {
        # Binds raw queues and archive again if somebody unbound them; reads no event.
        INTAKE: Rights(
            write=_any([*_exactly(names.intake), *door, *ends]),
            read=_any(_exactly(names.intake, names.work, names.state)),
        ),
        # Reads neither dead letters nor archive nor receivers' queues; cannot publish to the door's exchange.
        CONSUMERS: Rights(
            write=_any([*door, lane, retry, *ends, *out, receivers, *outs]),
            read=_any([*_exactly(names.intake), *door, lane, retry, *out, receivers]),
        ),
        OPERATOR: Rights(
            configure=_any([everything, *outs]), write=_any([everything, *outs]), read=_any([everything, *outs])
        ),
    }


def with_users(
    definitions: Mapping[str, Any],
    rights_of: Mapping[str, Rights],
    *,
    names: Names,
    vhost: str,
    hashes: Mapping[str, str],
) -> dict[str, Any]:
    """Definitions with users, their password hashes and their permissions; complete for an empty broker."""
    users = [
        {"name": user_name(names, role), "password_hash": hashes[role], "hashing_algorithm": _HASHING, "tags": []}
        for role in rights_of
    ]
    permissions = [
        {"user": user_name(names, role), "vhost": vhost} | msgspec.structs.asdict(given)
        for role, given in rights_of.items()
    ]
    return {"vhosts": [{"name": vhost}], "users": users, "permissions": permissions, **definitions}


def user_name(names: Names, role: str) -> str:
    """A role's user name. Users belong to the broker, not to a vhost, so the prefix separates installations."""
    return f"{names.prefix}-{role}"


def password_hash(password: str, *, salt: bytes) -> str:
    """A password's hash for definitions: base64 of salt (4 bytes) and SHA-256 (https://www.rabbitmq.com/docs/passwords)."""
    return b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _exactly(*names: str) -> list[str]:
    return [re.escape(name) for name in names]


def _family(names: Names, word: str, last: str) -> str:
    return rf"{re.escape(names.prefix)}\.{word}\.{last}"


def _retries(names: Names) -> str:
    return _family(names, "retry", "[0-9]+s")


def _any(patterns: Iterable[str]) -> str:
    return rf"^({'|'.join(patterns)})(?!\n)$"  # the broker's `$` also matches before a line end
