"""What the door decides: whom to admit, when to spool, what was confirmed lately."""
