"""What all readings share: field types, the base class that merges spellings and checks numbers, and the only error.

Nothing here reads a whole document. Every field of a reading is optional: absent and null are None. A field with a
value of another type is UNSET; only the tolerant reading (`zenoti_schemas.downstream`) goes on, strict readings raise.
"""

from collections.abc import Iterator
from decimal import Clamped, Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow, Rounded, Subnormal
from functools import cache
from typing import Annotated, Any, Final, TypeAlias, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta, inspect
from msgspec.structs import astuple, force_setattr

_T = TypeVar("_T")
Maybe: TypeAlias = _T | msgspec.UnsetType | None  # None: absent or null; UNSET: of another type
PERSONAL: Final = Meta(extra={"personal": True})
Personal = Annotated[str, PERSONAL]  # personal data of a guest or an employee; `personal()` lists these fields
Id = Annotated[str, Meta(description="Text: not always a GUID, in any letter case; '' and all zeros mean none.")]
Time = Annotated[
    str,
    Meta(
        description="As received: YYYY-MM-DD, 'T' or a space, hh:mm:ss, up to 7 fractional digits, mostly no zone; "
        "'' and 0001-01-01T00:00:00 mean none."
    ),
]
Money = Annotated[Decimal, Meta(description="Major units of the currency, exact; at most 29 digits.")]
Number = Annotated[int | Decimal, Meta(description="A whole number; 1.0 reads as 1, and a fraction is kept exactly.")]
Switch = bool | int  # true in one document, 1 in another
Unread = msgspec.Raw | msgspec.UnsetType  # any JSON, byte for byte: its shape is not published

# The range of the vendor's own type, .NET's decimal. It is checked by decimal signals, without writing out any digit.
_DIGITS: Final = 29
_BOUNDS: Final = Context(
    prec=_DIGITS,
    Emin=1 - _DIGITS,
    Emax=_DIGITS - 1,
    traps=[Clamped, InvalidOperation, Overflow, Inexact, Rounded, Subnormal],
)
_MAX_INT: Final = 10**_DIGITS
_plus: Final = _BOUNDS.plus
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what msgspec raises on bad input


class Unreadable(ValueError):
    """A document is not a JSON object of its kind, or a known field has an impossible value.

    Attributes:
        what: `impossible type`, `number out of bounds` or `not JSON`.
        place: the path of the field, `$.invoice.total_price.tax`. Neither path nor text ever quotes a value.
    """

    def __init__(self, what: str, place: str) -> None:
        super().__init__(f"{what} at {place}")
        self.what = what
        self.place = place


class _OutOfBounds(ValueError):
    def __init__(self, field: str) -> None:
        super().__init__("out of bounds")
        self.field = field


class Reading(msgspec.Struct, frozen=True):
    """A tolerant reading of a vendor's object: unknown fields are not an error.

    A field whose name begins with `_` is another spelling of the field without it; it is merged after decoding, and is
    then None. The first spelling with a value counts. Readings are not made for writing them out again.
    """

    def __post_init__(self) -> None:
        """Check the numbers, then merge the spellings.

        Raises:
            ValueError: a number is out of bounds.
        """
        numbers, spellings = _plan(type(self))
        values = astuple(self)
        for at, name, key, whole in numbers:
            value = values[at]
            if value is not None and (read := number(value, key, whole)) is not value:
                force_setattr(self, name, read)
        for at, other, name in spellings:
            if values[at] is not None:
                value = getattr(self, other)  # its number has been read above
                force_setattr(self, other, None)
                if getattr(self, name) in (None, "", msgspec.UNSET):
                    force_setattr(self, name, value)


@cache
def _plan(cls: type[Reading]) -> tuple[tuple[tuple[int, str, str, bool], ...], tuple[tuple[int, str, str], ...]]:
    """A class's numbers (place, field, JSON name, whether whole), and its other spellings with their fields."""
    kinds = {name: leaves(hint) for name, hint in get_type_hints(cls).items()}
    keys = zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)
    numbers = tuple(
        (at, name, key, int in kinds[name]) for at, (name, key) in enumerate(keys) if Decimal in kinds[name]
    )
    spellings = tuple(
        (at, name, name.strip("_")) for at, name in enumerate(cls.__struct_fields__) if name.startswith("_")
    )
    return numbers, spellings


def leaves(hint: Any) -> set[Any]:
    """The plain types in an annotation, including those in its tuples and unions."""
    inner = get_args(hint)
    return set().union(*map(leaves, inner)) if inner else {hint}


def number(value: Any, key: str, whole: bool) -> Any:  # noqa: FBT001  # called for every number: positions are faster
    """The number, within bounds; an int if it should be whole and is. Other values are returned unchanged."""
    kind = type(value)
    if kind is Decimal:
        try:
            _plus(value)
        except DecimalException:
            raise _OutOfBounds(key) from None
        if not value.is_finite():
            raise _OutOfBounds(key)
        return int(value) if whole and value == value.to_integral_value() else value
    if kind is int and not -_MAX_INT < value < _MAX_INT:
        raise _OutOfBounds(key)
    return tuple(number(item, key, whole) for item in value) if kind is tuple else value


def decode(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    """Decode; translate every error into the only error that readers raise.

    Raises:
        Unreadable: the data is not JSON, or has an impossible value.
    """
    try:
        return decoder.decode(data)
    except UNREADABLE as error:
        raise Unreadable(*_fault(error)) from None  # msgspec's own text can contain a value


def _fault(error: Exception) -> tuple[str, str]:
    text = str(error)
    _, found, place = text.removesuffix("`").rpartition(" - at `$")
    place = "$" + place if found and text.endswith("`") else "$"
    if isinstance(error.__cause__, _OutOfBounds):
        return "number out of bounds", f"{place}.{error.__cause__.field}"
    return "impossible type" if isinstance(error, msgspec.ValidationError) else "not JSON", place


def personal(shape: type[msgspec.Struct]) -> frozenset[str]:
    """The personal fields of a shape, as paths of JSON names: `invoice.guest.first_name`, `members[].name`."""
    return frozenset(path for path, marked in _paths(inspect.type_info(shape), "") if marked)


def _paths(node: inspect.Type, path: str) -> Iterator[tuple[str, bool]]:
    match node:
        case inspect.Metadata():
            yield path, bool((node.extra or {}).get("personal"))
            yield from _paths(node.type, path)
        case inspect.UnionType():
            for inner in node.types:
                yield from _paths(inner, path)
        case inspect.VarTupleType():
            yield from _paths(node.item_type, path + "[]")
        case inspect.StructType():
            for field in node.fields:
                yield from _paths(field.type, f"{path}.{field.encode_name}".lstrip("."))
        case _:
            return
