"""Whether a document can be read, in half of the time of reading it: nothing is kept, merged or converted.

Each reading has a plain shape beside it, in which a number is only looked at. What the plain shape takes the reading
would take; on anything else the reading itself decides, so there is one law and one error.
"""

from decimal import Decimal
from functools import cache
from types import NoneType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from schemas.fields import Reading, decode, number

_UNDECIDED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ArithmeticError)


class _Number:
    """A number in a plain shape."""


_GOOD: Final = _Number()
_exact: Final = cache(msgspec.json.Decoder[Reading])


def check(shape: type[Reading], data: bytes) -> None:
    """Decide whether data can be read.

    Raises:
        Unreadable: as reading it would.
    """
    try:
        _plain(shape).decode(data)
    except _UNDECIDED:
        decode(_exact(shape), data)


@cache
def _plain(shape: type[Reading]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_struct(shape), dec_hook=_look, float_hook=Decimal)


def _look(_: type[Any], value: Any) -> _Number:
    kind = type(value)
    if kind is int or kind is Decimal:
        number(value, "", False)
        return _GOOD
    raise ValueError("text, perhaps of a number, or none at all")


@cache
def _struct(shape: type[Reading]) -> type[msgspec.Struct]:
    names = zip(shape.__struct_fields__, shape.__struct_encode_fields__, strict=True)
    hints = get_type_hints(shape)
    fields = [
        (f"at_{at}", _field(hints[name]), msgspec.field(default=None, name=key)) for at, (name, key) in enumerate(names)
    ]
    return msgspec.defstruct(shape.__name__, fields, gc=False)


def _field(hint: Any) -> Any:
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        return tuple[_field(inner[0]), ...]  # type: ignore[misc]  # made at run time
    if Decimal in inner:  # an object in a number's place is left to the reading
        return _Number | None if NoneType in inner else _Number
    if inner:
        return Union[tuple(map(_field, inner))]  # noqa: UP007  # of a tuple
    return _struct(hint) if isinstance(hint, type) and issubclass(hint, Reading) else hint
