"""The settings of a simulated installation, read by the real code from variables as an operator writes them."""

from collections.abc import Mapping

from zenoti_ingest.core.configuration.secret_text import UnusableSecret, secrets_in
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.settings import ENV_PREFIX, Settings, ignored, load

INSTALLATION: Mapping[str, str] = {
    "BROKER__PREFIX": "zi",
    "BROKER__URL": "amqp://someone:secret@broker-1.example.test:5672/zi,amqp://someone:secret@[2001:db8::2]/zi",
    "BROKER__MANAGEMENT_URL": "http://someone:secret@broker-1.example.test:15672",
    "INTAKE__HOST": "door.example.test",
    "SOURCES__MAIN__WEBHOOK_SECRET": "secret",
    "SOURCES__MAIN__API_KEY": "key",
    "DOWNSTREAM__ALL__EVENTS": "#",
    "DOWNSTREAM__INVOICES__EVENTS": "invoice.#",
    "RETRY__DELAYS_SECONDS": "10,60",
    "ARCHIVE__MAX_AGE": "1D",
    "ARCHIVE__MAX_BYTES": "1000000000",
    "BROKER_PREFIX": "misspelt",  # with a single underscore: it sets nothing, and a warning names what may be meant
}


def settings_of(more: Mapping[str, str] | None = None) -> Settings:
    """The settings that these variables give.

    Args:
        more: variables that come on top, without their common prefix.
    """
    environ = {f"{ENV_PREFIX}{name}": value for name, value in {**INSTALLATION, **(more or {})}.items()}
    meant = dict(ignored(environ))
    assert meant == {f"{ENV_PREFIX}BROKER_PREFIX": f"{ENV_PREFIX}BROKER__PREFIX"}
    return load(path=None, environ=environ)


# What an operator gets wrong: the variable, its value, and the key that the error must name.
WRONG: tuple[tuple[str, str, str], ...] = (
    ("BROKER__URL", "amqp://someone:secret@broker 1:5672/zi", "broker.url"),
    ("BROKER__URL", "http://someone:secret@broker-1.example.test", "broker.url"),
    ("BROKER__URL", "amqp://someone:secret@broker-1.example.test:0/zi", "broker.url"),
    ("BROKER__URL", "amqp://someone:secret@broker-1.example.test:none/zi", "broker.url"),
    ("BROKER__URL", "amqp://someone:pass#word@broker-1.example.test/zi", "broker.url"),
    ("BROKER__MANAGEMENT_URL", "http://someone:secret@" + 64 * "a" + ":15672", "broker.management_url"),
    ("INTAKE__HOST", " ", "intake.host"),
    ("INTAKE__HOST", "two words", "intake.host"),
    ("SOURCES__MAIN__WEBHOOK_SECRET", "a secret\twith a tab", "sources.main.webhook_secret"),
    ("SOURCES__MAIN__API_KEY", "\ufeff", "sources.main.api_key"),
    ("DOWNSTREAM__ALL__QUEUE", "zi.raw.main", "downstream.all.queue"),
)


def refusal_of(number: int) -> str:
    """The error for a wrong setting; it names the key, and no secret.

    Args:
        number: which of WRONG, counted round.
    """
    name, value, key = WRONG[number % len(WRONG)]
    try:
        settings_of({name: value})
    except WrongSettings as error:
        text = str(error)
    else:
        raise AssertionError(f"{name} = {value!r} was accepted")
    assert key in text, text
    assert "secret@" not in text, text
    assert "pass#word" not in text, text
    return text


class SecretFile:
    """A file of secrets on a simulated disk, as `adapters.secrets` reads it: the last usable content counts.

    Attributes:
        content: of the file; an operator may change it at any time, to anything.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._usable: tuple[str, ...] = ()

    def values(self) -> tuple[bytes, ...]:
        """The secrets."""
        try:
            self._usable = secrets_in(self.content)
        except UnusableSecret:
            assert self._usable, "a door does not start without a usable secret"
        return tuple(secret.encode() for secret in self._usable)
