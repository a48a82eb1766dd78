"""Each thing in deploy/ is what its own tool takes it for."""

import json
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from deploy.compose import prepare
from deploy.local import debian
from tests.deploy.conftest import DEPLOY, documents, needed, run

KUBERNETES = DEPLOY / "kubernetes"
OLDEST_KUBERNETES, NEWEST_KUBERNETES = "1.30", kubernetes_validate.latest_version()
OWN_KINDS = {"Kustomization", "Component"}
OPERATORS_KINDS = json.loads((Path(__file__).parent / "operators_kinds.schema.json").read_text())
YAML = YamlLintConfig("{extends: default, rules: {line-length: disable, document-start: disable, "
                      "braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}, "
                      "octal-values: disable}}")  # fmt: skip  # defaultMode: 0440 is meant as octal
MANIFESTS = sorted(f for f in KUBERNETES.rglob("*.yaml"))
UNITS = sorted(f for f in (DEPLOY / "systemd").iterdir() if f.suffix in {".service", ".socket", ".target"})
MOST_EXPOSED = 1.5  # of 10; what is left is what a network service needs


@pytest.mark.parametrize("file", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda f: str(f.relative_to(DEPLOY)))
def test_yaml_is_clean(file: Path) -> None:
    """No key stands twice, nothing is ambiguous."""
    assert not [str(problem) for problem in linter.run(file.read_text(), YAML)]


def test_dockerfile() -> None:
    """The linter of Dockerfiles finds nothing, and the image does not run as root."""
    dockerfile = DEPLOY / "docker" / "Dockerfile"
    run([needed("hadolint", why="its package has a build for Linux on x86-64 only"), dockerfile])
    users = re.findall(r"^USER (\S+)", dockerfile.read_text(), re.MULTILINE)
    assert users
    assert users[-1] != "root"
    assert int(users[-1].split(":")[0]) > 0


def test_compose(tmp_path: Path) -> None:
    """Docker Compose reads it, with every profile; `prepare.py` makes each secret that it names."""
    compose = needed("docker-compose", why="its package has a build for Linux on x86-64 only")
    profiles = [word for profile in ("simulator", "tool") for word in ("--profile", profile)]
    whole = json.loads(run([compose, "-f", DEPLOY / "compose.yaml", *profiles, "config", "--format", "json"]))
    prepare.main(tmp_path / "secrets")
    made = {file.name for file in (tmp_path / "secrets").iterdir()}
    assert {Path(secret["file"]).name for secret in whole["secrets"].values()} <= made
    for name, service in whole["services"].items():
        if not name.startswith("rabbitmq"):  # whose image writes its own configuration
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
    for config in whole["configs"].values():
        assert Path(config["file"]).exists()


def test_secrets_are_kept(tmp_path: Path) -> None:
    """A second `prepare.py` changes nothing; others have no way in; the users come without queues."""
    prepare.main(tmp_path / "secrets")
    first = {file: file.read_bytes() for file in (tmp_path / "secrets").rglob("*") if file.is_file()}
    prepare.main(tmp_path / "secrets")
    assert first == {file: file.read_bytes() for file in first}
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    definitions = json.loads((tmp_path / "secrets" / "definitions.json").read_text())
    assert {user["name"] for user in definitions["users"]} == {"zenoti-intake", "zenoti-consumers", "zenoti-operator"}
    assert "queues" not in definitions


def test_proxy(tmp_path: Path) -> None:
    """HAProxy takes the proxy's configuration."""
    haproxy = needed("haproxy")
    prepare.certificate(tmp_path)
    config = (DEPLOY / "compose" / "haproxy.cfg").read_text()
    (tmp_path / "haproxy.cfg").write_text(config.replace("/etc/haproxy/door.pem", str(tmp_path / "door.pem")))
    run([haproxy, "-c", "-f", tmp_path / "haproxy.cfg"], environ=debian.environment(haproxy))


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, NEWEST_KUBERNETES])
def test_kubernetes(version: str) -> None:
    """Every manifest keeps to Kubernetes' schemas, strictly; the operators' kinds to what we use of them."""
    for file in MANIFESTS:
        for manifest in documents(file):
            if manifest["kind"] in OPERATORS_KINDS["$defs"]:
                of = {"$ref": f"#/$defs/{manifest['kind']}", "$defs": OPERATORS_KINDS["$defs"]}
                jsonschema.validate(manifest, of)
            elif manifest["kind"] not in OWN_KINDS:
                kubernetes_validate.validate(manifest, version, strict=True)


def test_kustomization_is_whole() -> None:
    """Every manifest is named, and no name is without its file; the configuration is that of `deploy/`."""
    for folder in [KUBERNETES, *(KUBERNETES / "components").iterdir()]:
        [own] = documents(folder / "kustomization.yaml")
        assert sorted(own["resources"]) == sorted(
            f.name for f in folder.glob("*.yaml") if f.name != "kustomization.yaml"
        )
    assert (KUBERNETES / "zenoti.toml").read_text() == (DEPLOY / "zenoti.toml").read_text()


def test_kustomize_builds_it() -> None:
    """What kubectl builds of it keeps to the schemas."""
    kubectl = needed("kubectl")
    built = run([kubectl, "kustomize", KUBERNETES], environ=debian.environment(kubectl))
    manifests = list(yaml.safe_load_all(built))
    assert {"StatefulSet", "Deployment", "NetworkPolicy", "PodDisruptionBudget"} <= {m["kind"] for m in manifests}
    for manifest in manifests:
        kubernetes_validate.validate(manifest, NEWEST_KUBERNETES, strict=True)


def test_pods_keep_to_the_restricted_standard() -> None:
    """No pod is root, writes its root, has a capability, or gets addresses of Services into its environment."""
    pods = [m["spec"]["template"]["spec"] for f in MANIFESTS for m in documents(f) if "template" in m.get("spec", {})]
    assert len(pods) == 4
    for pod in pods:
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            its = container["securityContext"]
            assert its["readOnlyRootFilesystem"]
            assert not its["allowPrivilegeEscalation"]
            assert its["capabilities"] == {"drop": ["ALL"]}


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with programs that are here: `verify` looks for them."""
    for unit in UNITS:
        text = unit.read_text().replace("/opt/zenoti-ingest/bin/zenoti-ingest", "/usr/bin/env")
        (tmp_path / unit.name.replace("@.", "@1.")).write_text(text)
    return tmp_path


def test_units_are_units(units: Path) -> None:
    """Each is taken by systemd without a word."""
    verify = needed("systemd-analyze", why="systemd is not on this machine")
    said = run([verify, "verify", "--man=no", *sorted(units.iterdir())], environ=debian.environment(verify))
    assert not [line for line in said.splitlines() if "zenoti" in line]


@pytest.mark.parametrize("name", ["zenoti-ingest-intake.service", "zenoti-ingest-consume@1.service"])
def test_units_are_hardened(units: Path, name: str) -> None:
    """What a service could do beyond its work is little by systemd's own measure."""
    analyze = needed("systemd-analyze", why="systemd is not on this machine")
    threshold = f"--threshold={MOST_EXPOSED * 10:.0f}"
    run(
        [analyze, "security", "--offline=true", "--no-pager", threshold, units / name],
        environ=debian.environment(analyze),
    )
