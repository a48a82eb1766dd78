#!/usr/bin/env python3
"""Makes the secrets that compose.yaml names, in var/secrets. What is there already stays as it is.

Passwords and tokens by chance; users and rights of the broker by `zenoti-ingest topology export`; a certificate signed
by itself for the proxy, by openssl, until yours lies in its place. The API key is `simulator` until you write yours.

The folder is closed to others (0700), the files in it are not (0644): a file's owner and mode are seen in the
container, whose user is another one.
"""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[1]
HOME = DEPLOY.parent / "var" / "secrets"
PREFIX = "zenoti"
ROLES = ("intake", "consumers", "operator")
NODES = ("rabbitmq-1", "rabbitmq-2", "rabbitmq-3")
RANDOM = ("webhook_secret", "webhook_token", "grafana_password", "erlang_cookie")
SIMULATOR_KEY = "simulator"
SECONDS = 60


def keep(name: str, text: str, *, home: Path) -> str:
    """Write a file unless it is there; return what it holds."""
    file = home / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
        file.chmod(0o644)
        print(f"made      {file}")
    return file.read_text().strip()


def broker_url(role: str, password: str) -> str:
    """The cluster's address as one of the users."""
    return ",".join(f"amqp://{PREFIX}-{role}:{password}@{node}:5672/" for node in NODES)


def users(passwords: Path) -> str:
    """Users and rights as definitions: queues are left to `topology apply`, once the cluster is whole."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ZENOTI_INGEST_")}
    environ["ZENOTI_INGEST_CONFIG"] = str(DEPLOY / "zenoti.toml")
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-m", "zenoti_ingest", "topology", "export", "--users", str(passwords)],
        cwd=DEPLOY.parent,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if done.returncode:
        raise SystemExit(f"prepare: `topology export` failed: {done.stderr.strip()}; correct deploy/zenoti.toml")
    exported = json.loads(done.stdout)
    whole = exported | json.loads((DEPLOY / "rabbitmq" / "policies.json").read_text())
    return json.dumps({k: v for k, v in whole.items() if k not in {"queues", "exchanges", "bindings"}}, indent=1)


def certificate(home: Path) -> None:
    """A key and a certificate signed by itself, in one file as HAProxy wants them."""
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=localhost"
    made = home / "door.pem"
    if not made.exists():
        command = ["openssl", *words.split(), "-keyout", "-", "-out", "-"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)  # noqa: S603  our own words
        keep(made.name, done.stdout.strip(), home=home)


def main(home: Path = HOME) -> int:
    """Make what is missing."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    for name in RANDOM:
        keep(name, secrets.token_hex(24), home=home)
    keep("api_key", SIMULATOR_KEY, home=home)
    for role in ROLES:
        password = keep(f"passwords/{role}", secrets.token_hex(24), home=home)
        keep(f"broker_url_{role}", broker_url(role, password), home=home)
    if not (home / "definitions.json").exists():
        keep("definitions.json", users(home / "passwords"), home=home)
    certificate(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
