"""The tolerant reading: a field of another type is UNSET and its path is noted; everything else is read.

What the strict reading takes costs nothing more. Where it fails, only the way down to the bad field is read once more.
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
    """Read an object as far as it can be read.

    Args:
        shape: whose fields all have a default.
        data: valid JSON.
        at: the path of the object: `data.invoice`.
        unread: takes the paths of what could not be read: `data.invoice.invoice_items[3].name`.

    Returns:
        The object; UNSET where the value is no object.
    """
    found: _T | UnsetType = _value(shape, data, at, unread)
    return found


def _value(hint: Any, data: bytes, at: str, unread: list[str]) -> Any:
    """A value of a field; UNSET, and its path in `unread`, where it is of another type."""
    try:
        value = _exact(hint).decode(data)
        return number(value, "", False) if Decimal in leaves(hint) else value
    except (*UNREADABLE, ValueError):
        pass  # below, as far as it goes
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
    """Every item; UNSET where one of them cannot be read at all: a shorter list would be another list."""
    values = tuple(_value(hint, bytes(item), f"{at}[{n}]", unread) for n, item in enumerate(_items.decode(data)))
    return UNSET if UNSET in values else values


@cache
def _fields(shape: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    hints = get_type_hints(shape, include_extras=True)
    keys = zip(shape.__struct_fields__, shape.__struct_encode_fields__, strict=True)
    return tuple((name, key, hints[name]) for name, key in keys)


def _alternatives(hint: Any) -> Iterator[Any]:
    """The types of a union, without what `Annotated` adds."""
    inner = get_args(hint)
    if get_origin(hint) is tuple or not inner:
        yield hint
        return
    for one in inner:
        yield from _alternatives(one)
