"""RabbitMQ: one supervised connection that publishes with confirms or consumes by hand-settled deliveries.

aio-pika opens connections; publish, consume and ack go over the channel of aiormq beneath it. aio-pika's robust
connection is not used: it restores consumers only in some cases and lets publishes wait for a reconnect without end.
Here a lost connection fails everything on it at once, and whoever consumed subscribes anew.
"""

from zenoti_ingest.adapters.broker.link import Link, LinkState, Prepare
from zenoti_ingest.adapters.broker.subscription import BrokerSubscription

__all__ = ["BrokerSubscription", "Link", "LinkState", "Prepare"]
