"""The embedded store on disk, in which events wait while the broker cannot take them."""

from zenoti_ingest.adapters.spool.aside import read as read_aside
from zenoti_ingest.adapters.spool.spool import Item, Spool, SpoolLevel

__all__ = ["Item", "Spool", "SpoolLevel", "read_aside"]
