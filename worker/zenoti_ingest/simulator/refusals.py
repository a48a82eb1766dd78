"""Zenoti's error answers: the codes of its error table, as a status or inside a 200, in each known shape.

It is pure. A refusal has a name, `<code>[/<status>[/<shape>]]`: `500`, `602` (in a 200, since there is no such status),
`418/200/text`. Table: https://docs.zenoti.com/reference/retrieve-invoice-details; shapes: seen by integrators.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

_TEXTS: Final[Mapping[str, str]] = {
    "400": "The request is invalid.",
    "401": "Authorization has been denied for this request.",
    "403": "Forbidden.",
    "404": "No HTTP resource was found that matches the request.",
    "405": "The requested resource does not support http method 'GET'.",
    "418": "couldn't find invoice with the id provided",
    "429": "The quota of API calls is used up.",
    "438": "cannot access.",
    "500": "An error has occurred.",
    "502": "Bad gateway.",
    "503": "Service unavailable.",
    "504": "Gateway time-out.",
    "602": "User does not have access.",
}
_UNKNOWN: Final = "An error has occurred."

SHAPES: Final[Mapping[str, Callable[[int | str, str], dict[str, Any]]]] = {
    "error": lambda code, text: {"invoice": None, "error": {"code": code, "message": text}},
    "text": lambda code, text: {"invoice": None, "error": {"code": str(code), "message": text}},
    "Error": lambda code, text: {"Error": {"StatusCode": code, "Message": text}},
    "bare": lambda code, text: {"code": code, "message": text},
    "StatusCode": lambda code, text: {"StatusCode": code, "Message": text, "InternalMessage": None},
    "Message": lambda _, text: {"Message": text},  # ASP.NET's own: only the status shows the code
}
_NAME: Final = re.compile(r"(?P<code>\d{3}|[A-Z]{2}\d{3})(?:/(?P<status>[2-9]\d\d)(?:/(?P<shape>\w+))?)?")
_STATUSES: Final = range(400, 600)
_IN_A_200: Final = 200


class ApiRefusal(NamedTuple):
    """A status and a JSON body."""

    status: int
    body: bytes


def refusal(name: str, *, text: str = "") -> ApiRefusal:
    """The refusal of that name, with the vendor's text or `text`.

    Raises:
        ValueError: there is no such name.
    """
    found = _NAME.fullmatch(name)
    shape = SHAPES.get((found["shape"] if found else None) or "error")
    if found is None or shape is None:
        raise ValueError(f"no refusal is called {name}")
    code = int(found["code"]) if found["code"].isdecimal() else found["code"]
    status = int(found["status"] or (code if code in _STATUSES else _IN_A_200))
    return ApiRefusal(status, msgspec.json.encode(shape(code, text or _TEXTS.get(found["code"], _UNKNOWN))))


def is_refusal(name: str) -> bool:
    """Whether there is a refusal of that name."""
    try:
        refusal(name)
    except ValueError:
        return False
    return True
