"""What operators see and write: alarms, archive entries, clock differences, times."""
