"""The resources that senders may use. The numbers come from the settings of the same names, never from here."""

import resource

import msgspec

from zenoti_ingest.telemetry import log

RESERVED_FILES = 64  # for the broker, the spool, logs and the admin listener


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The door's limits, as `worker/zenoti_ingest/settings.py` describes them."""

    max_connections: int
    max_in_flight: int
    max_buffered_bytes: int
    max_body_bytes: int
    max_header_bytes: int
    max_headers: int
    max_line_bytes: int
    header_seconds: float
    body_seconds: float
    keepalive_seconds: float


def connections_possible(wanted: int) -> int:
    """`wanted`, or fewer if the operating system allows fewer files; raises the process's soft limit if necessary."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = wanted if soft == resource.RLIM_INFINITY else min(wanted, max(soft - RESERVED_FILES, 1))
    if possible < wanted:
        log.warning("connections_lowered", wanted=wanted, possible=possible, open_files=soft)
    return possible
