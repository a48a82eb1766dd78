"""What the operator's commands work on: the parts of one installation, as app builds them from the settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker.management import ManagementApi
from zenoti_ingest.adapters.host import HOST
from zenoti_ingest.adapters.invoice_api import InvoiceApi, new_session
from zenoti_ingest.app.broker import broker_link, broker_vhost, downstreams_of, full_topology, management_api, names_of
from zenoti_ingest.app.sources import Source, invoice_api, require_sources
from zenoti_ingest.core.failures.errors import BrokerUnavailable
from zenoti_ingest.core.topology.declared import Topology
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.settings import Settings
from zenoti_ingest.stages.ports import Clock

CONNECT_SECONDS = 10.0


class Installation:
    """One installation. A command asks it for the parts that it needs, and never reads the settings itself.

    Each part is constructed when it is asked for. So a secret's file that cannot be used stops only those commands
    that need the secret.

    Attributes:
        clock: the operator's.
    """

    def __init__(self, settings: Settings, *, clock: Clock = HOST.clock) -> None:
        self._settings = settings
        self.clock = clock

    @property
    def names(self) -> Names:
        """The names of exchanges and queues."""
        return names_of(self._settings)

    @property
    def topology(self) -> Topology:
        """Every exchange, queue and binding that the installation needs on the broker."""
        return full_topology(self._settings)

    @property
    def daemons_declare(self) -> bool:
        """Whether the daemons declare what is missing on the broker; False: they only verify it."""
        return self._settings.broker.declare

    @property
    def receiver_queues(self) -> dict[str, str]:
        """The queue of each receiver, by the receiver's name."""
        return {receiver.name: receiver.queue for receiver in downstreams_of(self._settings)}

    @property
    def sources(self) -> dict[str, Source]:
        """The sources by name; there may be none."""
        return {name: Source(name, source) for name, source in self._settings.sources.items()}

    @property
    def spool_directory(self) -> Path:
        """Where the intake keeps events that the broker does not take."""
        return Path(self._settings.intake.spool_dir)

    @property
    def vhost(self) -> str:
        """The broker's virtual host.

        Raises:
            WrongSettings: `broker.url_file` cannot be used.
        """
        return broker_vhost(self._settings)

    def require_sources(self) -> dict[str, Source]:
        """Return the sources by name.

        Raises:
            WrongSettings: there is no source.
        """
        require_sources(self._settings)
        return self.sources

    def door_url(self, source: str) -> str:
        """Return the URL to which the webhooks of a source go, on this machine."""
        return f"http://{self._settings.intake.host}:{self._settings.intake.port}/webhooks/{source}"

    def link(self, name: str) -> Link:
        """Return a broker connection that is not yet up; the caller runs it.

        Raises:
            WrongSettings: `broker.url_file` cannot be used.
        """
        return broker_link(self._settings, name=name)

    @asynccontextmanager
    async def connected(self, name: str) -> AsyncIterator[Link]:
        """Yield a broker connection that is up, and close it at the end: for a command that ends by itself.

        Raises:
            BrokerUnavailable: the connection is not up within CONNECT_SECONDS; the error says why.
            WrongSettings: `broker.url_file` cannot be used.
        """
        link = self.link(name)
        running = asyncio.create_task(link.run())
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await link.wait_ready()
        except TimeoutError:
            running.cancel()
            raise BrokerUnavailable(f"no connection within {CONNECT_SECONDS:g} s: {link.state.detail}") from None
        try:
            yield link
        finally:
            running.cancel()
            await asyncio.wait([running])

    def management_api(self) -> ManagementApi | None:
        """Return the broker's management API; None where none is configured.

        Raises:
            WrongSettings: the file of a URL cannot be used.
        """
        return management_api(self._settings)

    @asynccontextmanager
    async def invoice_api(self, source: str) -> AsyncIterator[InvoiceApi]:
        """Yield the invoice API of a source, with an HTTP session of its own.

        Raises:
            WrongSettings: the source has no key, or the key's file cannot be used.
        """
        at = self._settings.sources[source]
        async with new_session(at.base_url) as session:
            yield invoice_api(session, source, at)
