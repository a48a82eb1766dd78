"""The steps of an event's way, a module for each: where decisions (core) and effects (adapters) meet."""
