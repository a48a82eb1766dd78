"""The configuration reference, docs/configuration.md: every key as `zenoti_ingest.settings` declares it."""

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from zenoti_ingest.operations.documents.shapes import attribute_texts
from zenoti_ingest.settings import ENV_PREFIX, SecretSpec, Section, Settings

_INTRODUCTION: Final = """\
# Configuration

Written from `zenoti_ingest.settings` by `make schemas`; a change here is lost.

A TOML file, named by `--config` or by the environment variable `ZENOTI_INGEST_CONFIG`. Each key can be set or
overridden by an environment variable of its own, named below; without a file the variables are enough. What a process
was started with holds until it is restarted; only secrets in files are read again, every second.

- **Lists** are TOML arrays in the file and comma-separated in the environment.
- **Secrets** (and URLs that hold a password) can be given as the path of a file instead: the same key with `_file`
  behind it, one secret a line, in UTF-8. Empty lines, blanks around a secret and a BOM are none of it. A file that
  cannot be used ends the start (but not that of an intake whose `broker.url_file` it is: the spool takes the events);
  later the last values count until it can be used again. A key and its `_file` in one place is an error; in the
  environment either replaces what the file says.
- **Names** of sources and downstreams (`<name>`) are lower case letters, digits and `_`, begin with a letter, have at
  most 32 characters and no `__`. In a variable the name stands in upper case. One exists once one of its keys is set.
- **Patterns** are those of AMQP topics, over words parted by dots: `*` is one word, `#` any number of them; neither
  stands beside other characters.
- **What is wrong** (an unknown key, a type, a bound) ends the start with status 2 and one line that says what would
  do. `zenoti-ingest check` tries it without starting anything.
- **Variables without `__`** behind `ZENOTI_INGEST_` set nothing: Kubernetes injects such names. One that looks like a
  setting (`ZENOTI_INGEST_BROKER_URL`) is reported in a warning, `setting_ignored`, with the name that may be meant.

The least that works:

```toml
[sources.main]
api_key_file = "/run/secrets/zenoti_api_key"
webhook_secret_file = "/run/secrets/zenoti_webhook_secret"

[downstream.accounting]
events = ["invoice.*"]
```
"""
_UNITS: Final = {"_seconds": "seconds", "_bytes": "bytes", "_per_minute": "calls a minute", "_headers": "headers"}
_TYPES: Final = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text", SecretSpec: "secret"}


def page() -> bytes:
    """Return the page."""
    fields = msgspec.structs.fields(Settings)
    lines = (line for field in fields for line in _section(field.name, field.type))
    return "\n".join([_INTRODUCTION, *lines]).encode()


def keys() -> frozenset[str]:
    """Return every key as it is written, such as `sources.<name>.api_key`; of a secret also its `_file`."""
    found = set()
    for section in msgspec.structs.fields(Settings):
        path, kind = _table(section.name, section.type)
        for field in msgspec.structs.fields(kind):
            found.add(f"{path}.{field.name}")
            if get_args(field.type)[0] is SecretSpec:
                found.add(f"{path}.{field.name}_file")
    return frozenset(found)


def _table(name: str, annotation: Any) -> tuple[str, type[Section]]:
    if get_origin(annotation) is None:
        return name, annotation
    return f"{name}.<name>", get_args(annotation)[1]


def _section(name: str, annotation: Any) -> Iterator[str]:
    path, kind = _table(name, annotation)
    yield f"## `{path}`\n"
    yield f"{(kind.__doc__ or '').splitlines()[0]}\n"
    reasons = attribute_texts(kind)
    for field in msgspec.structs.fields(kind):
        yield from _key(f"{path}.{field.name}", field, why=reasons[field.name])


def _key(path: str, field: msgspec.structs.FieldInfo, *, why: str) -> Iterator[str]:
    wanted, *found = get_args(field.type)
    metas = [meta for meta in found if isinstance(meta, Meta)]
    description = next(meta.description for meta in reversed(metas) if meta.description)
    bounds = "; ".join(_bounds(metas) or _bounds(_of_each(wanted)))
    variable = ENV_PREFIX + path.replace(".", "__").upper()
    yield f"### `{path}`\n"
    yield f"- {_shown(description)}"
    yield f"- type: {_type(wanted, path)}" + (f"; {bounds}" if bounds else "")
    yield f"- default: {_default(field.default)}"
    yield f"- why: {_shown(why)}"
    yield f"- environment: `{variable}`" + (f", or `{variable}_FILE`" if wanted is SecretSpec else "") + "\n"


def _shown(text: str) -> str:
    """Return text as Markdown: angle brackets do not become HTML, and the name of a page becomes a link."""
    return re.sub(r"\b([a-z-]+\.md)\b", r"[\1](\1)", text.replace("<", "\\<").replace("*", "\\*"))


def _type(annotation: Any, path: str) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in arguments)
    if origin is tuple:
        return f"list, each a {_type(_bare(arguments[0]), path)}"
    if origin in (types.UnionType, Union):
        return _type(arguments[0], path)
    unit = next((text for suffix, text in _UNITS.items() if path.endswith(suffix)), "")
    return _TYPES[annotation] + (f" of {unit}" if unit else "")


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _of_each(annotation: Any) -> list[Meta]:
    """Return the bounds of a list's members."""
    members = get_args(annotation)[:1] if get_origin(annotation) is tuple else ()
    return [meta for member in members for meta in get_args(member)[1:]]


def _default(value: object) -> str:
    match value:
        case None | SecretSpec(given=()):
            return "not set"
        case SecretSpec(given=(text, *_)):
            return f"`{text}`"
        case tuple():
            return f"`{','.join(str(member) for member in value)}`"
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float():
            return f"`{value:g}`" if isinstance(value, float) else f"`{value}`{_size(value)}"
    return f"`{value}`"


def _bounds(metas: list[Meta]) -> list[str]:
    found = []
    for meta in metas:
        limits = (
            ("at least", meta.ge),
            ("above", meta.gt),
            ("at most", meta.le),
            ("characters or members: at least", meta.min_length),
        )
        found += [f"{how} {limit}{_size(limit)}" for how, limit in limits if limit is not None]
        found += [f"`{meta.pattern}`"] if meta.pattern else []
    return found


def _size(number: float) -> str:
    """Return a size in KiB, MiB or GiB, to stand after the number; empty where it is not a whole one of these."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if number >= 1 << power and number % (1 << power) == 0:
            return f" ({int(number) >> power} {unit})"
    return ""
