"""The expressions in rules and dashboard, and the metrics that they name."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.deploy.conftest import DEPLOY, documents

RULES = DEPLOY / "prometheus" / "zenoti.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "zenoti-ingest.json"
EVERY_METRIC = DASHBOARD.with_name("every-metric.json")
DASHBOARDS = (DASHBOARD, EVERY_METRIC)


def alerts() -> dict[str, Any]:
    """The alerts, by name."""
    [rules] = documents(RULES)
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}


def panels(dashboards: Sequence[Path] = DASHBOARDS) -> Iterator[tuple[str, str]]:
    """Each query of the dashboards, with its panel's title; variables as Grafana would put them."""
    for panel in (panel for path in dashboards for panel in json.loads(path.read_text())["panels"]):
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$source", ".*")


def metrics_in(expression: str) -> set[str]:
    """Our metrics' names in an expression."""
    return set(re.findall(r"(?<![\w\"])zenoti_\w+", expression))
