"""The wire: every shape that crosses a process border, as msgspec Structs and nothing else.

Usable alone by a downstream service: `pip install zenoti-ingest`, then `from schemas.enriched import EnrichedEvent`.
Readers are tolerant (unknown fields are no error); the writer is strict.
"""
