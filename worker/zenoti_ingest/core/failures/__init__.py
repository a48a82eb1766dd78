"""What a failure is, and what becomes of the event."""
