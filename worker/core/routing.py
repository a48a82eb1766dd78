"""Routing keys and the patterns that bind them, by the rules of AMQP's topic exchange.

Source: https://www.rabbitmq.com/tutorials/amqp-concepts (`*` is one word, `#` is none or more).
"""

import re
from collections.abc import Iterable
from functools import lru_cache

MAX_ROUTING_KEY_BYTES = 200
UNKNOWN_TYPE = "unknown"
_DELETIONS = (".delete", ".deleted")


@lru_cache(maxsize=4096)
def normal_type(event_type: str) -> str:
    """The event type for a routing key: lower case, characters outside `[a-z0-9._-]` as `-`; empty: `unknown`."""
    return re.sub(r"[^a-z0-9._-]", "-", event_type.strip().lower())[:MAX_ROUTING_KEY_BYTES] or UNKNOWN_TYPE


def routing_key(source: str, event_type: str) -> str:
    """`<source>.<event type>`, at most 200 bytes."""
    return f"{source}.{event_type}"[:MAX_ROUTING_KEY_BYTES]


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    split = pattern.lower().split(".")
    words = [
        w for i, w in enumerate(split) if not (w == "#" and split[i - 1 : i] == ["#"])
    ]  # `#.#` says no more than `#`
    if words == ["#"]:
        return re.compile(r".*", re.DOTALL)
    out = ""
    for index, word in enumerate(words):
        first = index == 0
        if word == "#":
            # Zero or more words, each with the dot that parts it from its neighbour.
            out += r"(?:[^.]*\.)*" if first else r"(?:\.[^.]*)*"
        else:
            dot = "" if first or (index == 1 and words[0] == "#") else r"\."
            out += dot + (r"[^.]*" if word == "*" else re.escape(word))
    return re.compile(out, re.DOTALL)


def matches(pattern: str, key: str) -> bool:
    """Whether a topic exchange would route `key` by a binding of `pattern`; patterns are taken in any letter case."""
    return _compiled(pattern).fullmatch(key) is not None


@lru_cache(maxsize=4096)
def any_matches(patterns: tuple[str, ...], key: str) -> bool:
    """Whether one of the patterns matches."""
    return any(matches(pattern, key) for pattern in patterns)


@lru_cache(maxsize=4096)
def wants_enrichment(patterns: tuple[str, ...], event_type: str) -> bool:
    """Whether a type is worth an API call: any that matches, but deletions only where a pattern names them."""
    if not event_type.endswith(_DELETIONS):
        return any_matches(patterns, event_type)
    return any(matches(p, event_type) for p in patterns if p.lower().endswith(_DELETIONS))


def binding_keys(*, sources: Iterable[str], events: Iterable[str]) -> tuple[str, ...]:
    """The patterns that bind a downstream's queue to the events exchange."""
    events = tuple(events)
    return tuple(f"{source}.{event.lower()}" for source in sources for event in events)
