"""Where the daemons take their time, their random numbers and their ids from."""

from typing import Final

from zenoti_ingest.adapters.chance import SystemChance, SystemIds
from zenoti_ingest.adapters.clock import SystemClock
from zenoti_ingest.stages.ports import Runtime

SYSTEM: Final = Runtime(SystemClock(), SystemChance(), SystemIds())
