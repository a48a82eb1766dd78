"""Instructions for each kind of difference: how to bring the broker to the declared topology and lose nothing.

The arguments of a queue cannot be changed; the queue must be deleted and declared again. Deleting a quorum queue always
deletes its messages, since it does not support `--if-empty` (3.10 to 4.3; 3.10's rabbitmqctl even exits with 0). So
nothing here deletes; the texts first lead an operator to an empty queue. docs/topology.md has the details.
"""

from urllib.parse import quote

import msgspec

from zenoti_ingest.core.topology.differences import Difference
from zenoti_ingest.core.topology.names import Names

_APPLY = "`zenoti-ingest topology apply` declares and binds what is missing"
_AWAY = "restart the intakes with the new configuration (they publish nothing while their part differs)"
_ANEW = "look that `rabbitmqctl list_queues{p} name messages` shows {name} at 0; `rabbitmqctl delete_queue{p} {name}`; "
_ANEW += "`zenoti-ingest topology apply`; start the new consumers"

_THEIRS = "its owner declares it; or drop declare = false from its downstream"
_DIFFERENT = {
    "raw": f"{_AWAY}; let the old consumers run until {{name}} is at 0, stop them; {_ANEW}",
    "lane": "run the old consumers as `consume --stage enrich` until {name} and every retry queue are at 0, then stop "
    f"them (events wait in the raw queue meanwhile); {_ANEW}",
    "retry": "run the old consumers as `consume --stage enrich` until {name} is at 0, then stop them (events wait in "
    f"the raw queue meanwhile); {_ANEW}",
    "dead": f"{_AWAY}; empty it by `zenoti-ingest dead redrive` or `dead discard`, stop the old consumers; {_ANEW}",
    "unrouted": "stop the consumers; what it holds is in the archive too: take out what you want, purge it; " + _ANEW,
    "archive": "set archive.max_age and archive.max_bytes back; or give up what it holds: stop the consumers, "
    f"{_AWAY}; `rabbitmqctl delete_queue{{p}} {{name}}`; `zenoti-ingest topology apply`; start the new consumers",
    "state": "stop the consumers, " + _AWAY + "; it holds only the last words of the daemons: "
    "`rabbitmqctl delete_queue{p} {name}`; `zenoti-ingest topology apply`; start the new consumers",
    "turn": "`rabbitmqctl delete_queue{p} {name}`; `zenoti-ingest topology apply`; it holds no event, but the next "
    "take-over of its lane takes some seconds longer",
    "wait": "let its receiver take events until {name} is at 0, stop the consumers; " + _ANEW,
    "downstream": "give it a new name (downstream.<name>.queue), restart the consumers one by one, let its receiver "
    "read both; then unbind {name} from the exchanges for.<name> and to.<name>, and at 0 messages "
    "`rabbitmqctl delete_queue{p} {name}`",
}
_EXCHANGE = "stop the consumers, " + _AWAY + '; {delete}/api/exchanges/{vhost}/{name}"; '
_EXCHANGE += "`zenoti-ingest topology apply` declares and binds it again; start the new consumers"
_EXCHANGE_GONE = 'once its queue is gone: {delete}/api/exchanges/{vhost}/{name}"'
_SURPLUS = {
    "raw": "put the source back and let the consumers run until {name} is at 0; without it again, delete: {drop}",
    "lane": "put the source back and let the consumers run until {name} is at 0; without it again, delete: {drop}",
    "turn": "it holds no event: {drop}",
    "retry": "it empties by itself within its delay; once at 0: {drop}",
    "wait": "put the receiver back under [downstream.<name>] and let it take events until {name} is at 0; without it "
    "again, delete: {drop}",
    "archive": "it is still bound and still grows: unbind it (as the surplus binding says); "
    "to give up what it holds: {drop}",
}
_RECEIVERS = "put it back under [downstream.<name>]; or unbind it, let its receiver read it to 0, then: {drop}"
_UNBIND = '{delete}/api/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties_key}"'
_TAKE_IN = "; or take the queue in: [downstream.<name>] queue = '{to}', declare = false, events = …"
_POLICY = "narrow the policy's pattern so that it does not match {name}, or `rabbitmqctl clear_policy{p} NAME` "
_POLICY += "(an operator policy: `clear_operator_policy`); a downstream's bound belongs into its max_bytes"


def with_migration(difference: Difference, names: Names, *, vhost: str) -> Difference:
    """The difference, with instructions."""
    return msgspec.structs.replace(difference, migrate=_how(difference, names, vhost=vhost))


def _how(difference: Difference, names: Names, *, vhost: str) -> str:
    name = difference.name
    p = "" if vhost == "/" else f" -p {vhost}"
    fill = {
        "name": name,
        "p": p,
        "vhost": _part(vhost),
        "drop": f"`rabbitmqctl delete_queue{p} {name}`",
        "delete": 'curl -u USER -X DELETE "$MANAGEMENT_URL',
    }
    match difference.kind, difference.state:
        case _, "missing":
            text = _APPLY if difference.ours else _THEIRS
        case "queue", "different":
            text = _DIFFERENT.get(names.role(name), _DIFFERENT["downstream"])
        case "queue", _:
            text = _SURPLUS.get(names.role(name), _RECEIVERS)
        case "exchange", "different":
            text = _EXCHANGE
        case "exchange", _:
            text = _EXCHANGE_GONE
        case "binding", _:
            fill |= _path(difference)
            is_strange = difference.is_["source"] == names.events and not names.role(difference.is_["destination"])
            text = _UNBIND + (_TAKE_IN if is_strange else "")
        case _:
            text = _POLICY
    return text.format(**fill)


def _path(binding: Difference) -> dict[str, str]:
    at = {key: _part(binding.is_[key]) for key in ("source", "destination", "properties_key")}
    return at | {"kind": binding.is_["destination_type"][0], "to": binding.is_["destination"]}


def _part(text: str) -> str:
    """A part of a path of the management API; a properties key is already quoted, and must be quoted again."""
    return quote(text, safe="")
