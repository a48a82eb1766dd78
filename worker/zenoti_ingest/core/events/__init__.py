"""From a webhook's bytes to an event, its routing key and trace, and to the CloudEvent that goes out."""
