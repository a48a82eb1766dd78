"""The commands of an operator, and the simulator; a module each. They work on an Installation, not on the settings."""
