"""The embedded store in which events wait while the broker cannot take them."""

from worker.adapters.spool.aside import read as read_aside
from worker.adapters.spool.spool import Item, Spool, SpoolState

__all__ = ["Item", "Spool", "SpoolState", "read_aside"]
