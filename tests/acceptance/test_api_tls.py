import json
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import System

STEP = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=api -addext"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the certificate is made by openssl; tests install nothing")
async def test_the_apis_certificate(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API by TLS is believed by the system's certificates alone, which SSL_CERT_FILE names."""
    made = [*STEP.split(), "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "api.pem"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True, timeout=60)  # noqa: ASYNC221, S603  our own words
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "api.pem", tmp_path / "key.pem")
    await system.api.stop()
    await system.api.start(tls)
    system.settings["SOURCES__MAIN__BASE_URL"] = system.api.url
    assert await key_taken(system) is False
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "api.pem"))
    assert await key_taken(system) is True


async def key_taken(system: System) -> bool:
    """What `check` says of the API key."""
    _, out, _ = await system.run("check", "--json")
    [found] = [finding for finding in json.loads(out)["findings"] if finding["what"] == "API key of main"]
    return bool(found["ok"])
