import pytest

from zenoti_ingest.core.configuration.misspelt import meant

KEYS = {"config": [], "broker": ["url", "url_file"], "intake": ["port", "host"], "sources": ["api_key", "verify"]}


@pytest.mark.parametrize(
    ("rest", "value", "words"),
    [
        ("BROKER_URL", "amqp://h", ("broker", "url")),
        ("BROKR_URL_FILE", "/x", ("broker", "url_file")),
        ("INTAKE_PORT", "8080", ("intake", "port")),
        ("SOURCES_MAIN_API_KEY", "k", ("sources", "main", "api_key")),
        ("SOURCES_SPA_2_APIKEY", "k", ("sources", "spa_2", "api_key")),
        ("CONFIG_FILE", "/x", ("config",)),
        ("INTAKE_PORT", "tcp://10.0.0.1:80", None),
        ("INTAKE_SERVICE_PORT_HTTP", "80", None),
        ("PORT_8080_TCP_ADDR", "10.0.0.1", None),
        ("IMAGE", "x", None),
        ("", "x", None),
    ],
)
def test_meant(rest: str, value: str, words: tuple[str, ...] | None) -> None:
    """Name and value distinguish a slip from what an orchestrator injects."""
    assert meant(rest, value, KEYS, named={"sources"}) == words
