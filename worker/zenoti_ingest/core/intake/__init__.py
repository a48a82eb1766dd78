"""The door's decisions: which requests to admit, when to spool, and which events were confirmed recently."""
