"""aiohttp and structlog, imported without what each loads for others' sake: a quarter of a start.

Neither is changed. Whoever has imported one before has it whole, and all works as it does here.
"""

import gc
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

NEW_OBJECTS: Final = 50_000  # by default 700: 200 looks, a few at all there is, and next to nothing of it is garbage


def import_them() -> None:
    """Import them, before all else that does."""
    gc.set_threshold(NEW_OBJECTS)
    with _set_to(sys.modules, "rich", None):  # structlog takes it where it is, for tracebacks that are not ours
        import structlog  # noqa: F401, PLC0415
    # aiohttp reads all of the system's certificates, twice, for contexts of its own; `new_session` brings one.
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
