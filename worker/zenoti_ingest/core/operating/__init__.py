"""What an operator sees: alarms, letters, times."""
