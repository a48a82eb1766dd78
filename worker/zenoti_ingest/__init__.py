"""zenoti-ingest: Zenoti's webhooks, enriched and fanned out over RabbitMQ, none lost."""

__version__ = "0.1.0"
