"""Alerts, dashboard and runbook: each judged by Prometheus' own tool, and by each other."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.deploy.conftest import DEPLOY, ROOT, documents, run
from tests.deploy.expressions import DASHBOARDS, RULES, alerts, metrics_in, panels
from zenoti_ingest.telemetry.metrics import METRICS

TESTS = sorted((DEPLOY / "prometheus").glob("*.test.yml"))
RUNBOOK = ROOT / "docs" / "runbook.md"
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",), "gauge": ("",)}
EXPOSED = {f"{metric.name}{suffix}" for metric in METRICS for suffix in SUFFIXES[metric.kind]}


def test_rules_are_rules(promtool: Path) -> None:
    """Prometheus takes the rules, templates of their texts included."""
    run([promtool, "check", "rules", RULES])


def test_alerts_fire_when_they_should(promtool: Path) -> None:
    """Each alert fires for what it is there for, not before its time, and not for what is another's."""
    run([promtool, "test", "rules", *TESTS])
    tests = [test for file in TESTS for document in documents(file) for test in document["tests"]]
    assert {test["name"].partition(",")[0] for test in tests} == set(alerts())
    for test in tests:
        assert any(look["exp_samples"] for look in test["promql_expr_test"]), f"{test['name']} is never seen to fire"


def test_scrapes_are_configured(promtool: Path, tmp_path: Path) -> None:
    """Prometheus takes the configuration of compose.yaml, whose jobs are those that the rules ask for."""
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(config.replace("/etc/prometheus/rules/*.yml", str(RULES)))
    run([promtool, "check", "config", tmp_path / "prometheus.yml"])
    jobs = {job["job_name"] for job in yaml.safe_load(config)["scrape_configs"]}
    asked = {name for alert in alerts().values() for name in re.findall(r"zenoti-(?:intake|consume)", alert["expr"])}
    assert asked <= jobs


def test_dashboard_is_promql(promtool: Path, tmp_path: Path) -> None:
    """Prometheus understands each query of the dashboard."""
    rules = [{"record": f"panel:{number}", "expr": expr} for number, (_, expr) in enumerate(panels())]
    assert len(rules) > 40 + len(METRICS)
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run([promtool, "check", "rules", tmp_path / "panels.yml"])


def test_every_metric_is_shown() -> None:
    """Rules and dashboards ask for nothing that no daemon exposes; every metric is on a dashboard."""
    asked = {name for _, expr in panels() for name in metrics_in(expr)}
    ruled = {name for alert in alerts().values() for name in metrics_in(alert["expr"])}
    assert not (asked | ruled) - EXPOSED
    shown = {metric.name for metric in METRICS if any(name.startswith(metric.name) for name in asked)}
    assert {metric.name for metric in METRICS} - shown == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_have_places_of_their_own(path: Path) -> None:
    """No panel has another's id or place, and each asks the chosen Prometheus."""
    dashboard = json.loads(path.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    for panel in dashboard["panels"]:
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel.get("targets", []))


@pytest.mark.parametrize("name", alerts())
def test_runbook_has_a_section(name: str) -> None:
    """Each alert's link leads to a section that says what it means, how to see it, what to do and what not."""
    link = alerts()[name]["annotations"]["runbook_url"]
    assert link == f"docs/runbook.md#{name.lower()}"
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(), re.DOTALL | re.MULTILINE)
    assert section is not None, f"docs/runbook.md has no section `## {name}`"
    for part in ("**Means.**", "**See.**", "**Do.**", "**Do not.**"):
        assert part in section.group(1), f"{name}: {part} is missing"


def test_runbook_has_no_other_alert() -> None:
    """No section is left over from an alert that is gone."""
    named = set(re.findall(r"^## (Zenoti\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    assert named == set(alerts())
