"""What an event is: from bytes to an event, its key, its trace, and the CloudEvent it becomes."""
