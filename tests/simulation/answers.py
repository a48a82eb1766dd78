"""What the simulated API can answer: all rows and shapes of the vendor's error table, gateways, cuts, odd good answers.

Each behaviour says what is true of it, so that a checker can tell whether a dead letter's reason is. It is
written from the vendor's facts, not from `core/invoices/protocol.py`. Pure: bytes in, bytes out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from random import Random
from typing import Final

import msgspec

from zenoti_ingest.core.failures.errors import ApiUnavailable
from zenoti_ingest.core.invoices.protocol import Response
from zenoti_ingest.simulator.refusals import SHAPES, refusal

JSON: Final[Mapping[str, str]] = {"content-type": "application/json"}
OTHER_ID: Final = "0ffe12ed-0000-4000-8000-00000000beef"
TIMES_OUT: Final = 1e6  # seconds: longer than anybody waits
OK, SLOW, HANG, UNREACHABLE, THROTTLED = "ok", "slow", "hang", "unreachable", "429"

Outcome = Response | ApiUnavailable
Answer = Callable[[bytes], Outcome]


class Truth(Enum):
    """What an answer says of the invoice that was asked for."""

    GOOD = "here it is"
    PERMANENT = "never: no later call can succeed"
    LATER = "not now: it may be a race or a time-out of theirs, so a few attempts come first"
    TRANSIENT = "the API failed: a later call may succeed"
    NOTHING = "nothing: a gateway spoke, the key was refused, or the quota is spent"


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """A way to answer.

    Attributes:
        family: what kind of trouble it is, for tables and for even draws.
        truth: what it says of the invoice.
        reason: of the dead letter that an event gets if this, and only for its invoice, lasts; empty: none is due.
        answer: of the correct document, what comes back.
        seconds: how long the API takes for it beyond its usual time: at least, at most.
    """

    family: str
    truth: Truth
    reason: str = ""
    answer: Answer
    seconds: tuple[float, float] = (0.0, 0.0)

    def attempts(self, *, few: int, most: int) -> int:
        """How many attempts come before that dead letter; `few` and `most` as the source's ladder has them."""
        match self.truth:
            case Truth.GOOD | Truth.PERMANENT:
                return 1
            case Truth.LATER:
                return min(few, most)
            case Truth.TRANSIENT | Truth.NOTHING:
                return most


def _refusing(name: str) -> Answer:
    refused = refusal(name)
    response = Response(refused.status, JSON, refused.body)
    return lambda _: response


def _page(status: int, kind: str, body: bytes) -> Answer:
    response = Response(status, {"content-type": kind, "location": "/login"}, body)
    return lambda _: response


def _fails(text: str) -> Answer:
    return lambda _: ApiUnavailable(text)


def _says(change: Callable[[bytes], bytes], status: int = 200) -> Answer:
    return lambda document: Response(status, JSON, change(document))


def _beside(text: bytes) -> Answer:
    """The good answer, with something else in the place of its error."""
    return _says(lambda document: document.replace(b'"error":null', text))


def _another(document: bytes) -> bytes:
    """The same document, of another invoice: the first `"id"` is the invoice's own."""
    head, _, rest = document.partition(b'"id":"')
    return head + b'"id":"' + OTHER_ID.encode() + rest[rest.index(b'"') :]


_CODED: Final = [shape for shape in SHAPES if shape != "Message"]  # ASP.NET's own has no code inside a 200
_PERMANENT: Final = {
    "access-denied": (
        "602",
        "438",
        "602/400",
        "602/602",
        *(f"{code}/200/{shape}" for code in (602, 438) for shape in _CODED),
    ),
    "defect": ("405", "405/405/Message", *(f"405/200/{shape}" for shape in _CODED)),
    "refused": (
        *("403", "404", "404/404/Message", "410/410/StatusCode", "451/451/Error", "AA102/403", "AA102/404/bare"),
        *(f"{code}/200/{shape}" for code in (403, 409) for shape in _CODED),
    ),
}
_LATER: Final = {
    "invoice-not-found": ("418", "418/418/Message", *(f"418/200/{shape}" for shape in _CODED)),
    "refused": ("400", "AA102/400", "400/400/Message", *(f"400/200/{shape}" for shape in _CODED)),
}
_TRANSIENT: Final = (
    *("500", "502", "503", "503/503/Message", "504", "500/500/StatusCode", "AA102", "418/200/Message"),
    *(f"502/200/{shape}" for shape in _CODED),
    *("408", "421", "425", "407", "423", "408/200/error", "425/425/Message", "407/407/bare"),
)
_KEY: Final = ("401", "401/401/Message", "401/403/Error", *(f"401/200/{shape}" for shape in _CODED))
_PAGES: Final = {
    "html": ("text/html", b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"),
    "text": ("text/plain", b"upstream connect error or disconnect/reset before headers"),
    "empty": ("text/html", b""),
    "json": ("application/json", b'{"status":"blocked","ray":"8a1f","errors":[{"id":7}]}'),
}
_PAGE_STATUSES: Final = (200, 302, 400, 403, 404, 502)


def _refusals() -> Iterator[tuple[str, Behaviour]]:
    for truth, rows in ((Truth.PERMANENT, _PERMANENT), (Truth.LATER, _LATER)):
        for reason, names in rows.items():
            for name in names:
                yield name, Behaviour(family=reason, truth=truth, reason=reason, answer=_refusing(name))
    for name in _TRANSIENT:
        yield name, _passing("server error", _refusing(name))
    for name in _KEY:
        yield name, Behaviour(family="key", truth=Truth.NOTHING, reason="access-denied", answer=_refusing(name))
    for name in (THROTTLED, "429/429/Message", *(f"429/200/{shape}" for shape in _CODED)):
        yield name, Behaviour(family="throttled", truth=Truth.NOTHING, answer=_refusing(name))
    for name, (kind, body) in _PAGES.items():
        for status in _PAGE_STATUSES:
            yield f"{name}/{status}", _passing("gateway", _page(status, kind, body), truth=Truth.NOTHING)


def _passing(
    family: str, answer: Answer, *, seconds: tuple[float, float] = (0.0, 0.0), truth: Truth = Truth.TRANSIENT
) -> Behaviour:
    return Behaviour(family=family, truth=truth, reason="attempts-exhausted", answer=answer, seconds=seconds)


def _failures() -> Iterator[tuple[str, Behaviour]]:
    yield HANG, _passing("no answer", _fails("it hangs"), seconds=(TIMES_OUT, TIMES_OUT))
    yield "drip", _passing("no answer", _says(bytes), seconds=(TIMES_OUT, TIMES_OUT))
    yield "too slow", _passing("no answer", _says(bytes), seconds=(15.0, 40.0))
    yield UNREACHABLE, _passing("unreachable", _fails("unreachable"))  # the caller does not get there
    yield "cut", _passing("cut", _fails("the connection was cut"))
    yield "half-answer", _passing("cut", _fails("the answer was cut in the middle"), seconds=(0.0, 2.0))
    yield "too-large", _passing("cut", _fails("the answer is larger than 5 MiB"), seconds=(0.0, 2.0))
    ways: dict[str, Answer] = {
        "truncated-json": _says(lambda document: document[: len(document) // 2]),
        "another-invoice": _says(_another),
        "no-invoice": _says(lambda _: b'{"invoice":null,"error":null}'),
        "empty-invoice": _says(lambda _: b'{"invoice":{},"error":null}'),
        "unknown-error": _beside(b'"error":"Object reference not set to an instance of an object."'),
    }
    for name, answer in ways.items():
        yield name, _passing("unusable answer", answer)


def _good() -> Iterator[tuple[str, Behaviour]]:
    ways: dict[str, Answer] = {
        "ok": _says(bytes),
        "status 203": _says(bytes, status=203),
        "byte order mark": _says(lambda document: b"\xef\xbb\xbf" + document),
        "half an emoji": _says(lambda document: document.replace(b'"first_name":"', b'"first_name":"\\ud83d')),
        "no id": _says(lambda document: document.replace(b'"id":"', b'"was_id":"', 1)),
        "no error": _says(lambda document: document.replace(b',"error":null', b"")),
        **{
            f"error {word}": _beside(b'"error":' + word.encode())
            for word in ('""', "[]", "false", "{}", "0", '{"code":"","message":""}', '{"code":200.0}')
        },
        'code ""': _beside(b'"error":null,"code":"","message":""'),
        "code 200.0": _beside(b'"code":200.0,"message":"OK"'),
        'code "0"': _beside(b'"code":"0"'),
        "StatusCode 200": _beside(b'"StatusCode":200,"Message":"Success"'),
    }
    for name, answer in ways.items():
        yield name, Behaviour(family="good", truth=Truth.GOOD, answer=answer)
    yield SLOW, Behaviour(family="slow", truth=Truth.GOOD, answer=_says(bytes), seconds=(2.0, 12.0))


BEHAVIOURS: Final[Mapping[str, Behaviour]] = dict([*_good(), *_refusals(), *_failures()])
GOOD: Final = [name for name, behaviour in BEHAVIOURS.items() if behaviour.truth is Truth.GOOD]
# What may hold for the whole API for a while. None of it is an event's fault, so it makes no dead letter.
MODES: Final = [SLOW, *(name for name, each in BEHAVIOURS.items() if each.truth in (Truth.TRANSIENT, Truth.NOTHING))]
# What may hold for one invoice while others are answered. A dead letter with the behaviour's reason is due if it lasts.
SICKNESSES: Final = [name for name, each in BEHAVIOURS.items() if each.reason and name != UNREACHABLE]
DOWN_SECONDS: Final = 300.0  # how long a 503 lasts, by the vendor's page


def drawn(random: Random, names: Sequence[str]) -> str:
    """One of the names; each family has the same chance, however many shapes it comes in."""
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(BEHAVIOURS[name].family, []).append(name)
    return random.choice(families[random.choice(sorted(families))])
