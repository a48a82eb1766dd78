"""Routing keys and binding patterns, by the rules of AMQP's topic exchange.

Source: https://www.rabbitmq.com/tutorials/amqp-concepts (`*` is a single word, `#` is any number of words or none).
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from operator import or_

MAX_ROUTING_KEY_BYTES = 200
UNKNOWN_TYPE = "unknown"
_DELETIONS = (".delete", ".deleted")


def normal_type(event_type: str) -> str:
    """The event type for a routing key: lower case, characters outside `[a-z0-9._-]` as `-`; empty: `unknown`."""
    return _normal(event_type.strip()[:MAX_ROUTING_KEY_BYTES])  # cut before it is cached: the sender chose its length


def whole_type(event_type: str) -> str:
    """Like `normal_type`, but of any length: two long types that begin alike stay different."""
    text = event_type.strip()
    return _normal(text) if len(text) <= MAX_ROUTING_KEY_BYTES else _spelled(text)


@lru_cache(maxsize=1024)
def _normal(event_type: str) -> str:
    return _spelled(event_type)[:MAX_ROUTING_KEY_BYTES] or UNKNOWN_TYPE


def _spelled(event_type: str) -> str:
    return re.sub(r"[^a-z0-9._-]", "-", event_type.lower())


def routing_key(source: str, event_type: str) -> str:
    """`<source>.<event type>`, at most 200 bytes."""
    return f"{source}.{event_type}"[:MAX_ROUTING_KEY_BYTES]


def matches(pattern: str, key: str) -> bool:
    """Whether a topic exchange would route `key` by a binding of `pattern`; patterns may have any letter case."""
    words = key.split(".")
    # reached[i]: the pattern so far can match the first i words.
    reached = [True] + [False] * len(words)
    for part in pattern.lower().split("."):
        if part == "#":
            reached = list(accumulate(reached, or_))
        else:
            reached = [False] + [so_far and part in ("*", word) for so_far, word in zip(reached, words, strict=False)]
    return reached[-1]


def names_type(wanted: str, event_type: str) -> bool:
    """Whether an operator's word for a type, a pattern or a type in any spelling, means this type."""
    if "*" in wanted or "#" in wanted:
        return matches(wanted, event_type)
    return normal_type(wanted) == event_type


@lru_cache(maxsize=4096)
def any_matches(patterns: tuple[str, ...], key: str) -> bool:
    """Whether any of the patterns matches."""
    return any(matches(pattern, key) for pattern in patterns)


@lru_cache(maxsize=4096)
def wants_enrichment(patterns: tuple[str, ...], event_type: str) -> bool:
    """Whether events of a type get an API call: any type that matches, but deletions only if a pattern names them."""
    if not event_type.endswith(_DELETIONS):
        return any_matches(patterns, event_type)
    return any(matches(p, event_type) for p in patterns if p.lower().endswith(_DELETIONS))


def binding_keys(*, sources: Iterable[str], events: Iterable[str]) -> tuple[str, ...]:
    """The binding keys that connect the events exchange to a downstream."""
    events = tuple(events)
    return tuple(f"{source}.{event}".lower() for source in sources for event in events)
