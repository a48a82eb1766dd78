"""Imports aiohttp and structlog without parts that we do not need, which would take a quarter of the start.

Neither library is changed. If a program has imported either before, it has the complete library, and all works the
same.
"""

import gc
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

NEW_OBJECTS: Final = 50_000  # the default 700 makes 200 collections, some of them full, that find almost no garbage


def import_them() -> None:
    """Import them; call this before any other module imports them."""
    gc.set_threshold(NEW_OBJECTS)
    with _set_to(sys.modules, "rich", None):  # structlog imports rich if it is there, for tracebacks that we do not use
        import structlog  # noqa: F401, PLC0415
    # aiohttp reads all system certificates twice for its own TLS contexts; `new_session` brings its own context.
    with _set_to(os.environ, "SSL_CERT_FILE", os.devnull):
        import aiohttp  # noqa: F401, PLC0415


@contextmanager
def _set_to(where: MutableMapping[str, Any], key: str, value: Any) -> Iterator[None]:
    before = dict(where)
    where[key] = value
    try:
        yield
    finally:
        del where[key]
        if key in before:
            where[key] = before[key]
