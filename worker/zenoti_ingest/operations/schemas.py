"""`make schemas`: writes JSON Schema, AsyncAPI, OpenAPI into `zenoti_schemas/generated/`; pages and a dashboard.

`python -m zenoti_ingest.operations.schemas --check` writes nothing, names what has drifted, and ends with 1.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

import zenoti_schemas
from zenoti_ingest.operations.documents import asyncapi, configuration, dashboard, metrics, openapi
from zenoti_ingest.operations.documents.shapes import json_schemas
from zenoti_ingest.operations.terminal import say

HERE = Path(next(iter(zenoti_schemas.__path__))) / "generated"
ROOT = HERE.parents[2]


def documents() -> dict[str, bytes]:
    """Return every file by name; the same code makes the same bytes."""
    made = {
        **{f"{name}.schema.json": document for name, document in json_schemas().items()},
        "asyncapi.json": asyncapi.document(),
        "openapi.json": openapi.document(),
    }
    return {name: _bytes(made[name]) for name in sorted(made)}


def pages() -> dict[str, bytes]:
    """Return the other files that are generated from the code, by their path in the project."""
    return {
        "docs/configuration.md": configuration.page(),
        "docs/metrics.md": metrics.page(),
        "deploy/grafana/dashboards/every-metric.json": _bytes(dashboard.document()),
    }


def drifted_pages(root: Path) -> list[str]:
    """Return the paths of those files that differ from what the code generates."""
    return [path for path, page in pages().items() if not (root / path).exists() or (root / path).read_bytes() != page]


def drift(folder: Path) -> list[str]:
    """Return a line for each file of the folder that differs from what the code generates."""
    wanted = documents()
    there = {path.name: path for path in folder.glob("*.json")}
    found = dict.fromkeys(there.keys() - wanted.keys(), "is left over")
    found |= dict.fromkeys(wanted.keys() - there.keys(), "is missing")
    found |= {name: "differs" for name in wanted.keys() & there.keys() if there[name].read_bytes() != wanted[name]}
    return [f"{name} {what}" for name, what in sorted(found.items())]


def write(folder: Path) -> list[str]:
    """Write the generated files into the folder; returns a line for each that differed."""
    changed = drift(folder)
    wanted = documents()
    folder.mkdir(parents=True, exist_ok=True)
    for name in (line.split()[0] for line in changed):
        if name in wanted:
            (folder / name).write_bytes(wanted[name])
        else:
            (folder / name).unlink()
    return changed


def main(arguments: Sequence[str], *, folder: Path = HERE, root: Path = ROOT) -> int:
    """Write, or with --check only compare; returns 1 where --check finds a difference."""
    parser = argparse.ArgumentParser(prog="make schemas", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where something drifts")
    only_check = parser.parse_args(arguments).check
    changed = drift(folder) if only_check else write(folder)
    for path in drifted_pages(root):
        changed.append(f"{path} differs")
        if not only_check:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(pages()[path])
    for line in changed:
        say(line)
    if not changed:
        say(f"{folder}, the generated pages and the dashboard are as the code has them.")
    return 1 if only_check and changed else 0


def _bytes(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
