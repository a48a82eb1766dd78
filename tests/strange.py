r"""Webhooks that are odd in what decides nothing, and must come out: encodings, spellings of JSON, types of fields.

Synthetic. Each stands for a kind; tests read them in the process and post them through the real door.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

BOM: Final = b"\xef\xbb\xbf"
ENRICHED, PLAIN = "enriched", "not_applicable"


class Strange(NamedTuple):
    """One webhook.

    Attributes:
        name: what is odd.
        plain: `data.event` as it comes out.
        body: as it is posted.
        encoding: the header Content-Encoding; empty for none.
        key: the routing key.
        status: of the enrichment.
    """

    name: str
    plain: bytes
    body: bytes
    encoding: str = ""
    key: str = "main.guest.created"
    status: str = PLAIN


def _envelope(name: str, data: bytes, kind: bytes = b'"Guest.Created"', **more: bytes) -> bytes:
    fields = {"event_id": json.dumps(name).encode(), "event_type": kind, "data": data} | more
    return b"{" + b", ".join(b'"%s": %s' % (key.encode(), value) for key, value in fields.items()) + b"}"


def _guest(name: str, **more: bytes) -> bytes:
    return _envelope(name, b'{"id": "g-1", "price": 0.10}', **more)


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def encodings() -> Iterator[Strange]:
    """What a header says and what the body is."""
    for word in (
        "utf-8",
        "UTF8",
        "none",
        "8bit",
        "gzip",
        "x-gzip",
        "deflate",
        "br",
        "gzip, identity",
        " , ",
        "zstd;q=1",
    ):
        plain = _guest(f"plain beside {word}")
        yield Strange(f"readable JSON beside {word!r}", plain, plain, word)
    packed = (
        ("gzip", "gzip", gzip.compress),
        ("x-gzip, upper case, spaces", "  X-GZIP ", gzip.compress),
        ("zlib", "deflate", zlib.compress),
        ("raw deflate", "deflate", _raw_deflate),
        ("gzip called deflate", "deflate", gzip.compress),
        ("zlib called gzip", "gzip", zlib.compress),
        ("identity after", "gzip, identity", gzip.compress),
        ("identity before", "identity,gzip", gzip.compress),
        ("an unknown word beside", "utf-8, gzip", gzip.compress),
        ("two layers", "gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
        ("two layers of two kinds", "deflate, gzip", lambda body: gzip.compress(_raw_deflate(body))),
        ("one layer of two declared", "gzip, gzip", gzip.compress),
        ("two members", "gzip", lambda body: gzip.compress(body[:20]) + gzip.compress(body[20:])),
        ("many members", "gzip", lambda body: b"".join(gzip.compress(bytes([each])) for each in body)),
        ("padding of zeros", "gzip", lambda body: gzip.compress(body) + bytes(100)),
        ("zeros between members", "gzip", lambda b: gzip.compress(b[:9]) + bytes(9) + gzip.compress(b[9:])),
        ("no member behind", "gzip", lambda body: gzip.compress(body) + b"\r\n"),
        ("zeros behind deflate", "deflate", lambda body: zlib.compress(body) + bytes(4)),
        ("marks inside", "gzip", lambda body: gzip.compress(BOM + BOM + body)),
    )  # fmt: skip
    for name, word, pack in packed:
        plain = _guest(name)
        yield Strange(name, plain, pack(plain), word)


def spellings() -> Iterator[Strange]:
    """JSON as others write it."""
    odd = {
        "two byte order marks": (BOM * 2, b'"x"'),
        "half of an emoji": (b"", b'"cut \\ud83d"'),
        "the other half": (b"", b'"\\uDE00 cut"'),
        "halves in the wrong order": (b"", b'"\\ude00\\ud83d"'),
        "a half before an escape": (b"", b'"\\ud83d\\n\\u0041"'),
        "a half before a pair": (b"", b'"\\ud83d\\ud83d\\ude00"'),
        "a half behind backslashes": (b"", b'"\\\\\\ud83d \\\\ud83d"'),
        "a half in a key": (b"", b'{"\\uDBFF": 1}'),
        "a half deep inside": (b"", b'[[{"a": ["\\udfff"]}]]'),
        "a number beyond floats": (b"", b"1e400"),
        "a number of 5000 digits": (b"", b"9" * 5000),
        "a NUL in a text": (b"", b'"a\\u0000b"'),
    }
    for name, (before, value) in odd.items():
        plain = _envelope(name, b'{"id": "g-1", "note": %s}' % value)
        yield Strange(name, plain, before + plain)
        plain = _envelope(f"{name}, invoice", b'{"invoice": {"id": "i-1", "note": %s}}' % value, b'"Invoice.Closed"')
        yield Strange(f"{name}, in an invoice", plain, before + plain, "", "main.invoice.closed", ENRICHED)
        plain = _guest(f"{name}, envelope", id=value)
        yield Strange(f"{name}, in the envelope", plain, before + plain)
    twice = (
        b'{"event_id": 1, "event_id": "twice", "event_type": "A", "event_type": "Guest.Created", "data": 1, "data": {}}'
    )
    yield Strange("a key that comes twice", twice, twice)


def types() -> Iterator[Strange]:
    """Fields of another type."""
    for value in (b"null", b"[]", b'"text"', b"1e400", b"true", b"[1, {}]"):
        plain = _envelope(f"data {value.decode()}", value)
        yield Strange(f"data is {value.decode()}", plain, plain)
    for field in ("event_timestamp", "event_schema", "event_resource", "id", "newer"):
        for value in (b"1", b"1e400", b"{}", b"[null]", b"false"):
            plain = _guest(f"{field} {value.decode()}", **{field: value})
            yield Strange(f"{field} is {value.decode()}", plain, plain)
    for value in (b"7", b"null", b"{}", b'" "', b"true", b"1e400", json.dumps("x" * 201).encode()):
        plain = _guest("", event_id=value)
        yield Strange(f"event_id is {value.decode()[:9]}", plain, plain)
    for value in (b"7", b"null", b'["x"]', b'""'):
        plain = _envelope(f"type {value.decode()}", b'{"id": "g-1"}', value)
        yield Strange(f"event_type is {value.decode()}", plain, plain, "", "main.unknown")
        plain = _envelope(f"shape {value.decode()}", b'{"invoice": {"id": "i-1", "invoice_number": 7}}', value)
        yield Strange(f"event_type is {value.decode()}, shape", plain, plain, "", "main.invoice.closed", ENRICHED)
    for value in (b"[]", b'["\\ud83d"]', b'"text"', b"7", b"null", b"true", b" [1e400] "):
        yield Strange(f"the body is {value.decode()}", value, value, "", "main.unknown")
    for field in INVOICE_FIELDS:
        plain = _envelope(field, b'{"invoice": {"id": "i-1", %s}}' % field.encode(), b'"Invoice.Closed"')
        yield Strange(f"invoice with {field}", plain, plain, "", "main.invoice.closed", ENRICHED)
    for value in (
        b"[]",
        b'"i-1"',
        b"7",
        b"null",
        b"false",
        b"1e400",
        b'{"id": null}',
        b'{"id": "000-0"}',
        b'{"id": 0}',
    ):
        plain = _envelope(f"invoice {value.decode()}", b'{"invoice": %s}' % value, b'"Invoice.Closed"')
        yield Strange(f"invoice is {value.decode()}", plain, plain, "", "main.invoice.closed")
    twice = b'{"invoice": 7, "invoice": {"id": {}, "id": "i-1"}, "invoice_id": [], "invoice_id": null}'
    plain = _envelope("invoice twice", twice, b'"Invoice.Closed"')
    yield Strange("the invoice comes twice", plain, plain, "", "main.invoice.closed", ENRICHED)
    plain = _envelope("number", b'{"invoice": {"id": 7448}}', b'"Invoice.Closed"')
    yield Strange("the invoice's id is a number", plain, plain, "", "main.invoice.closed", ENRICHED)


INVOICE_FIELDS: Final = (
    '"invoice_number": 7448', '"is_closed": "True"', '"lock": {}', '"invoice_date": 1795903595123', '"center_id": 5',
    '"guest": {"mobile_phone": 15550100}', '"guest": []', '"transactions": {}', '"invoice_items": [5]',
    '"invoice_items": [{"quantity": "x"}, {"name": 5}]', '"total_price": {"tax": "NaN"}', '"total_price": 1e999999',
    '"appointments": "none"', '"redemptions": 1e400',
)  # fmt: skip


def strange() -> list[Strange]:
    """All of them; each has an `event_id` of its own, or none."""
    return [*encodings(), *spellings(), *types()]


def decoded(body: bytes) -> Any:
    """As a reader sees it that takes every number."""
    return json.loads(body, parse_int=str, parse_float=str)
