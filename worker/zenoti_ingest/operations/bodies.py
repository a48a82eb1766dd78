"""Finds the bodies of letters that have none: in the archive, or on this host's disk."""

import socket
from contextlib import aclosing
from pathlib import Path

from zenoti_ingest.adapters.broker import Link
from zenoti_ingest.adapters.broker.dead_letters import Letter
from zenoti_ingest.adapters.spool import read_aside
from zenoti_ingest.core.events.messages import Outgoing, Received
from zenoti_ingest.core.failures import dead_letter
from zenoti_ingest.core.failures.errors import BodyElsewhere, TopologyMismatch
from zenoti_ingest.core.operating.times import instant
from zenoti_ingest.core.topology.names import Names
from zenoti_ingest.operations.archive_reading import ArchiveSpan, messages, span_of
from zenoti_ingest.operations.letters import headers_of


class Bodies:
    """The bodies that a single command finds and removes.

    Attributes:
        left: places of bodies that are on another host, so that this command cannot remove them.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._span: ArchiveSpan | None = None
        self._used: list[Path] = []
        self.left: list[str] = []

    async def revived(self, link: Link, letter: Letter) -> Outgoing:
        """Return the message that puts a letter back where it came from, with its body.

        Raises:
            BodyElsewhere: the body cannot be found here.
            BrokerUnavailable: the archive cannot be read.
        """
        headers = headers_of(letter, self._names)
        properties = {"content_type": letter.content_type, "content_encoding": letter.content_encoding}
        body = letter.body
        if headers.body_at:
            found = await self._found(link, headers.body_at, headers.receipt_id, headers.received_at)
            body = found.body  # as it was received: compressed, where translate had inflated it
            properties = {"content_type": found.content_type, "content_encoding": found.content_encoding}
        properties["message_id"] = letter.message_id
        return dead_letter.revive(body, letter.headers, names=self._names, properties=properties)

    def used(self, letter: Letter) -> None:
        """Note that a letter is about to be taken out: the file with its body is no longer needed."""
        place = dead_letter.file_of(headers_of(letter, self._names).body_at)
        if place is None:
            return
        host, path = place
        if host == socket.gethostname():
            self._used.append(Path(path))
        else:
            self.left.append(f"{host}:{path}")

    def remove_used(self) -> None:
        """Remove the noted files; call it after the broker has taken their letters out."""
        for path in self._used:
            if read_aside(path) is not None:  # a header may name any path: remove only a file that is such a body
                path.unlink(missing_ok=True)
        self._used.clear()

    async def _found(self, link: Link, body_at: str, receipt_id: str, received_at: str) -> Received:
        place = dead_letter.file_of(body_at)
        if place is None:
            return await self._archived(link, receipt_id, received_at)
        host, path = place
        if host != socket.gethostname():
            raise BodyElsewhere(f"its body lies on the host {host} in {path}: run this command there")
        found = read_aside(Path(path))
        if found is None or found.receipt_id != receipt_id:
            raise BodyElsewhere(f"its body is not in {path}, or cannot be read")
        return found

    async def _archived(self, link: Link, receipt_id: str, received_at: str) -> Received:
        try:
            self._span = self._span or await span_of(link, self._names)
            async with aclosing(messages(link, self._names, instant(received_at), self._span)) as found:
                async for _, message in found:
                    if message.receipt_id == receipt_id:
                        return message
        except (TopologyMismatch, ValueError):  # there is no archive, or received_at is no time
            raise BodyElsewhere("its body should be in the archive, which is not there") from None
        raise BodyElsewhere("its body is not in the archive, or not any more")
