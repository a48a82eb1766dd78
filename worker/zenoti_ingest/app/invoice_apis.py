"""The invoice API of a source."""

from typing import Any

from zenoti_ingest import __version__
from zenoti_ingest.adapters.invoice_api import InvoiceApi
from zenoti_ingest.app.sources import secret_of
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.settings import SourceSettings


def invoice_api(session: Any, name: str, source: SourceSettings) -> InvoiceApi:
    """Return the invoice API of a source.

    Raises:
        WrongSettings: the source has no key, or the key's file cannot be used.
    """
    if not source.api_key:
        raise WrongSettings(f"sources.{name}.api_key is missing: enriching wants it (or `consume --stage translate`)")
    key = secret_of(f"sources.{name}.api_key", source.api_key)
    return InvoiceApi(
        session,
        base_url=source.base_url,
        api_key=lambda: key.texts()[0],
        call_seconds=source.call_seconds,
        application_version=__version__,
    )
