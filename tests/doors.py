"""Doors for tests: the limits of the settings' defaults, but for what a test says."""

from typing import Any

import msgspec

from zenoti_ingest.adapters.http_door import Limits
from zenoti_ingest.settings import IntakeSettings


def limits(**changed: Any) -> Limits:
    """The defaults, with these changed."""
    return msgspec.structs.replace(msgspec.convert(IntakeSettings(), Limits, from_attributes=True), **changed)
