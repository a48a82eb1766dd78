"""The steps of the way, one page each: where decisions (core) and effects (adapters) meet."""
