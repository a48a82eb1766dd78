"""Checks hosts and URLs as an operator writes them. It never connects.

The check runs at the start. Without it a wrong host or port shows only at the first connection, as an error of some
library. Faults never quote the address, since a URL can hold a password.
"""

import re
from collections.abc import Collection
from ipaddress import ip_address

from yarl import URL

_MAX_NAME = 253  # RFC 1035
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def host_fault(host: str) -> str:
    """What is wrong with a host name or IP address; empty: nothing. An empty host would mean every address."""
    if not host.strip():
        return "is empty"
    if not _is_printable(host):
        return "holds a blank or a control character"
    try:
        ip_address(host)
    except ValueError:
        return _name_fault(host)
    return ""


def url_fault(text: str, *, schemes: Collection[str]) -> str:
    """What is wrong with a URL; empty: nothing."""
    if not _is_printable(text):
        return "holds a blank or a control character, which a URL spells with %"
    try:
        url = URL(text)
        host, port = url.host or "", url.explicit_port
    except ValueError:  # the library's text quotes the address
        return f"its host or port is wrong: {_WANTED}"
    if url.scheme not in schemes:
        return f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    if fault := host_fault(host):
        return f"its host {fault}"
    if port == 0:
        return f"its port is wrong: {_WANTED}"
    return "it has a fragment; a # in a password is spelled %23" if "#" in text else ""


_WANTED = "wanted is a name or an address (an IPv6 address in [ ]), and a port of 1 to 65535"


def _is_printable(text: str) -> bool:
    return text.isprintable() and " " not in text


def _name_fault(host: str) -> str:
    wrong = "is not a host name: its labels have 1 to 63 letters, digits, - or _ each, 253 together"
    try:
        name = host.encode("idna").decode()
    except UnicodeError:
        return wrong
    return "" if _NAME.fullmatch(name) and len(name) <= _MAX_NAME else wrong
