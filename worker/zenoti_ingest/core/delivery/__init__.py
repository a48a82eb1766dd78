"""How many deliveries and bytes a stage holds at once, and which receivers take events."""
