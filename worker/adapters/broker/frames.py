"""The frames of a publish, in AMQP 0-9-1's bytes (its specification, 2.3.5 and 4.2.6).

pamqp makes a content header out of objects, property by property, in 22 µs; a message of ours has five properties and
short headers of text, and takes 5. Everything rarer is left to pamqp, and a test holds both to be the same.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pamqp.frame
from pamqp import commands as spec
from pamqp import encode

from worker.core.messages import Outgoing

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_BASIC = 60  # class id
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _MESSAGE_ID = 1 << 15, 1 << 14, 1 << 13, 1 << 12, 1 << 7
_PERSISTENT = b"\x02"
_LONGEST_NAME = 128
_start = struct.Struct(">BHI").pack  # type, channel, size of the payload
_content = struct.Struct(">HHQH").pack  # class, weight, size of the body, flags
_long = struct.Struct(">I").pack


def of_publish(message: Outgoing, message_id: str, *, channel: int, most: int) -> list[bytes]:
    """A mandatory, persistent publish: method, content header, body in pieces of `most` bytes.

    Raises:
        TypeError, ValueError, ArithmeticError, struct.error: AMQP cannot carry it as it is.
    """
    body = message.body
    return [
        _method(channel, message.exchange, message.routing_key),
        _header(channel, message, message_id),
        *(
            part
            for at in range(0, len(body), most)
            for part in (_start(_BODY, channel, len(body[at : at + most])), body[at : at + most], _END)
        ),
    ]


def of_ack(tag: int, *, multiple: bool, channel: int) -> bytes:
    """Basic.Ack."""
    return struct.pack(">BHIHHQ?B", 1, channel, 13, _BASIC, 80, tag, multiple, 0xCE)


@lru_cache(maxsize=1024)
def _method(channel: int, exchange: str, routing_key: str) -> bytes:
    return pamqp.frame.marshal(spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True), channel)


def _header(channel: int, message: Outgoing, message_id: str) -> bytes:
    flags, properties = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID, []
    if message.content_type:
        flags |= _CONTENT_TYPE
        properties.append(encode.short_string(message.content_type))
    if message.content_encoding:
        flags |= _CONTENT_ENCODING
        properties.append(encode.short_string(message.content_encoding))
    properties += (_table(message.headers), _PERSISTENT, encode.short_string(message_id))
    payload = _content(_BASIC, 0, len(message.body), flags) + b"".join(properties)
    return _start(_HEADER, channel, len(payload)) + payload + _END


def _table(headers: Mapping[str, Any]) -> bytes:
    """A field table."""
    fields = []
    for name, value in headers.items():
        if type(value) is not str:
            return encode.field_table(dict(headers))
        key, text = name.encode(), value.encode()
        if len(key) > _LONGEST_NAME:
            return encode.field_table(dict(headers))
        fields.append(b"%c%bS%b%b" % (len(key), key, _long(len(text)), text))
    table = b"".join(fields)
    return _long(len(table)) + table
