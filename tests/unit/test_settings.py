from pathlib import Path
from typing import Any

import msgspec
import pytest

from zenoti_ingest.core.failures.errors import WrongSettings
from zenoti_ingest.settings import SecretSpec, Settings, broker_urls, enrich_window, load

PREFIX = "ZENOTI_INGEST_"
HUSH = "hush-4711"  # every secret of these tests holds it, so that it is found wherever it leaks
GIB = 1024**3


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test's configuration file stands."""
    return tmp_path / "worker.toml"


def from_toml(file: Path, text: str, **environ: str) -> Settings:
    """Settings from a file with the given text, and the environment; the prefix is put before its names."""
    file.write_text(text, encoding="utf-8")
    return load(path=str(file), environ={PREFIX + name: value for name, value in environ.items()})


def from_environ(**environ: str) -> Settings:
    """Settings from the environment alone."""
    return load(path=None, environ={PREFIX + name: value for name, value in environ.items()})


def leaf(settings: Any, key: str) -> Any:
    """The value of a dotted key."""
    for word in key.split("."):
        settings = settings[word] if isinstance(settings, dict) else getattr(settings, word)
    return settings


def test_defaults() -> None:
    """With nothing configured every key has the default of the reference table."""
    found = load(path=None, environ={})
    assert found.broker.url.given == ("amqp://guest:guest@127.0.0.1:5672/",)
    expected: dict[str, Any] = {
        "broker.prefix": "zenoti",
        "broker.declare": True,
        "broker.management_url": SecretSpec(),
        "intake.host": "127.0.0.1",
        "intake.port": 8080,
        "intake.admin_host": "127.0.0.1",
        "intake.admin_port": 9090,
        "intake.max_body_bytes": 1024**2,
        "intake.confirm_seconds": 1.5,
        "intake.spool_dir": "var/spool",
        "intake.spool_max_bytes": GIB,
        "intake.drain_seconds": 25.0,
        "consumer.admin_host": "127.0.0.1",
        "consumer.admin_port": 9091,
        "consumer.translate_prefetch": 200,
        "consumer.duplicate_window_seconds": 3600.0,
        "consumer.duplicate_window_max": 200_000,
        "consumer.drain_seconds": 25.0,
        "sources": {},
        "downstream": {},
        "retry.delays_seconds": (5, 30, 120, 600),
        "retry.max_attempts": 8,
        "archive.enabled": True,
        "archive.max_age": "30D",
        "archive.max_bytes": 10 * GIB,
        "log.level": "info",
        "log.format": None,
    }
    assert {key: leaf(found, key) for key in expected} == expected


def test_defaults_of_a_source_and_a_downstream() -> None:
    """A source and a downstream exist once one of their keys is set; the others have their defaults."""
    found = from_environ(SOURCES__MAIN__INSECURE="true", DOWNSTREAM__CRM__DECLARE="true")
    expected: dict[str, Any] = {
        "base_url": "https://api.zenoti.com",
        "api_key": SecretSpec(),
        "webhook_secret": SecretSpec(),
        "webhook_token": SecretSpec(),
        "signature_header": "zenoti-webhook-signature",
        "verify": "enforce",
        "insecure": True,
        "calls_per_minute": 60.0,
        "max_in_flight": 16,
        "call_seconds": 15.0,
        "expand": ("InvoiceItems", "Transactions", "Appointments"),
        "enrich": ("#",),
        "on_enrich_failure": "dead",
    }
    assert list(found.sources) == ["main"]
    assert msgspec.structs.asdict(found.sources["main"]) == expected
    assert list(found.downstream) == ["crm"]
    assert msgspec.structs.asdict(found.downstream["crm"]) == {
        "queue": None,
        "declare": True,
        "events": ("#",),
        "sources": ("*",),
        "max_bytes": None,
    }


@pytest.mark.parametrize(
    ("calls_per_minute", "chosen", "expected"),
    [(60, None, 900), (1, None, 100), (1000, None, 5000), (60, 7, 7)],
    ids=["15 times the pace", "at least 100", "at most 5000", "as chosen"],
)
def test_enrich_window(calls_per_minute: int, chosen: int | None, expected: int) -> None:
    """The window is fifteen minutes of the quota within bounds, or what was chosen."""
    environ = {"SOURCES__MAIN__CALLS_PER_MINUTE": str(calls_per_minute)}
    if chosen is not None:
        environ["CONSUMER__ENRICH_WINDOW"] = str(chosen)
    found = from_environ(**environ)
    assert enrich_window(found, found.sources["main"]) == expected


def test_environment_over_file(file: Path) -> None:
    """The environment wins key by key; what it does not name stays as in the file."""
    found = from_toml(
        file,
        '[intake]\nport = 1\nhost = "a"\n[sources.main]\napi_key = "old"\nmax_in_flight = 3',
        INTAKE__PORT="2",
        SOURCES__MAIN__API_KEY="new",
        SOURCES__SPA_2__API_KEY="other",
    )
    assert (found.intake.port, found.intake.host) == (2, "a")
    assert (found.sources["main"].api_key.given, found.sources["main"].max_in_flight) == (("new",), 3)
    assert found.sources["spa_2"].api_key.given == ("other",)


@pytest.mark.parametrize(
    ("name", "value", "key", "expected"),
    [
        ("BROKER__DECLARE", "false", "broker.declare", False),
        ("INTAKE__CONFIRM_SECONDS", "0.5", "intake.confirm_seconds", 0.5),
        ("INTAKE__CONFIRM_SECONDS", "2", "intake.confirm_seconds", 2.0),
        ("INTAKE__HOST", "0.0.0.0", "intake.host", "0.0.0.0"),  # noqa: S104  # the example
        ("INTAKE__HOST", "123", "intake.host", "123"),
        ("RETRY__DELAYS_SECONDS", "1, 2,3", "retry.delays_seconds", (1, 2, 3)),
        ("SOURCES__MAIN__ENRICH", "invoice.*,Guest.#", "sources.main.enrich", ("invoice.*", "Guest.#")),
        ("SOURCES__MAIN__EXPAND", "InvoiceItems", "sources.main.expand", ("InvoiceItems",)),
        ("DOWNSTREAM__CRM__SOURCES", "main , spa", "downstream.crm.sources", ("main", "spa")),
        ("DOWNSTREAM__CRM__MAX_BYTES", "5", "downstream.crm.max_bytes", 5),
        ("LOG__FORMAT", "console", "log.format", "console"),
        ("CONSUMER__ENRICH_WINDOW", "5000", "consumer.enrich_window", 5000),
    ],
    ids=str,
)
def test_environment_is_read_as_the_key_wants(name: str, value: str, key: str, expected: Any) -> None:
    """Text of the environment becomes the key's type; lists are comma-separated."""
    assert leaf(from_environ(**{name: value}), key) == expected


def test_lists_in_the_file(file: Path) -> None:
    """A list of texts may be a list or comma-separated in the file too."""
    found = from_toml(file, '[sources.a]\nenrich = ["x.*", "y"]\n[sources.b]\nenrich = "x.*, y"')
    assert found.sources["a"].enrich == found.sources["b"].enrich == ("x.*", "y")


def test_secrets_are_never_split(file: Path) -> None:
    """A secret with commas in it is one secret; several are a list, and blanks around them are none of theirs."""
    assert from_environ(SOURCES__MAIN__WEBHOOK_SECRET=" a,b ").sources["main"].webhook_secret.given == ("a,b",)
    found = from_toml(file, '[sources.main]\nwebhook_secret = ["a,b", " c "]')
    assert found.sources["main"].webhook_secret.given == ("a,b", "c")


@pytest.mark.parametrize("key", ["API_KEY", "WEBHOOK_SECRET", "WEBHOOK_TOKEN"])
def test_a_secret_from_a_file(key: str) -> None:
    """Each secret can be named by the file that holds it; the file is not read here."""
    spec = leaf(from_environ(**{f"SOURCES__MAIN__{key}_FILE": "/nowhere/x"}).sources["main"], key.lower())
    assert spec == SecretSpec(file="/nowhere/x")
    assert spec


def test_a_secret_of_the_environment_takes_the_place_of_the_files(file: Path) -> None:
    """The environment overrides a secret of the configuration file in whichever of its two forms either stands."""
    found = from_toml(
        file,
        '[broker]\nurl = "amqp://h/"\n[sources.main]\napi_key_file = "/x"\nwebhook_token = "old"',
        BROKER__URL_FILE="/url",
        SOURCES__MAIN__API_KEY="new",
        SOURCES__MAIN__WEBHOOK_TOKEN="new",
    )
    assert found.broker.url == SecretSpec(file="/url")
    assert found.sources["main"].api_key == found.sources["main"].webhook_token == SecretSpec(("new",))


def test_broker_url_from_a_file() -> None:
    """broker.url holds a password, so it can come from a file too, and then the default is gone."""
    assert from_environ(BROKER__URL_FILE="/nowhere/x").broker.url == SecretSpec(file="/nowhere/x")


def test_names_that_orchestrators_inject_are_ignored() -> None:
    """Names without `__` after the prefix, or without the prefix, are no settings."""
    environ = {
        "ZENOTI_INGEST_SERVICE_HOST": "10.0.0.1",
        "ZENOTI_INGEST_PORT": "tcp://10.0.0.1:80",
        "ZENOTI_INGEST_CONFIG": "/x",
        "INTAKE__PORT": "1",
        "zenoti_ingest_intake__port": "1",
    }
    assert load(path=None, environ=environ) == Settings()


WRONG = [
    ("", {"FOO__BAR": "1"}, "foo", "known here"),
    ("", {"INTAKE__PROT": "1"}, "intake.prot", "known here"),
    ("", {"SOURCES__MAIN__APIKEY": HUSH}, "sources.main.apikey", "known here"),
    ("", {"INTAKE__PORT": "eighty"}, "intake.port", "'eighty'"),
    ("", {"INTAKE__PORT": "65536"}, "intake.port", "65535"),
    ("", {"INTAKE__PORT": ""}, "intake.port", "int"),
    ("", {"INTAKE__CONFIRM_SECONDS": "0"}, "intake.confirm_seconds", "0"),
    ("", {"INTAKE__CONFIRM_SECONDS": "nan"}, "intake.confirm_seconds", "nan"),
    ("", {"INTAKE__MAX_BODY_BYTES": "0"}, "intake.max_body_bytes", "1"),
    ("", {"CONSUMER__ENRICH_WINDOW": "0"}, "consumer.enrich_window", "1 to 5000"),
    ("", {"CONSUMER__ENRICH_WINDOW": "5001"}, "consumer.enrich_window", "1 to 5000"),
    ("", {"CONSUMER__TRANSLATE_PREFETCH": "0"}, "consumer.translate_prefetch", "1"),
    ("", {"BROKER__DECLARE": "maybe"}, "broker.declare", "bool"),
    ("", {"BROKER__PREFIX": "a b"}, "broker.prefix", "'a b'"),
    ("", {"LOG__LEVEL": "loud"}, "log.level", "'loud'"),
    ("", {"LOG__FORMAT": "xml"}, "log.format", "'xml'"),
    ("", {"ARCHIVE__MAX_AGE": "30"}, "archive.max_age", "30D"),
    ("", {"RETRY__DELAYS_SECONDS": ""}, "retry.delays_seconds", "length"),
    ("", {"RETRY__DELAYS_SECONDS": "5,x"}, "retry.delays_seconds", "int"),
    ("", {"RETRY__DELAYS_SECONDS": "0"}, "retry.delays_seconds", "1"),
    ("", {"RETRY__MAX_ATTEMPTS": "0"}, "retry.max_attempts", "1"),
    ("", {"SOURCES__MAIN__CALLS_PER_MINUTE": "0"}, "sources.main.calls_per_minute", "0"),
    ("", {"SOURCES__MAIN__VERIFY": "never"}, "sources.main.verify", "'never'"),
    ("", {"SOURCES__MAIN__ENRICH": "a b"}, "sources.main.enrich", "a b"),
    ("", {"SOURCES__MAIN__ENRICH": ""}, "sources.main.enrich", "length"),
    ("", {"SOURCES__MAIN__BASE_URL": "api.zenoti.com"}, "sources.main.base_url", "'api.zenoti.com'"),
    ("", {"SOURCES__MAIN__SIGNATURE_HEADER": "a b"}, "sources.main.signature_header", "'a b'"),
    ("", {"SOURCES__MAIN__ON_ENRICH_FAILURE": "cry"}, "sources.main.on_enrich_failure", "'cry'"),
    ("", {"DOWNSTREAM__CRM__MAX_BYTES": "0"}, "downstream.crm.max_bytes", "at least 1"),
    ("", {"DOWNSTREAM__CRM__EVENTS": "a b"}, "downstream.crm.events", "a b"),
    ("", {"SOURCES__MAIN": "x"}, "sources.main", "table"),
    ("", {"SOURCES__MAIN": "x", "SOURCES__MAIN__API_KEY": HUSH}, "sources.main", "table"),
    ("", {"SOURCES__MAIN__API_KEY__X": HUSH}, "sources.main.api_key", "text"),
    ("", {"SOURCES__2ND__INSECURE": "true"}, "sources.2nd", "[a-z]"),
    ("", {"SOURCES__MAIN__VERIFY": "observe"}, "sources.main.verify", "webhook_token"),
    (
        "",
        {"SOURCES__MAIN__VERIFY": "observe", "SOURCES__MAIN__WEBHOOK_SECRET": HUSH},
        "sources.main.verify",
        "webhook_token",
    ),
    ("", {"SOURCES__MAIN__API_KEY": " "}, "sources.main.api_key", "not empty"),
    ("", {"SOURCES__MAIN__API_KEY_FILE": ""}, "sources.main.api_key_file", "path"),
    ("", {"BROKER__URL": f"http://u:{HUSH}@h/"}, "broker.url", "amqp://"),
    ("", {"BROKER__URL": f"amqp://u:{HUSH}@h:99999/"}, "broker.url", "amqp://"),
    ("", {"BROKER__URL": f"amqp://u:{HUSH}@/"}, "broker.url", "amqp://"),
    ("", {"BROKER__URL": f"amqp://u:{HUSH}@h/,h2"}, "broker.url", "amqp://"),
    ("", {"BROKER__URL": f"amqps://u:{HUSH}@h/?no_verify_ssl=1"}, "broker.url", "cafile"),
    ("", {"BROKER__URL": ","}, "broker.url", "empty"),
    ("nonsense = 1", {}, "nonsense", "known here"),
    ("broker = 3", {}, "broker", "table"),
    ("sources = 3", {}, "sources", "table"),
    ("[sources.Main]\ninsecure = true", {}, "sources.Main", "[a-z]"),
    ("[sources.a__b]\ninsecure = true", {}, "sources.a__b", "`__`"),
    (f"[sources.{'a' * 33}]\ninsecure = true", {}, f"sources.{'a' * 33}", "31"),
    ("[downstream.a-b]\ndeclare = true", {}, "downstream.a-b", "[a-z]"),
    ('[intake]\nport = "8080"', {}, "intake.port", "int"),
    ("[intake]\nport = true", {}, "intake.port", "int"),
    ("[intake]\nhost = 5", {}, "intake.host", "str"),
    ("[broker]\nurl = 5", {}, "broker.url", "text"),
    (f'[sources.main]\napi_key = [["{HUSH}"]]', {}, "sources.main.api_key", "text"),
    ("[sources.main]\napi_key = []", {}, "sources.main.api_key", "text"),
    (f'[sources.main]\napi_key = "{HUSH}"\napi_key_file = "/x"', {}, "sources.main.api_key", "twice"),
    (f'[broker]\nurl = "amqp://u:{HUSH}@h/"\nurl_file = "/x"', {}, "broker.url", "twice"),
    (
        "",
        {"SOURCES__MAIN__WEBHOOK_TOKEN": HUSH, "SOURCES__MAIN__WEBHOOK_TOKEN_FILE": "/x"},
        "sources.main.webhook_token",
        "twice",
    ),
    (f'[sources.a]\napi_key = "{HUSH}"\n[sources.b]\napi_key = "{HUSH}"', {}, "sources.a and sources.b", "120"),
    (
        f'[sources.a]\napi_key_file = "/{HUSH}"\n[sources.b]\napi_key_file = "/{HUSH}"\ncalls_per_minute = 0.5',
        {},
        "sources.a and sources.b",
        "60.5",
    ),
]


@pytest.mark.parametrize(
    ("text", "environ", "key", "advice"), WRONG, ids=[f"{key} {number}" for number, (_, _, key, _) in enumerate(WRONG)]
)
def test_wrong_settings(file: Path, text: str, environ: dict[str, str], key: str, advice: str) -> None:
    """What cannot be meant stops the start with one line: the key, the value (never a secret's), what would do."""
    with pytest.raises(WrongSettings) as raised:
        from_toml(file, text, **environ)
    refusal = str(raised.value)
    assert key in refusal
    assert advice in refusal
    assert "\n" not in refusal
    assert HUSH not in refusal


@pytest.mark.parametrize(
    ("text", "fault"),
    [("[a", "not TOML"), ("a = 1\na = 2", "not TOML"), (None, "No such file")],
    ids=["broken", "key twice", "missing"],
)
def test_unreadable_file(file: Path, text: str | None, fault: str) -> None:
    """A configuration file that is missing or broken is named in one line."""
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(WrongSettings, match=fault) as raised:
        load(path=str(file), environ={})
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_text(file: Path) -> None:
    """A configuration file in another encoding than UTF-8 is refused by name."""
    file.write_bytes(b'[broker]\nprefix = "\xff"')
    with pytest.raises(WrongSettings, match="not TOML"):
        load(path=str(file), environ={})


def test_settings_show_no_secret(file: Path) -> None:
    """Neither repr nor str of the settings, or of a part of them, holds a secret."""
    found = from_toml(
        file,
        f'[broker]\nurl = "amqp://u:{HUSH}@h/"\n[sources.main]\napi_key = "{HUSH}"\n'
        f'webhook_secret = ["{HUSH}", "x"]\nwebhook_token = "{HUSH}"',
    )
    source = found.sources["main"]
    for shown in (found, found.broker, source, source.api_key):
        assert HUSH not in f"{shown!r} {shown}"
    assert source.api_key.given == (HUSH,)


def test_a_shared_key_within_the_quota(file: Path) -> None:
    """One api_key in two sources is fine where their calls together stay within the organisation's sixty."""
    text = '[sources.a]\napi_key = "k"\ncalls_per_minute = 30\n[sources.b]\napi_key = ["k"]\ncalls_per_minute = 30'
    assert set(from_toml(file, text).sources) == {"a", "b"}


def test_a_single_source_may_have_bought_more(file: Path) -> None:
    """More than sixty calls a minute is a paid add-on: one source may have it, and keys that differ are not added."""
    text = '[sources.a]\napi_key = "k"\ncalls_per_minute = 300\n[sources.b]\napi_key = "l"'
    assert from_toml(file, text).sources["a"].calls_per_minute == 300


def test_observe_with_a_token() -> None:
    """Observing signatures is allowed where a token keeps strangers out."""
    found = from_environ(SOURCES__MAIN__VERIFY="observe", SOURCES__MAIN__WEBHOOK_TOKEN_FILE="/x")
    assert found.sources["main"].verify == "observe"


@pytest.mark.parametrize("name", ["a", "main", "a_b", "a1", "a" * 32], ids=len)
def test_names(name: str) -> None:
    """A source's or downstream's name is a short word of small letters, digits and single underscores."""
    found = from_environ(
        **{f"SOURCES__{name.upper()}__INSECURE": "1", f"DOWNSTREAM__{name.upper()}__QUEUE": "Theirs.q"}
    )
    assert found.sources[name].insecure
    assert found.downstream[name].queue == "Theirs.q"


def test_broker_urls() -> None:
    """broker.url names one node or several, with commas between them."""
    assert broker_urls("amqp://a") == ("amqp://a",)
    assert broker_urls(" amqp://a:1/ , amqps://b/v?cafile=/ca.pem,") == ("amqp://a:1/", "amqps://b/v?cafile=/ca.pem")


@pytest.mark.parametrize("name", ["SOURCES__MAIN__WEBHOOK_TOKEN", "RETRY__DELAYS_SECONDS", "LOG__LEVEL"])
def test_an_environment_that_is_no_text(name: str) -> None:
    """Bytes that are no UTF-8 are refused by the variable's name, whatever it sets; the value is not shown."""
    with pytest.raises(WrongSettings, match=f"{name} is not UTF-8") as refused:
        from_environ(**{name: "hunter2\udcff"})
    assert "hunter2" not in str(refused.value)
