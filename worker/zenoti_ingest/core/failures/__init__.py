"""Kinds of failures, and what happens to the event: retry, hold or dead letter."""
