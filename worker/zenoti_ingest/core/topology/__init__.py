"""What must be on the broker, how it is named, and what to do where it differs."""
