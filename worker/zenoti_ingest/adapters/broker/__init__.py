"""RabbitMQ: a supervised connection that publishes with confirms, or consumes and acknowledges each delivery itself.

aio-pika opens connections; publish, consume and ack use aiormq's channel beneath it. We do not use aio-pika's robust
connection: it restores consumers only in some cases, and lets publishes wait for a reconnect without end. Here a lost
connection fails everything on it at once, and its consumers subscribe again.
"""

from zenoti_ingest.adapters.broker.link import Link, LinkState, Prepare
from zenoti_ingest.adapters.broker.subscription import BrokerSubscription

__all__ = ["BrokerSubscription", "Link", "LinkState", "Prepare"]
