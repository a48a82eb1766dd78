"""The tolerant reading: a value of another type becomes UNSET and its path is noted; everything else is read.

Data that the strict reading accepts costs no more time. If that fails, only the path to the bad field is read again.
"""

from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from zenoti_schemas.fields import UNREADABLE, leaves, number

_T = TypeVar("_T", bound=msgspec.Struct)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])
_exact: Final = cache(msgspec.json.Decoder[Any])


def read(shape: type[_T], data: bytes, *, at: str, unread: list[str]) -> _T | UnsetType:
    """Read an object as far as possible.

    Args:
        shape: a Struct whose fields all have a default.
        data: valid JSON.
        at: the path of the object: `data.invoice`.
        unread: receives the paths of values that could not be read: `data.invoice.invoice_items[3].name`.

    Returns:
        The object; UNSET if the value is not an object.
    """
    found: _T | UnsetType = _value(shape, data, at, unread)
    return found


def _value(hint: Any, data: bytes, at: str, unread: list[str]) -> Any:
    """A field's value; UNSET, with its path added to `unread`, if it has another type."""
    try:
        value = _exact(hint).decode(data)
        return number(value, "", False) if Decimal in leaves(hint) else value
    except (*UNREADABLE, ValueError):
        pass  # read below, as far as possible
    inner = list(_alternatives(hint))
    for shape in inner:
        if data[:1] == b"{" and isinstance(shape, type) and issubclass(shape, msgspec.Struct):
            return _object(shape, data, at, unread)
        if data[:1] == b"[" and get_origin(shape) is tuple:
            return _tuple(get_args(shape)[0], data, at, unread)
    unread.append(at)
    return UNSET


def _object(shape: type[msgspec.Struct], data: bytes, at: str, unread: list[str]) -> msgspec.Struct:
    members = _members.decode(data)
    values = {
        name: _value(hint, bytes(members[key]), f"{at}.{key}" if at else key, unread)
        for name, key, hint in _fields(shape)
        if key in members
    }
    return shape(**values)


def _tuple(hint: Any, data: bytes, at: str, unread: list[str]) -> Any:
    """Every item; UNSET if any item cannot be read at all, since a shorter list would be another list."""
    values = tuple(_value(hint, bytes(item), f"{at}[{n}]", unread) for n, item in enumerate(_items.decode(data)))
    return UNSET if UNSET in values else values


@cache
def _fields(shape: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    hints = get_type_hints(shape, include_extras=True)
    keys = zip(shape.__struct_fields__, shape.__struct_encode_fields__, strict=True)
    return tuple((name, key, hints[name]) for name, key in keys)


def _alternatives(hint: Any) -> Iterator[Any]:
    """The types of a union, without the additions of `Annotated`."""
    inner = get_args(hint)
    if get_origin(hint) is tuple or not inner:
        yield hint
        return
    for alternative in inner:
        yield from _alternatives(alternative)
