"""How much is in hand at once, and which receivers take events."""
