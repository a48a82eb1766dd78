from pathlib import Path

import pytest

from zenoti_ingest.app import installation as module
from zenoti_ingest.app.installation import Installation
from zenoti_ingest.core.failures.errors import BrokerUnavailable, WrongSettings
from zenoti_ingest.settings import ENV_PREFIX, load

NOBODY_LISTENS = "amqp://127.0.0.1:1/salons"


def installed(**environ: str) -> Installation:
    """An installation with one source, from variables without their prefix."""
    return Installation(
        load(
            path=None,
            environ={ENV_PREFIX + name: value for name, value in ({"SOURCES__MAIN__API_KEY": "k"} | environ).items()},
        )
    )


def test_what_follows_from_the_settings() -> None:
    """Names, queues, address of the door and virtual host are those that are configured."""
    found = installed(
        BROKER__PREFIX="spa",
        BROKER__URL=NOBODY_LISTENS,
        BROKER__DECLARE="false",
        INTAKE__PORT="8123",
        INTAKE__SPOOL_DIR="var/elsewhere",
        DOWNSTREAM__CRM__DECLARE="true",
        DOWNSTREAM__TILL__QUEUE="theirs",
    )
    assert found.names.dead == "spa.dead"
    assert found.receiver_queues == {"crm": "spa.out.crm", "till": "theirs"}
    assert {"spa.raw.main", "spa.out.crm", "theirs"} <= {queue.name for queue in found.topology.queues}
    assert found.door_url("main") == "http://127.0.0.1:8123/webhooks/main"
    assert found.spool_directory == Path("var/elsewhere")
    assert found.vhost == "salons"
    assert not found.daemons_declare
    assert found.management_api() is None


def test_secrets_of_a_source(tmp_path: Path) -> None:
    """A source has all its secrets in the order given; there are none where none is configured."""
    file = tmp_path / "secrets"
    file.write_text("new\nold\n", encoding="utf-8")
    source = installed(SOURCES__MAIN__WEBHOOK_SECRET_FILE=str(file), SOURCES__MAIN__CALLS_PER_MINUTE="30").sources[
        "main"
    ]
    assert (source.api_keys(), source.webhook_secrets(), source.webhook_tokens()) == (("k",), ("new", "old"), ())
    assert (source.name, source.calls_per_minute, source.insecure) == ("main", 30.0, False)


def test_a_missing_file_stops_only_what_needs_it(tmp_path: Path) -> None:
    """A secret is read when it is asked for: without the API key the door's secret can be read, and so on."""
    missing = str(tmp_path / "missing")
    found = installed(SOURCES__SPA__API_KEY_FILE=missing, SOURCES__SPA__WEBHOOK_SECRET="s", BROKER__URL_FILE=missing)
    source = found.require_sources()["spa"]
    assert source.webhook_secrets() == ("s",)
    assert found.names.prefix == "zenoti"
    with pytest.raises(WrongSettings, match=r"sources\.spa\.api_key_file"):
        source.api_keys()
    for needs_broker in (lambda: found.vhost, lambda: found.link("test")):
        with pytest.raises(WrongSettings, match=r"broker\.url_file"):
            needs_broker()


def test_no_source() -> None:
    """A command that needs a source says how to configure it."""
    nothing = Installation(load(path=None, environ={}))
    assert nothing.sources == {}
    with pytest.raises(WrongSettings, match="no source is configured"):
        nothing.require_sources()


async def test_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that does not come up in time is an error with the reason."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    with pytest.raises(BrokerUnavailable, match=r"no connection within 0\.2 s: .+"):
        async with installed(BROKER__URL=NOBODY_LISTENS).connected("test"):
            pytest.fail("it came up")


async def test_an_invoice_api_without_a_key() -> None:
    """The error names the key that is missing."""
    with pytest.raises(WrongSettings, match=r"sources\.spa\.api_key is missing"):
        async with installed(SOURCES__SPA__INSECURE="true").invoice_api("spa"):
            pytest.fail("it has none")
