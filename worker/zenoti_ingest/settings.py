"""Every setting: unit, bounds, default, reason. Read from a TOML file and the environment; an error stops the start.

Each setting is declared once: bounds and meaning in its field's `Meta`, the reason for its default in the section's
Attributes. docs/configuration.md is generated from both. A secret becomes a `SecretSpec`: its values, or the file to
read them from. An error names the key, the value (never a secret) and a valid alternative.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta
from yarl import URL

from zenoti_ingest.core.configuration.addresses import host_fault, url_fault
from zenoti_ingest.core.configuration.misspelt import meant
from zenoti_ingest.core.configuration.secret_text import UnusableSecret, secret
from zenoti_ingest.core.delivery.byte_shares import DEFAULT_ENRICH_MAX_BYTES, DEFAULT_TRANSLATE_MAX_BYTES
from zenoti_ingest.core.delivery.size_budget import DEFAULT_MAX_MESSAGE_BYTES
from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.core.operating.printable import printable
from zenoti_ingest.core.topology.declared import MAX_INTEGER
from zenoti_ingest.core.topology.names import Names

ENV_PREFIX: Final = "ZENOTI_INGEST_"
CONFIG_ENV: Final = "ZENOTI_INGEST_CONFIG"
ORGANISATION_CALLS_PER_MINUTE: Final = 60  # the vendor's default for all keys of an organisation together
DEFAULT_BROKER_URL: Final = "amqp://guest:guest@127.0.0.1:5672/"
MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
MAX_NAME_BYTES: Final = 255  # the name of a queue or virtual host, in UTF-8: AMQP's short string
MAX_HEARTBEAT_SECONDS: Final = 3600
_SOURCE_NAME = re.compile(r"(?!.*__)[a-z][a-z0-9_]{0,31}")

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0.001, le=86_400)]
# `*` and `#` must be whole words: next to other characters they would match only themselves.
Pattern = Annotated[str, Meta(pattern=r"^(?=.{1,200}\Z)([A-Za-z0-9_-]*|[*#])(\.([A-Za-z0-9_-]*|[*#]))*\Z")]
Patterns = Annotated[tuple[Pattern, ...], Meta(min_length=1)]


class SecretSpec(msgspec.Struct, frozen=True):
    """Secret values, or the file that holds them, a value per line. Its repr shows neither."""

    given: tuple[str, ...] = ()
    file: str | None = None

    def __bool__(self) -> bool:
        return bool(self.given or self.file)

    def __repr__(self) -> str:
        return "SecretSpec(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the configuration."""


class BrokerSettings(Section, frozen=True, kw_only=True):
    """RabbitMQ.

    Attributes:
        url: a new RabbitMQ on this machine; it accepts its user guest only from loopback
        prefix: two installations on the same broker need different prefixes
        declare: true needs no extra step at deploy; false lets daemons run without the configure right (security.md)
        max_message_bytes: RabbitMQ 4's own limit; a refusal (406) lowers it for the life of the process
        management_url: for `topology plan` and `status`; AMQP does not show bindings, policies and leftover queues
    """

    url: Annotated[
        SecretSpec,
        Meta(description="amqp://user:password@host:port/vhost, or amqps://…; comma-separated for a cluster"),
    ] = SecretSpec((DEFAULT_BROKER_URL,))
    prefix: Annotated[
        str,
        Meta(
            pattern=r"^(?!amq(\.|\Z))[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z",
            description="first part of the name of every exchange and queue",
        ),
    ] = "zenoti"
    declare: Annotated[bool, Meta(description="true: daemons declare what is missing; false: they verify it")] = True
    max_message_bytes: Annotated[
        int,
        Meta(
            ge=64 * 1024, le=512 * MIB, description="largest body of a publish; a larger event: dead letter `too-large`"
        ),
    ] = DEFAULT_MAX_MESSAGE_BYTES
    management_url: Annotated[
        SecretSpec, Meta(description="RabbitMQ's management API: http://user:password@host:15672 or https://…")
    ] = SecretSpec()


class IntakeSettings(Section, frozen=True, kw_only=True):
    """The HTTP door.

    Attributes:
        host: the TLS proxy is on the same machine; if not, 0.0.0.0 or an address that the proxy reaches
        port: it needs no privilege; the proxy has 443
        admin_host: these pages are for the machine and its monitoring, never for the internet
        admin_port: several processes on the same machine need no separate numbers
        max_body_bytes: documented events have a few kilobytes; the broker's own limit is 16 MiB (RabbitMQ 4)
        max_header_bytes: room for what proxies add, and no more memory for strangers
        max_headers: room for what proxies add
        max_line_bytes: the usual limit of HTTP servers
        header_seconds: Zenoti itself gives up after 10 s
        body_seconds: the deadline is for the whole body; slow single bytes do not extend it
        keepalive_seconds: nginx keeps connections to its backends for 60 s; a longer wait closes no connection in use
        max_connections: for a machine with 512 MB: 5,000 connections hold some 75 MB
        max_in_flight: for a machine with 512 MB
        max_buffered_bytes: for a machine with 512 MB; the total can reach twice this until dropped connections are gone
        reuse_port: off, since a second intake started by mistake should fail
        confirm_seconds: a healthy broker confirms within milliseconds; after this there is still time for the disk
        spool_dir: a local disk that outlives the process, best encrypted: it holds customer data
        spool_max_bytes: for the whole directory; scaling.md shows how long it lasts
        drain_seconds: by default, Kubernetes kills after 30 s and systemd after 90 s
    """

    host: Annotated[str, Meta(description="address of the public listener")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of the public listener; 0: any")] = 8080
    admin_host: Annotated[str, Meta(description="address of /healthz, /readyz, /metrics")] = "127.0.0.1"
    admin_port: Annotated[
        Port, Meta(description="port of /healthz, /readyz, /metrics; if taken, the next free of 20; 0: any")
    ] = 9090
    max_body_bytes: Annotated[int, Meta(ge=1, le=8 * MIB, description="a request's body; larger: 413")] = MIB
    max_header_bytes: Annotated[
        int, Meta(ge=1024, le=64 * 1024, description="all headers of a request together; larger: 431")
    ] = 16 * 1024
    max_headers: Annotated[int, Meta(ge=10, le=1000, description="headers of a request; more: 400")] = 100
    max_line_bytes: Annotated[int, Meta(ge=256, le=64 * 1024, description="the request line; longer: 431")] = 8190
    header_seconds: Annotated[Seconds, Meta(description="from a request's first byte to the end of its headers")] = 8.0
    body_seconds: Annotated[
        Seconds, Meta(description="from the end of the headers to the end of the body; later: 408")
    ] = 8.0
    keepalive_seconds: Annotated[
        Seconds, Meta(description="how long a connection stays between requests; longer than the proxy's")
    ] = 75.0
    max_connections: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="open connections; above, the connection that has kept the door waiting for longest is dropped",
        ),
    ] = 6000
    max_in_flight: Annotated[
        int, Meta(ge=1, le=100_000, description="requests in flight; above: 503 with Retry-After")
    ] = 512
    max_buffered_bytes: Annotated[
        int,
        Meta(
            ge=8 * MIB,
            le=MAX_INTEGER,
            description="memory held for all connections together; above, the slowest connections are dropped",
        ),
    ] = 32 * MIB
    reuse_port: Annotated[
        bool, Meta(description="true: several intakes listen on the same port; the system distributes connections")
    ] = False
    confirm_seconds: Annotated[
        Seconds, Meta(description="wait for the broker's confirm; then the body goes to the spool")
    ] = 1.5
    spool_dir: Annotated[
        str, Meta(pattern=r"^(?=.*\S)[^\x00-\x1f\x7f]+\Z", description="where bodies wait while the broker is away")
    ] = "var/spool"
    spool_max_bytes: Annotated[
        int,
        Meta(
            ge=MIB,
            le=MAX_INTEGER,
            description="limit of the whole spool directory; if it is full and the broker is away: 503",
        ),
    ] = GIB
    drain_seconds: Annotated[Seconds, Meta(description="time to finish current work after SIGTERM")] = 25.0


class ConsumerSettings(Section, frozen=True, kw_only=True):
    """The consumers.

    Attributes:
        admin_host: these pages are for the machine and its monitoring, never for the internet
        admin_port: several processes on the same machine need no separate numbers
        translate_prefetch: enough to hide the round trip to the broker
        translate_max_bytes: with the copies in memory while events go out, this fits into the 512 MiB of deploy/
        enrich_window: more events could not be served before they had to be handed back; events in the window share
            calls
        enrich_max_bytes: with the copies in memory while events go out, this fits into the 1 GiB of deploy/
        duplicate_window_seconds: Zenoti tries five times, at most ten minutes apart, so it ends within 40 minutes
        duplicate_window_max: limits the memory for remembered events
        hold_seconds: RabbitMQ closes the channel of a consumer that holds a delivery for longer than 30 minutes
        lease_seconds: a successor without a baton waits this long; it is half of the consuming connection's heartbeat
        drain_seconds: by default, Kubernetes kills after 30 s and systemd after 90 s
    """

    admin_host: Annotated[str, Meta(description="address of /healthz, /readyz, /metrics")] = "127.0.0.1"
    admin_port: Annotated[
        Port, Meta(description="port of /healthz, /readyz, /metrics; if taken, the next free of 20; 0: any")
    ] = 9091
    translate_prefetch: Annotated[
        int, Meta(ge=1, le=10_000, description="unacknowledged events that translate holds, per source")
    ] = 200
    translate_max_bytes: Annotated[
        int,
        Meta(
            ge=64 * 1024,
            le=MAX_INTEGER,
            description="inflated bytes of these events, for all sources of a process together; a source's only event"
            " may have more",
        ),
    ] = DEFAULT_TRANSLATE_MAX_BYTES
    enrich_window: Annotated[
        int | None,
        Meta(description="events that a lane considers together, 1 to 5000; not set: the calls of hold_seconds"),
    ] = None
    enrich_max_bytes: Annotated[
        int,
        Meta(
            ge=64 * 1024,
            le=MAX_INTEGER,
            description="inflated bytes of these events and their outgoing invoices, for all lanes of a process"
            " together; a lane's only event may have more",
        ),
    ] = DEFAULT_ENRICH_MAX_BYTES
    duplicate_window_seconds: Annotated[float, Meta(ge=0, le=86_400, description="how long an event is remembered")] = (
        3600.0
    )
    duplicate_window_max: Annotated[
        int,
        Meta(ge=0, le=5_000_000, description="most events that are remembered; the newest half is always remembered"),
    ] = 200_000
    hold_seconds: Annotated[
        Seconds,
        Meta(description="longest time that an event stays unsettled; then it is handed back to the broker"),
    ] = 900.0
    lease_seconds: Annotated[
        float, Meta(ge=0.5, le=5, description="how long a lane may call the API after the broker's last answer")
    ] = 5.0
    drain_seconds: Annotated[Seconds, Meta(description="time to finish current work after SIGTERM")] = 25.0


class SourceSettings(Section, frozen=True, kw_only=True):
    """A Zenoti organisation.

    Attributes:
        base_url: the vendor's documented host; use your account's host if it differs
        api_key: the intake and `consume --stage translate` need none
        webhook_secret: several values allow a change without a gap
        signature_header: reported by integrators; the vendor's page does not name it
        webhook_token: for accounts whose signature is not known for sure; several values allow a change without a gap
        verify: observe (only with a webhook_token) is for a source's first days (connect-zenoti.md)
        insecure: an open door must be a decision: anybody could post events
        calls_per_minute: the vendor's default for a whole organisation; subtract what other integrations spend
            (scaling.md)
        max_in_flight: 60 calls a minute that each take the 15 s of call_seconds are 15 calls at a time
        call_seconds: a call that hangs frees its place, and counts as a failure
        expand: the usual parts of an invoice; the vendor also knows gst_parameters, dues_and_fees, Redemptions. More
            parts need no more calls, unless the account ignores a combined expand
        enrich: all types that name an invoice; the invoice of a deletion may be gone
        on_enrich_failure: a receiver gets events without invoice only if you decide so
    """

    base_url: Annotated[
        str, Meta(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?\Z", description="address of the vendor's API")
    ] = "https://api.zenoti.com"
    api_key: Annotated[SecretSpec, Meta(description="key for the invoice API")] = SecretSpec()
    webhook_secret: Annotated[
        SecretSpec, Meta(description="if set, a signature by it is required; any of several passes")
    ] = SecretSpec()
    signature_header: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z", description="header that carries the signature")
    ] = "zenoti-webhook-signature"
    webhook_token: Annotated[
        SecretSpec, Meta(description="if set, required as ?token= or bearer; any of several passes")
    ] = SecretSpec()
    verify: Annotated[
        Literal["enforce", "observe"],
        Meta(description="enforce: a wrong signature is refused; observe: it is accepted and counted"),
    ] = "enforce"
    insecure: Annotated[
        bool, Meta(description="true: the source may have neither webhook_secret nor webhook_token")
    ] = False
    calls_per_minute: Annotated[float, Meta(ge=0.01, le=60_000, description="highest pace of API calls")] = 60.0
    max_in_flight: Annotated[int, Meta(ge=1, le=500, description="API calls at the same time")] = 16
    call_seconds: Annotated[float, Meta(ge=0.001, le=300, description="deadline of a whole API call")] = 15.0
    expand: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_]{1,64}\Z")], ...],
        Meta(description="parts of the invoice to ask for; none: only the invoice"),
    ] = ("InvoiceItems", "Transactions", "Appointments")
    enrich: Annotated[
        Patterns,
        Meta(description="event types that get a call; deletions (*.delete, *.deleted) only if named"),
    ] = ("#",)
    on_enrich_failure: Annotated[
        Literal["dead", "deliver"],
        Meta(description="if no invoice can be fetched; deliver: the event goes out with status failed and the reason"),
    ] = "dead"


class DownstreamSettings(Section, frozen=True, kw_only=True):
    """A receiver of outgoing events.

    Attributes:
        queue: with the prefix in its name, existing permissions cover it
        declare: a queue that nobody declares loses all its events
        events: everything; for a selection: invoice.closed, appointment.*, guest.#
        sources: most receivers want every organisation's events
        max_bytes: unlimited, so that nothing is dropped. But an unread queue fills the broker's disk until its alarm
            stops everybody
    """

    queue: Annotated[
        str | None,
        Meta(description="the receiver's own queue, not ours or another receiver's; not set: <prefix>.out.<name>"),
    ] = None
    declare: Annotated[
        bool, Meta(description="false: the receiver owns the queue; it must exist, and is only bound")
    ] = True
    events: Annotated[Patterns, Meta(description="patterns of the event types for this receiver")] = ("#",)
    sources: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^([*#]|[a-z][a-z0-9_]{0,31})\Z")], ...],
        Meta(min_length=1, description="names of the sources for this receiver; *: all"),
    ] = ("*",)
    max_bytes: Annotated[
        int | None, Meta(description="limit of its queue, above which the oldest events are dropped; not set: no limit")
    ] = None


class RetrySettings(Section, frozen=True, kw_only=True):
    """The retry ladder.

    Attributes:
        delays_seconds: for a short failure, a restart, an outage
        max_attempts: with the default delays, they end after 43 minutes
    """

    delays_seconds: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=86_400)], ...],
        Meta(min_length=1, max_length=16, description="delay before each further attempt; the last repeats"),
    ] = (5, 30, 120, 600)
    max_attempts: Annotated[int, Meta(ge=1, le=1000, description="attempts until the event becomes a dead letter")] = 8


class ArchiveSettings(Section, frozen=True, kw_only=True):
    """The stream of everything received.

    Attributes:
        enabled: the only way to replay events that were handled wrongly
        max_age: longer than a mistake stays unnoticed, and within the month that the law allows for erasure
        max_bytes: scaling.md shows how many days it holds; bodies beyond it go before max_age
    """

    enabled: Annotated[bool, Meta(description="keep every body as received, in a stream")] = True
    max_age: Annotated[
        str,
        Meta(
            pattern=r"^[1-9][0-9]{0,5}[YMDhms]\Z",
            description="how long bodies are kept, in RabbitMQ's notation: 30D, 12h",
        ),
    ] = "30D"
    max_bytes: Annotated[
        int, Meta(ge=MIB, le=MAX_INTEGER, description="largest size; the oldest bodies are dropped")
    ] = 10 * GIB


class LogSettings(Section, frozen=True, kw_only=True):
    """Logs, on stderr.

    Attributes:
        level: a line per request and delivery; debug adds no customer data
        format: JSON is for machines, console for people
    """

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="lowest level that is logged")] = (
        "info"
    )
    format: Annotated[
        Literal["json", "console"] | None, Meta(description="not set: console if stderr is a terminal, else json")
    ] = None


class Settings(Section, frozen=True, kw_only=True):
    """The whole configuration."""

    broker: BrokerSettings = BrokerSettings()
    intake: IntakeSettings = IntakeSettings()
    consumer: ConsumerSettings = ConsumerSettings()
    sources: Mapping[str, SourceSettings] = {}
    downstream: Mapping[str, DownstreamSettings] = {}
    retry: RetrySettings = RetrySettings()
    archive: ArchiveSettings = ArchiveSettings()
    log: LogSettings = LogSettings()


def _is_secret(annotation: Any) -> bool:
    return SecretSpec in get_args(annotation)


_SECRETS: Final = frozenset(
    field.name
    for kind in (BrokerSettings, SourceSettings)
    for field in msgspec.structs.fields(kind)
    if _is_secret(field.type)
)


def load(*, path: str | None, environ: Mapping[str, str]) -> Settings:
    """Read the file (if any), override it with the environment, and check.

    Raises:
        WrongSettings: a single line that names the key, the value and a valid alternative.
    """
    try:
        return _load(path, environ)
    except WrongSettings as error:
        raise WrongSettings(printable(str(error))) from error.__cause__  # a name can contain line ends too


def _load(path: str | None, environ: Mapping[str, str]) -> Settings:
    tree = _read_file(path) if path else {}
    for name, value in sorted(environ.items()):  # sorted: a key comes before keys below it
        if name.startswith(ENV_PREFIX) and "__" in name[len(ENV_PREFIX) :]:
            _overlay(tree, name[len(ENV_PREFIX) :].lower().split("__"), _utf8(value, name), name)
    settings: Settings = _section(Settings, tree, "")
    _check(settings)
    return settings


def ignored(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield variables that set nothing but look like a setting, each with the variable that may be meant."""
    keys: dict[str, list[str]] = {"config": []}
    for section in msgspec.structs.fields(Settings):
        kind = get_args(section.type)[-1] if get_args(section.type) else section.type
        keys[section.name] = [
            key
            for field in msgspec.structs.fields(kind)
            for key in ((field.name, f"{field.name}_file") if _is_secret(field.type) else (field.name,))
        ]
    named = {section.name for section in msgspec.structs.fields(Settings) if get_args(section.type)}
    for name, value in sorted(environ.items()):
        rest = name.removeprefix(ENV_PREFIX)
        if (
            rest != name
            and "__" not in rest
            and name != CONFIG_ENV
            and (words := meant(rest, value, keys, named=named))
        ):
            yield name, ENV_PREFIX + "__".join(words).upper()


def enrich_window(settings: Settings, source: SourceSettings) -> int:
    """Unacknowledged events that a source's lane considers together; by default the calls within hold_seconds."""
    chosen, calls = settings.consumer.enrich_window, settings.consumer.hold_seconds * source.calls_per_minute / 60
    return chosen if chosen is not None else int(min(max(calls, 100), 5000))


class _FromEnvironment(str):
    """A value from the environment: a text, to be converted to the type of its key."""

    __slots__ = ()


def _read_file(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))  # some editors put a BOM before it
    except OSError as error:
        raise WrongSettings(f"configuration file {path} cannot be read: {error.strerror}") from error
    except RecursionError:
        raise WrongSettings(f"configuration file {path} is not TOML: it is nested too deep") from None
    except ValueError as error:  # not TOML, not UTF-8, not a path
        raise WrongSettings(f"configuration file {path} is not TOML: {error}") from error


def _utf8(value: str, name: str) -> str:
    """Refuse bytes that are not UTF-8: Python turns them into lone surrogates, which nothing later can encode."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise WrongSettings(f"{name} is not UTF-8") from None  # the cause would show the value
    return value


def _overlay(tree: dict[str, Any], words: list[str], value: str, name: str) -> None:
    *tables, leaf = words
    for word in tables:
        tree = tree.setdefault(word, {})
        if not isinstance(tree, dict):
            raise WrongSettings(f"{name}: {'.'.join(words)} is not a key: `{word}` is not a table")
    # A secret from the environment replaces the file's, whichever of its two forms that has.
    other = leaf.removesuffix("_file") if leaf.endswith("_file") else f"{leaf}_file"
    if {leaf, other} & _SECRETS and not isinstance(tree.get(other), _FromEnvironment):
        tree.pop(other, None)
    tree[leaf] = _FromEnvironment(value)


def _section(kind: type[Section], tree: Any, path: str) -> Any:
    if not isinstance(tree, dict):
        raise WrongSettings(f"{path[:-1]} must be a table with keys in it")
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    secrets = {name for name, field in fields.items() if _is_secret(field.type)}
    known = set(fields) | {f"{name}_file" for name in secrets}
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in known:
            raise WrongSettings(f"{path}{key} is not a key; known here: {', '.join(sorted(known))}")
        if key in fields and key not in secrets:
            values[key] = _field(fields[key].type, value, f"{path}{key}")
    for name in secrets & {key.removesuffix("_file") for key in tree}:
        values[name] = _secret(tree, name, path)
    return kind(**values)


def _field(annotation: Any, value: Any, path: str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return _section(annotation, value, f"{path}.")
    inner = get_args(annotation)
    if inner and isinstance(inner[-1], type) and issubclass(inner[-1], Section):
        if not isinstance(value, dict):
            raise WrongSettings(f"{path} must be a table of tables, such as [{path}.main]")
        return {name: _named(inner[-1], name, table, path) for name, table in value.items() if table != {}}
    return _leaf(annotation, value, path)


def _named(kind: type[Section], name: str, table: Any, path: str) -> Any:
    if not _SOURCE_NAME.fullmatch(name):
        raise WrongSettings(f"{path}.{name} is not a name: wanted is [a-z][a-z0-9_]{{0,31}} without `__`")
    return _section(kind, table, f"{path}.{name}.")


def _leaf(annotation: Any, value: Any, path: str) -> Any:
    lenient = isinstance(value, _FromEnvironment)
    given: Any = str(value) if lenient else value
    if isinstance(given, str) and "tuple" in str(annotation):
        given = [word.strip() for word in given.split(",") if word.strip()]
    try:
        return msgspec.convert(given, annotation, strict=not lenient)
    except msgspec.ValidationError as error:
        message = re.sub(r" - at `.*`$", "", str(error))
        raise WrongSettings(
            f"{path} = {_shown(value)}: {message[0].lower()}{message[1:]} ({_description(annotation)})"
        ) from error


def _shown(value: Any) -> str:
    """A value in the form that an error may show: an address can contain a password, a table anything."""
    if isinstance(value, dict):
        return "a table"
    return "…" if "@" in str(value) else repr(str(value)[:100])


def _description(annotation: Any) -> str:
    allowed = re.search(r"Literal\[([^]]*)\]", str(annotation))
    if allowed:
        return f"one of {allowed.group(1)}"
    found = [m.description for m in getattr(annotation, "__metadata__", ()) if getattr(m, "description", None)]
    return found[-1] if found else "see the configuration reference"


def _secret(tree: dict[str, Any], name: str, path: str) -> SecretSpec:
    given, file = tree.get(name), tree.get(f"{name}_file")
    if given is not None and file is not None:
        raise WrongSettings(f"{path}{name} is given twice: as {name} and as {name}_file; one must go")
    if file is not None:
        if not isinstance(file, str) or not re.fullmatch(r"[^\x00-\x1f\x7f]+", file):
            raise WrongSettings(f"{path}{name}_file must be the path of a file")
        return SecretSpec(file=str(file))
    several = [given] if isinstance(given, str) else given
    if (
        not isinstance(several, list)
        or not several
        or not all(isinstance(text, str) and text.strip() for text in several)
    ):
        raise WrongSettings(f"{path}{name} must be a text that is not empty, or a list of such texts")
    try:
        return SecretSpec(given=tuple(secret(str(text)) for text in several))
    except UnusableSecret as error:
        raise WrongSettings(f"{path}{name} {error}") from None


def _check(settings: Settings) -> None:
    """Check what depends on several keys, or on more than bounds."""
    spent: dict[str, list[tuple[str, float]]] = {}
    for name, source in settings.sources.items():
        if source.verify == "observe" and not source.webhook_token:
            raise WrongSettings(
                f"sources.{name}.verify = 'observe': needs a webhook_token, or anybody could post events"
            )
        for key in (*source.api_key.given, *filter(None, [source.api_key.file])):
            spent.setdefault(key, []).append((name, source.calls_per_minute))
        if fault := url_fault(source.base_url, schemes=("http", "https")):
            raise WrongSettings(f"sources.{name}.base_url = {_shown(source.base_url)}: {fault}")
    for sharers in spent.values():
        total = sum(calls for _, calls in sharers)
        if len(sharers) > 1 and total > ORGANISATION_CALLS_PER_MINUTE:
            names = " and ".join(f"sources.{name}" for name, _ in sharers)
            raise WrongSettings(
                f"{names} share an api_key, and their calls_per_minute sum to {total:g}: "
                f"an organisation has only {ORGANISATION_CALLS_PER_MINUTE}"
            )
    _check_bounds(settings)
    _check_hosts(settings)
    _check_queues(settings)
    _check_urls(settings.broker)


def _check_bounds(settings: Settings) -> None:
    """Check the bounds of optional numbers, which Meta cannot do."""
    window = settings.consumer.enrich_window
    if window is not None and not 1 <= window <= 5000:  # noqa: PLR2004  # as its description has it
        raise WrongSettings(f"consumer.enrich_window = {window}: must be 1 to 5000")
    for name, downstream in settings.downstream.items():
        most = downstream.max_bytes
        if most is not None and not 1 <= most <= MAX_INTEGER:
            raise WrongSettings(f"downstream.{name}.max_bytes = {most}: must be at least 1, at most {MAX_INTEGER}")


def _check_hosts(settings: Settings) -> None:
    for section in ("intake", "consumer"):
        for name, host in msgspec.structs.asdict(getattr(settings, section)).items():
            if name.endswith("host") and (fault := host_fault(host)):
                wanted = "wanted is a name or an address to listen on; all addresses are 0.0.0.0 or ::"
                raise WrongSettings(f"{section}.{name} = {_shown(host)}: {fault} ({wanted})")


def _check_queues(settings: Settings) -> None:
    """Check that each receiver has a queue of its own that is not ours: otherwise others would read its events."""
    names, owners = Names(settings.broker.prefix), dict[str, str]()
    for name, downstream in settings.downstream.items():
        queue = names.out(name) if downstream.queue is None else downstream.queue
        place = f"downstream.{name}.queue = {_shown(queue)}"
        if not queue.strip() or queue != queue.strip() or re.search(r"[\x00-\x1f\x7f]", queue):
            raise WrongSettings(
                f"{place}: a name has neither blanks around it nor control characters, and is not empty"
            )
        if len(queue.encode()) > MAX_NAME_BYTES:
            raise WrongSettings(f"{place}: a name has at most {MAX_NAME_BYTES} bytes")
        if queue.startswith("amq."):
            raise WrongSettings(f"{place}: names that begin with `amq.` are the broker's own")
        if names.are_ours(queue):
            raise WrongSettings(f"{place}: this queue is ours; wanted is the receiver's own, such as {names.out(name)}")
        if (other := owners.setdefault(queue, name)) != name:
            raise WrongSettings(f"{place}: it is the queue of downstream.{other}; give each receiver its own")


def _check_urls(broker: BrokerSettings) -> None:
    for url in broker.url.given:
        broker_urls(url)
    wanted = "wanted is http://user:password@host:15672, or https://"
    for url in broker.management_url.given:
        if fault := url_fault(url, schemes=("http", "https")):
            raise WrongSettings(f"broker.management_url is not an HTTP URL: {fault} ({wanted})")
        if ":" in (URL(url).user or ""):
            raise WrongSettings(f"broker.management_url: no user with a colon in its name can log in there ({wanted})")


def broker_urls(text: str) -> tuple[str, ...]:
    """The nodes of a broker.url.

    Raises:
        WrongSettings: a URL is not an AMQP URL; the error does not show it, since it holds a password.
    """
    urls = tuple(part.strip() for part in text.split(",") if part.strip())
    for url in urls:
        if fault := url_fault(url, schemes=("amqp", "amqps")) or _amqp_fault(URL(url)):
            wanted = "wanted is amqp://user:password@host:port/vhost, or amqps://"
            raise WrongSettings(f"broker.url is not an AMQP URL: {fault} ({wanted})")
    if not urls:
        raise WrongSettings("broker.url is empty")
    return urls


def _amqp_fault(url: URL) -> str:
    """What is wrong with an AMQP URL that the library would accept silently, or reject with an error of its own."""
    if "no_verify_ssl" in url.query:
        return "no_verify_ssl is not allowed; give the CA as ?cafile=…"
    heartbeat = url.query.get("heartbeat", "1")
    if not re.fullmatch("[0-9]{1,4}", heartbeat) or not 1 <= int(heartbeat) <= MAX_HEARTBEAT_SECONDS:
        return f"its heartbeat must be 1 to {MAX_HEARTBEAT_SECONDS} s"
    if len(url.path.encode()) - 1 > MAX_NAME_BYTES:
        return f"its virtual host has more than {MAX_NAME_BYTES} bytes"
    return ""
