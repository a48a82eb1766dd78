"""Sources and their secrets, as the settings have them."""

from zenoti_ingest.adapters.secrets import Secret
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.settings import SecretSpec, Settings, SourceSettings


class Source:
    """A source, as the operator's commands see it. It reads a secret when it is asked for the secret.

    Attributes:
        name: the `<name>` of `sources.<name>`.
        base_url: address of the vendor's API.
        calls_per_minute: pace of API calls, at most.
        insecure: the source may have neither webhook_secret nor webhook_token.
    """

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self.name = name
        self.base_url = settings.base_url
        self.calls_per_minute = settings.calls_per_minute
        self.insecure = settings.insecure
        self._settings = settings

    def api_keys(self) -> tuple[str, ...]:
        """Return the keys for the invoice API, the first is used; none where none is configured.

        Raises:
            WrongSettings: their file cannot be used.
        """
        return secret_of(f"sources.{self.name}.api_key", self._settings.api_key).texts()

    def webhook_secrets(self) -> tuple[str, ...]:
        """Return the secrets that sign webhooks; none where none is configured.

        Raises:
            WrongSettings: their file cannot be used.
        """
        return secret_of(f"sources.{self.name}.webhook_secret", self._settings.webhook_secret).texts()

    def webhook_tokens(self) -> tuple[str, ...]:
        """Return the tokens that webhooks carry; none where none is configured.

        Raises:
            WrongSettings: their file cannot be used.
        """
        return secret_of(f"sources.{self.name}.webhook_token", self._settings.webhook_token).texts()


def secret_of(key: str, spec: SecretSpec, *, required: bool = True) -> Secret:
    """Return a secret from the place that the settings name.

    Raises:
        WrongSettings: the secret is required, and its file cannot be used.
    """
    return Secret(key=key, given=spec.given, file=spec.file, required=required)


def require_sources(settings: Settings) -> None:
    """Refuse to start without a source, since there would be nothing to do.

    Raises:
        WrongSettings: there is no source.
    """
    if not settings.sources:
        raise WrongSettings("no source is configured: set at least one key of [sources.<name>], such as webhook_secret")
