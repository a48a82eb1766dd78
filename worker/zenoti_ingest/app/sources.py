"""Sources and their secrets, as the settings have them."""

from zenoti_ingest.adapters.secrets import Secret
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.settings import SecretSpec, Settings


def secret_of(key: str, spec: SecretSpec, *, required: bool = True) -> Secret:
    """A secret from where the settings say.

    Raises:
        WrongSettings: it is required, and its file cannot be used.
    """
    return Secret(key=key, given=spec.given, file=spec.file, required=required)


def require_sources(settings: Settings) -> None:
    """Refuse to start with nothing to do.

    Raises:
        WrongSettings: there is no source.
    """
    if not settings.sources:
        raise WrongSettings("no source is configured: set at least one key of [sources.<name>], such as webhook_secret")
