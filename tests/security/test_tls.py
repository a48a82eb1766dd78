"""Broker connections by TLS: each side proves who it is."""

import json

import pytest

from tests.security.conftest import Guarded, Installation


async def test_both_certificates(installation: Installation, guarded: Guarded) -> None:
    """With the CA's certificate on both sides a command reaches the broker by amqps."""
    installation.settings["BROKER__URL"] = guarded.tls_url_of("operator")
    status, printed, complaint = await installation.run("topology", "plan", "--json")
    assert status == 0, complaint
    assert json.loads(printed)["same"]


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"ca": "another"}, id="a broker of another CA"),
        pytest.param({"host": "127.0.0.1"}, id="a broker of another name"),
        pytest.param({"certificate": ""}, id="no certificate of our own"),
        pytest.param({"certificate": "stranger"}, id="a certificate of another CA"),
    ],
)
async def test_no_connection_without(installation: Installation, guarded: Guarded, how: dict[str, str]) -> None:
    """Where either side cannot prove who it is, there is no connection, one line says so, and it shows no password."""
    installation.settings["BROKER__URL"] = guarded.tls_url_of("operator", **how)
    status, printed, complaint = await installation.run("topology", "plan")
    assert status == 1
    assert complaint.splitlines()[-1].startswith("zenoti-ingest: ")
    assert guarded.passwords["operator"] not in printed + complaint
