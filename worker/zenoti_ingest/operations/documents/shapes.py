"""Makes JSON Schema 2020-12 of every public Struct of `schemas`; finds them itself, so a new shape needs no line here.

It corrects what msgspec alone states wrongly or not at all: a Decimal may be a number as well as text, and a default
that is raw bytes cannot be shown. It also adds what a docstring says of a field, and the mark of personal data (a
`Meta` with `extra={"personal": True}`).
"""

import importlib
import inspect
import pkgutil
import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

import zenoti_schemas
from zenoti_schemas import webhook
from zenoti_schemas.downstream import Delivered, DeliveredData, DeliveredEnrichment, DeliveredMessage
from zenoti_schemas.enriched import DATASCHEMA, EnrichedData
from zenoti_schemas.fields import Reading
from zenoti_schemas.webhook import UnknownEvent

Json = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PERSONAL: Final = "x-personal"
_IDS: Final[Mapping[type, str]] = {EnrichedData: DATASCHEMA}
_ATTRIBUTES = re.compile(r"\n\s*Attributes:\n")
_ATTRIBUTE = re.compile(r"\s*(\w+): (.*)")

# What a reader makes of the messages; these shapes never cross a process border.
READERS_OWN = (Delivered, DeliveredData, DeliveredEnrichment, DeliveredMessage, Reading, UnknownEvent)


def public_shapes() -> list[type[msgspec.Struct]]:
    """Return the public Structs of the modules of `schemas`, and all that are named as the data of an event."""
    found: dict[type[msgspec.Struct], None] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(zenoti_schemas.__path__)):
        module = importlib.import_module(f"{zenoti_schemas.__name__}.{name}")
        for word, kind in sorted(vars(module).items()):
            mine = isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
            if mine and kind not in READERS_OWN and not name.startswith("_") and not word.startswith("_"):
                found[kind] = None
    return list(found | dict.fromkeys(event_data().values()))


def event_data() -> Mapping[str, type[msgspec.Struct]]:
    """Return the shape of `data` by event type; empty while `zenoti_schemas.webhook` has no such table."""
    events: Mapping[str, type[msgspec.Struct]] = getattr(webhook, "EVENTS", {})
    return dict(sorted(events.items()))


class Components:
    """The schemas of shapes, each named once, that refer to each other.

    Args:
        ref: what stands before a name in a reference.
        shapes: the wanted shapes; the shapes that they refer to are added.
    """

    def __init__(self, ref: str, shapes: list[type[msgspec.Struct]]) -> None:
        mirror = _Mirror()
        refs, made = msgspec.json.schema_components(
            [mirror.of(shape) for shape in shapes], schema_hook=_hook, ref_template=ref + "{name}"
        )
        self.ref = ref
        self.names = {shape: found["$ref"].removeprefix(ref) for shape, found in zip(shapes, refs, strict=True)}
        self.schemas: dict[str, Json] = {name: _finished(schema) for name, schema in sorted(made.items())}

    def to(self, shape: type[msgspec.Struct]) -> Json:
        """Return a reference to a shape."""
        return {"$ref": self.ref + self.names[shape]}

    def beneath(self, name: str) -> list[str]:
        """Return a name and all names that it refers to."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            if (current := waiting.pop()) not in found:
                found.add(current)
                waiting += [ref.removeprefix(self.ref) for ref in _refs(self.schemas[current])]
        return sorted(found)


def json_schemas(shapes: list[type[msgspec.Struct]] | None = None) -> dict[str, Json]:
    """Return a document for each shape, by name."""
    wanted = public_shapes() if shapes is None else shapes
    components = Components("#/$defs/", wanted)
    return {
        name: {
            "$schema": DIALECT,
            "$id": _IDS.get(shape, f"urn:zenoti-ingest:schema:{name}"),
            "$ref": f"#/$defs/{name}",
            "$defs": {other: components.schemas[other] for other in components.beneath(name)},
        }
        for shape, name in components.names.items()
    }


class _Mirror:
    """Makes Structs anew with the same fields, without the defaults that cannot be shown, and with texts and marks."""

    def __init__(self) -> None:
        self._made: dict[type, Any] = {}

    def of(self, kind: type[msgspec.Struct]) -> Any:
        if kind not in self._made:
            self._made[kind] = Any  # a shape within itself is shown as any JSON
            config, fields = kind.__struct_config__, msgspec.structs.fields(kind)
            text, texts = _docstring(kind)
            self._made[kind] = msgspec.defstruct(
                kind.__name__,
                [self._field(field, texts.get(field.name)) for field in fields],
                module=kind.__module__,
                namespace={"__doc__": text, "__qualname__": kind.__qualname__},
                rename={field.name: field.encode_name for field in fields},
                tag=config.tag,
                tag_field=config.tag_field,
                array_like=config.array_like,
                forbid_unknown_fields=config.forbid_unknown_fields,
                frozen=True,  # so that a Struct can be the default of another
                kw_only=True,
            )
        return self._made[kind]

    def _field(self, field: msgspec.structs.FieldInfo, text: str | None) -> tuple[str, Any, Any]:
        hint = self._hint(field.type)
        if _is_personal(field.type):
            hint = Annotated[hint, Meta(extra_json_schema={PERSONAL: True})]
        if text and not _described(field.type):
            hint = Annotated[hint, Meta(description=text)]
        if field.default_factory is not msgspec.NODEFAULT:
            return field.name, hint, msgspec.field(default_factory=field.default_factory)
        if field.default is msgspec.NODEFAULT or _can_be_shown(field.default):
            return field.name, hint, msgspec.field(default=field.default)
        return field.name, Union[hint, msgspec.UnsetType], msgspec.field(default=msgspec.UNSET)  # noqa: UP007  # built

    def _hint(self, hint: Any) -> Any:
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self.of(hint)
        origin, arguments = get_origin(hint), get_args(hint)
        if not arguments or origin is Literal:
            return hint
        if origin is Annotated:
            return Annotated[self._hint(arguments[0]), *arguments[1:]]
        inner = tuple(self._hint(argument) for argument in arguments)
        return Union[inner] if origin in (Union, types.UnionType) else origin[inner]  # noqa: UP007  # built


def _hook(kind: type) -> Json:
    """Return the schema of a type of our own: that of the type which it refines and msgspec knows."""
    return msgspec.json.schema(kind.__mro__[1])


def _can_be_shown(value: Any) -> bool:
    try:
        msgspec.to_builtins(value, str_keys=True)
    except TypeError:
        return False
    return True


def _metas(hint: Any) -> Iterator[Meta]:
    """Yield each `Meta` of an annotation at any depth, but not those within the Structs that it names."""
    for argument in get_args(hint):
        if isinstance(argument, Meta):
            yield argument
        yield from _metas(argument)


def _is_personal(hint: Any) -> bool:
    return any(
        (meta.extra or {}).get("personal") or (meta.extra_json_schema or {}).get(PERSONAL) for meta in _metas(hint)
    )


def _described(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(
        isinstance(meta, Meta) and meta.description for meta in get_args(hint)[1:]
    )


def _docstring(kind: type) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of the whole, and of each attribute. Python strips its indentation from 3.13 on."""
    whole, *rest = _ATTRIBUTES.split(inspect.cleandoc(kind.__doc__ or ""), maxsplit=1)
    texts: dict[str, str] = {}
    name = ""
    for line in "".join(rest).splitlines():
        begins = _ATTRIBUTE.fullmatch(line) if line.startswith(" " * 4) and not line.startswith(" " * 5) else None
        if begins:
            name, texts[begins[1]] = begins[1], begins[2]
        elif name and line.strip():
            texts[name] += f" {line.strip()}"
    return " ".join(whole.split()), texts


def attribute_texts(kind: type) -> dict[str, str]:
    """Return what a class's docstring says of each of its attributes."""
    return _docstring(kind)[1]


def _finished(node: Any) -> Any:
    """Show a Decimal as number or text; set a reference apart from other words, which older dialects would not read."""
    if isinstance(node, list):
        return [_finished(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _finished(value) for key, value in node.items()}
    if made.get("format") == "decimal" and made.get("type") == "string":
        made["type"] = ["number", "string"]
    if "$ref" in made and len(made) > 1:
        made = {"allOf": [{"$ref": made.pop("$ref")}], **made}
    if made.get("required") == []:
        del made["required"]  # draft 4 does not allow an empty list
    return made


def _refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _refs(item)
