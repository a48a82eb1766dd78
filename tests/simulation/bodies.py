"""What Zenoti posts: events of every documented type in the vendor's shapes, and hostile bodies; each with its fate.

Ids and types are computed here from the documented rules, not by the code that is tested. Pure: a `Random` decides.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from random import Random
from typing import Final

import msgspec

from tests.strange import ENRICHED, Strange, strange
from zenoti_ingest.core.events.messages import Received
from zenoti_ingest.core.events.reading import read
from zenoti_ingest.core.intake.admission import Rule
from zenoti_ingest.simulator.webhooks import SIGNATURE_HEADER, sign
from zenoti_ingest.simulator.world import World

Headers = tuple[tuple[str, str], ...]

DELETIONS: Final = (".delete", ".deleted")
STRANGE_INVOICES: Final = ("i-1", "7448")  # those that the bodies of `tests.strange` name
_NOW: Final = datetime(2031, 5, 6, tzinfo=UTC)
_SEED: Final = 5
TOO_DEEP: Final = 3000
MORE_LEVELS: Final = 20  # around it in an event
_NOT_IN_A_KEY: Final = re.compile(r"[^a-z0-9._-]")
_CHANGE: Final = {"Invoice.Closed": "closed", "AppointmentGroup.Created": "opened"}


class Fate(Enum):
    """What must become of a request; the reason of a dead letter stands after the colon."""

    DELIVERED = "delivered"
    MALFORMED = "dead:malformed"
    TOO_LARGE = "dead:too-large"
    REFUSED = "refused"
    PING = "ping"


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """A request to the door.

    Attributes:
        kind: what it is, for tables: the vendor's event type, or what is odd about it.
        body: the bytes on the wire.
        headers: in order, a name may repeat.
        path_type: the event type in the path; empty: none.
        tokens: the tokens of the query.
        fate: what must become of it.
        event_id: `eventid` as it comes out; None: none.
        cloud_id: `id` as it comes out, the same for each copy, and different for any other event.
        type: as in the routing key.
        invoice_id: as the event spells it; None: it names none.
        plain: `data.event` as it comes out, byte for byte.
        change: what happened to the invoice, one of `papers.CHANGES`; empty: nothing.
        is_copy: Zenoti sends it a second time.
    """

    kind: str
    body: bytes
    headers: Headers = ()
    path_type: str = ""
    tokens: tuple[str, ...] = ()
    fate: Fate = Fate.DELIVERED
    event_id: str | None = None
    cloud_id: str = ""
    type: str = "unknown"
    invoice_id: str | None = None
    plain: bytes = b""
    change: str = ""
    is_copy: bool = False

    @property
    def status(self) -> str:
        """`data.enrichment.status` as it comes out, where a receiver wants its type and `enrich` is `#`."""
        if self.invoice_id is None:
            return "not_applicable"
        return "skipped" if self.type.endswith(DELETIONS) else "enriched"

    @property
    def wants_invoice(self) -> bool:
        """Whether its invoice is to be fetched."""
        return self.status == "enriched"


PING: Final = Posted(kind="test request", body=b"", fate=Fate.PING)


class Planned(msgspec.Struct, frozen=True):
    """A request, and when it is due, in seconds from the beginning."""

    at: float
    posted: Posted


class Door(msgspec.Struct, frozen=True):
    """How the requests of a source prove where they come from: a signature, a token, both or nothing."""

    secret: bytes = b""
    token: str = ""

    def rule(self) -> Rule:
        """What the intake requires."""
        return Rule(secrets=(self.secret,) if self.secret else (), tokens=(self.token.encode(),) if self.token else ())

    def signed(self, posted: Posted) -> Posted:
        """The request, as Zenoti sends it."""
        headers = tuple(pair for pair in posted.headers if pair[0] != SIGNATURE_HEADER)
        if self.secret:
            headers += ((SIGNATURE_HEADER, sign(self.secret, posted.body)),)
        return msgspec.structs.replace(posted, headers=headers, tokens=(self.token,) if self.token else ())

    @property
    def is_open(self) -> bool:
        """Whether anybody may post."""
        return not (self.secret or self.token)


class _Template(msgspec.Struct, frozen=True):
    event_type: str
    data: bytes
    invoice_id: str


class _Enveloped(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()


@cache
def templates() -> tuple[_Template, ...]:
    """The `data` of every kind of event of the simulator's catalogue, once a Python process."""
    return tuple(
        _Template(event.event_type, bytes(msgspec.json.decode(event.body, type=_Enveloped).data), event.invoice_id)
        for event in World(_SEED).catalogue(now=_NOW)
    )


@cache
def _templates_of(has_invoice: bool) -> tuple[_Template, ...]:  # noqa: FBT001  # a cache's key
    return tuple(each for each in templates() if bool(each.invoice_id) is has_invoice)


@cache
def strange_bodies() -> tuple[Posted, ...]:
    """Those of `tests.strange`, read by the real code when this is called first."""
    return tuple(_of_strange(each) for each in strange())


def _of_strange(each: Strange) -> Posted:
    event = read(Received(body=each.plain, source="main", receipt_id="", received_at=""))
    return Posted(
        kind=f"strange: {each.name}",
        body=each.body,
        headers=(("Content-Encoding", each.encoding),) if each.encoding else (),
        event_id=event.event_id,
        cloud_id=event.id,
        type=each.key.partition(".")[2],
        invoice_id=event.invoice_id if each.status == ENRICHED else None,
        plain=each.plain,
    )


def normal(event_type: str) -> str:
    """The type as in the routing key."""
    return _NOT_IN_A_KEY.sub("-", event_type.strip().lower())


def cloud_id(event_id: str | None, event_type: str, data: bytes, body: bytes) -> str:
    """The id of what comes out, by the rule of docs/delivery.md."""
    if event_id is None:
        return "sha256:" + hashlib.sha256(body).hexdigest()
    digest = hashlib.sha256(normal(event_type).encode() + b"\0" + data)
    return f"{event_id}.{digest.hexdigest()[:16]}"


class Bodies:
    """Makes the requests of a world.

    Args:
        random: decides everything.
        invoices: how many invoices the events are about.
        door: how they are signed.
        limit: the largest body that the broker takes, in bytes.

    Attributes:
        invoice_ids: the invoices, in lower case.
        limit: as given.
        door: as given.
    """

    def __init__(self, random: Random, *, invoices: int, door: Door | None = None, limit: int = 65_536) -> None:
        self._random, self.door, self.limit = random, door or Door(), limit
        self.invoice_ids = [self._guid() for _ in range(invoices)]
        self._made = 0

    def event(self, *, has_invoice: bool | None = None) -> Posted:
        """An ordinary event, with or without an invoice; None: three in four have one."""
        if has_invoice is None:
            has_invoice = self._random.random() < 0.75
        template = self._random.choice(_templates_of(has_invoice))
        data, invoice_id = self._data(template)
        odds = self._random.random()
        if odds < 0.04:
            return self._bare(template.event_type, data, invoice_id)
        time = b'"event_timestamp":"2031-05-06T07:08:09.1234567Z",' if odds < 0.9 else b""
        return self._enveloped(template.event_type, data, invoice_id, more=time)

    def hostile(self, name: str = "") -> Posted:
        """A body that is odd, wrong or dangerous: one of HOSTILE, or drawn; each kind has the same chance."""
        kind = name or self._random.choice(list(HOSTILE))
        return self.door.signed(HOSTILE[kind](self, kind))

    def again(self, posted: Posted) -> Posted:
        """The same event a second time: the same bytes, or another delivery id around the same event."""
        body = posted.body
        if posted.plain == body and body.startswith(b'{"id":"') and self._random.random() < 0.5:
            body = b'{"id":"' + self._hex(24) + body[31:]
        copy = msgspec.structs.replace(posted, body=body, plain=body if posted.plain == posted.body else posted.plain)
        return self.door.signed(msgspec.structs.replace(copy, is_copy=True, change=""))

    def twin(self, posted: Posted) -> Posted:
        """Another real event with the same `event_id` and type: the vendor's page allows it. Both must come out."""
        found = next((each for each in templates() if each.event_type == posted.kind and each.invoice_id), None)
        template = found or self._random.choice(_templates_of(False))
        data, invoice_id = self._data(template)
        return self._enveloped(template.event_type, data, invoice_id, event_id=posted.event_id)

    def forged(self) -> Posted:
        """A stranger's event, which the door must refuse. The door must not be open to everybody."""
        posted = msgspec.structs.replace(self.event(), fate=Fate.REFUSED, change="")
        ways: list[Posted] = []
        if self.door.token:
            ways += [msgspec.structs.replace(posted, tokens=tokens) for tokens in ((), ("wrong",))]
        if self.door.secret:
            good = sign(self.door.secret, posted.body)
            values: tuple[tuple[str, ...], ...] = (
                *((), ("",), ("sha256 =",), ("\udcff\u20ac",), (good, good), (good[:-1] + "g",)),
                *((sign(b"wrong", posted.body),), (sign(self.door.secret, posted.body + b" "),)),
            )
            ways += [
                msgspec.structs.replace(posted, headers=tuple((SIGNATURE_HEADER, each) for each in given))
                for given in values
            ]
        return self._random.choice(ways)

    def _data(self, template: _Template) -> tuple[bytes, str | None]:
        """The template's data, about an invoice of this world, and unlike all data before."""
        self._made += 1
        data = b'{"occurrence":%d,' % self._made + template.data[1:]
        if not template.invoice_id:
            return data, None
        if template.event_type.lower().endswith(DELETIONS):
            invoice_id = self._guid()  # nothing else is about it: whoever fetches it later does not find it
        else:
            invoice_id = self._random.choice(self.invoice_ids)
        if self._random.random() < 0.2:
            invoice_id = invoice_id.upper()
        return data.replace(template.invoice_id.encode(), invoice_id.encode()), invoice_id

    def _enveloped(
        self,
        event_type: str,
        data: bytes,
        invoice_id: str | None,
        *,
        event_id: str | None = None,
        more: bytes = b"",
        kind: str = "",
    ) -> Posted:
        event_id = event_id or self._hex(24).decode()
        body = (
            b'{"id":"%s","event_id":"%s","event_schema":"v1","event_resource":null,"event_type":"%s",%s"data":%s}'
            % (*(self._hex(24), event_id.encode(), event_type.encode(), more, data),)
        )
        posted = Posted(
            kind=kind or event_type,
            body=body,
            event_id=event_id,
            cloud_id=cloud_id(event_id, event_type, data, body),
            type=normal(event_type),
            invoice_id=invoice_id,
            plain=body,
            change=_change(event_type, data) if invoice_id else "",
        )
        return self.door.signed(posted)

    def _bare(self, event_type: str, data: bytes, invoice_id: str | None) -> Posted:
        """The inner object alone; the path says the type."""
        posted = Posted(
            kind=f"bare {event_type}",
            body=data,
            path_type=event_type,
            cloud_id=cloud_id(None, event_type, data, data),
            type=normal(event_type),
            invoice_id=invoice_id,
            plain=data,
            change=_change(event_type, data) if invoice_id else "",
        )
        return self.door.signed(posted)

    def guest(self, kind: str, *, note: bytes = b"null", more: bytes = b"") -> Posted:
        """An event without an invoice, with something in it."""
        return self._enveloped("Guest.Created", b'{"id":"g-1","note":%s}' % note, None, kind=kind, more=more)

    def closed(self, kind: str, *, note: bytes) -> Posted:
        """An event with an invoice, with something in it."""
        invoice_id = self._random.choice(self.invoice_ids)
        data = b'{"invoice":{"id":"%s"},"note":%s}' % (invoice_id.encode(), note)
        return self._enveloped("Invoice.Closed", data, invoice_id, kind=kind)

    def sized(self, kind: str, size: int) -> Posted:
        """An honest event of so many bytes, or a little more."""
        least = len(self.guest(kind, note=b'""').body)
        return self.guest(kind, note=b'"%s"' % (b"x" * max(0, size - least)))

    def packed(self, kind: str, encoding: str, pack: Callable[[bytes], bytes]) -> Posted:
        """A compressed event."""
        posted = self.closed(kind, note=b'"%s"' % self._hex(40))
        return _wire(posted, pack(posted.body), encoding)

    def named(self, kind: str, value: bytes) -> Posted:
        """An event whose invoice id cannot be used in a URL."""
        data = self._random.choice((b'{"invoice":{"id":%s}}', b'{"invoice_id":%s}')) % value
        return _dead(self._enveloped("Invoice.Closed", data, None, kind=kind))

    def choice(self, values: tuple[bytes, ...]) -> bytes:
        """One of these."""
        return self._random.choice(values)

    def beyond(self, kind: str, *, by: int) -> Posted:
        """An honest event that exceeds the broker's limit by so much; a negative number: only once it is wrapped."""
        return _dead(self.sized(kind, self.limit + by), Fate.TOO_LARGE)

    def inflating(self, kind: str) -> Posted:
        """A small body that is too large once inflated."""
        posted = self.sized(kind, self.limit + 1)
        return _dead(_wire(posted, _gzip(posted.body), "gzip"), Fate.TOO_LARGE)

    def strange(self) -> Posted:
        """One of `tests.strange`; the same may come twice, and is a duplicate then."""
        return self._random.choice(strange_bodies())

    def _guid(self) -> str:
        digits = self._hex(32).decode()
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def _hex(self, digits: int) -> bytes:
        return b"%0*x" % (digits, self._random.getrandbits(4 * digits))


def _change(event_type: str, data: bytes) -> str:
    return "refunded" if b'"is_refund":true' in data else _CHANGE.get(event_type, "changed")


def _wire(posted: Posted, body: bytes, encoding: str = "") -> Posted:
    """The same event, in other bytes on the wire."""
    headers = (("Content-Encoding", encoding),) if encoding else ()
    return msgspec.structs.replace(posted, body=body, headers=headers)


def _dead(posted: Posted, fate: Fate = Fate.MALFORMED) -> Posted:
    return msgspec.structs.replace(posted, fate=fate, change="")


def _raw(kind: str, body: bytes, encoding: str = "") -> Posted:
    """Bytes that are no JSON."""
    return _dead(_wire(Posted(kind=kind, body=b""), body, encoding))


def _broken(bodies: Bodies, kind: str, spoil: Callable[[bytes], bytes], encoding: str = "") -> Posted:
    """An event that was spoilt on its way."""
    return _raw(kind, spoil(bodies.guest(kind).body), encoding)


def _packing(encoding: str, pack: Callable[[bytes], bytes]) -> Callable[[Bodies, str], Posted]:
    return lambda bodies, kind: bodies.packed(kind, encoding, pack)


def _noting(note: bytes) -> Callable[[Bodies, str], Posted]:
    return lambda bodies, kind: bodies.closed(kind, note=note)


def _spoiling(spoil: Callable[[bytes], bytes], encoding: str = "") -> Callable[[Bodies, str], Posted]:
    return lambda bodies, kind: _broken(bodies, kind, spoil, encoding)


def _not_json(*bodies_: bytes, encoding: str = "") -> Callable[[Bodies, str], Posted]:
    return lambda bodies, kind: _raw(kind, bodies.choice(bodies_), encoding)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)  # no wall clock in it


def _deep(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@cache
def _goes_so_deep() -> bool:
    """Whether this Python reads JSON that is nested so deeply: from 3.13 on it does."""
    try:
        msgspec.json.decode(_deep(TOO_DEEP + MORE_LEVELS))
    except RecursionError:
        return False
    return True


def _deepest(posted: Posted) -> Posted:
    return posted if _goes_so_deep() else _dead(posted)


_UNUSABLE: Final = (b'"../../steal"', b'"a b"', b'"x?y=1#z"', b"true", b'{"id":1}', b"1.5", b'"%s"' % (b"a" * 65))

# The bodies that are odd, wrong or dangerous. What each makes says what must become of it.
HOSTILE: Final[Mapping[str, Callable[[Bodies, str], Posted]]] = {
    "gzip": _packing("gzip", _gzip),
    "deflate": _packing("deflate", zlib.compress),
    "two layers": _packing("deflate, gzip", lambda body: _gzip(zlib.compress(body))),
    "called gzip, but plain": _packing("gzip", bytes),
    "unknown encoding, but plain": _packing("br", bytes),
    "byte order marks": _packing("", lambda body: b"\xef\xbb\xbf" * 2 + body),
    "half an emoji": _noting(b'"cut \\ud83d"'),
    "1e400": _noting(b"[1e400,-1e999999,0.10]"),
    "deep": _noting(_deep(400)),
    "escapes": _noting(rb'"a\u0000\u001b[31m\\\"\u2028\r\n"'),
    "wrong types": lambda bodies, kind: bodies.guest(kind, note=b"{}", more=b'"event_timestamp":7,"newer":[],'),
    "no such time": lambda bodies, kind: bodies.guest(kind, more=b'"event_timestamp":"2031-02-31T25:61:00Z",'),
    "strange": lambda bodies, _: bodies.strange(),
    "large": lambda bodies, kind: bodies.sized(kind, bodies.limit // 2),
    "beyond the broker's limit": lambda bodies, kind: bodies.beyond(kind, by=1),
    "beyond it once wrapped": lambda bodies, kind: bodies.beyond(kind, by=-200),
    "beyond it once inflated": lambda bodies, kind: bodies.inflating(kind),
    "too deep": lambda bodies, kind: _deepest(bodies.closed(kind, note=_deep(TOO_DEEP))),
    "NaN": lambda bodies, kind: _dead(bodies.closed(kind, note=b"NaN")),
    "unusable id": lambda bodies, kind: bodies.named(kind, bodies.choice(_UNUSABLE)),
    "no JSON": _not_json(b" ", b"event=closed&id=7", b"<event/>", b"{'id': 1}"),
    "unknown compression": _not_json(b"\x28\xb5\x2f\xfd\x04\x00A", encoding="zstd"),
    "cut off": _spoiling(lambda body: body[:-9]),
    "not UTF-8": _spoiling(lambda body: body.replace(b"g-1", b"\xff\xfe")),
    "UTF-16": _spoiling(lambda body: body.decode().encode("utf-16")),
    "a comma too many": _spoiling(lambda body: body[:-1] + b",}"),
    "broken gzip": _spoiling(lambda body: _gzip(body)[:-12], "gzip"),
}


def plan(random: Random, bodies: Bodies, *, shape: str, events: int, seconds: float, mix: "Mix") -> list[Planned]:
    """Draw what is posted, and when: so many events within so many seconds, with duplicates, twins and strangers."""
    found = []
    for _ in range(events):
        at = SHAPES[shape](random) * seconds
        posted = bodies.hostile() if random.random() < mix.hostile else bodies.event()
        found.append(Planned(at, posted))
        if random.random() < mix.twice and posted.fate is Fate.DELIVERED:
            found.append(Planned(at + random.uniform(0, 120), bodies.again(posted)))
        can_have_a_twin = posted.fate is Fate.DELIVERED and posted.event_id and not posted.kind.startswith("strange")
        if random.random() < mix.twins and can_have_a_twin:
            found.append(Planned(at + random.uniform(0, 120), bodies.twin(posted)))
        if random.random() < mix.forged and not bodies.door.is_open:
            found.append(Planned(at, bodies.forged()))
        if random.random() < mix.tests:
            found.append(Planned(at, PING))
    return sorted(found, key=lambda planned: planned.at)


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the events: hostile bodies, sent twice, with a twin of the same id, beside a forged one, a test."""

    hostile: float = 0.0
    twice: float = 0.05
    twins: float = 0.02
    forged: float = 0.02
    tests: float = 0.01


# How events spread over a world's time, from 0 to 1.
SHAPES: Final[Mapping[str, Callable[[Random], float]]] = {
    "quiet night": Random.random,
    "closing time": lambda random: random.triangular(0.0, 1.0, 0.8),
    "backlog": lambda random: random.random() / 100,
    "bursts": lambda random: (random.randrange(4) + random.random() / 50) / 4,
}
