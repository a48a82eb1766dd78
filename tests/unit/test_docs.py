import contextlib
import io
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from zenoti_ingest import cli
from zenoti_ingest.operations.documents.configuration import keys
from zenoti_ingest.settings import ENV_PREFIX, load

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
SECTIONS = {key.split(".")[0] for key in keys()}


@cache
def tokens(page: Path) -> list[Token]:
    """A page's blocks, and what stands within them, in order."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return [token for block in blocks for token in (block, *(block.children or ()))]


@cache
def anchors(page: Path) -> frozenset[str]:
    """What a link can lead to: the headings, as GitHub and its kind name them."""
    found: list[str] = []
    for opening, inline in pairwise(tokens(page)):
        if opening.type == "heading_open":
            text = "".join(child.content for child in inline.children or () if child.type in {"text", "code_inline"})
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)


def links(page: Path) -> Iterator[str]:
    """Where the page leads within the project."""
    for token in tokens(page):
        href = str(token.attrs.get("href") or token.attrs.get("src") or "")
        if href and not re.match(r"[a-z]+:", href):
            yield href


def code(page: Path) -> Iterator[str]:
    """Each line of code, in a block or within a sentence."""
    for token in tokens(page):
        if token.type in {"fence", "code_block", "code_inline"}:
            yield from token.content.replace("\\\n", " ").splitlines()


def fences(page: Path, language: str) -> list[str]:
    """The blocks in one language."""
    return [token.content for token in tokens(page) if token.type == "fence" and token.info == language]


@cache
def help_of(*words: str) -> str:
    """What the command says of itself; empty where there is no such command."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()), pytest.raises(SystemExit) as end:
        cli.main([*words, "--help"])
    return said.getvalue() if end.value.code == 0 else ""


def wrong_command(line: str) -> str:
    """What of a line with `zenoti-ingest` in it the command line does not know."""
    command = re.search(r"(?<!-[gn] )(?<!etc/)zenoti-ingest(?!-)((?: +[^ #&>`]+)*)", line.replace("\\|", "|"))
    words = re.split(r"\s*[|;] ", command[1])[0].split() if command else []
    plain = [word for word in words if not word.startswith(("-", "["))]
    if not plain or plain[0] == "…":
        return ""
    actions = [help_of(plain[0], action) for word in plain[1:] for action in word.split("|")]
    first = actions[: len(plain[1].split("|"))] if len(plain) > 1 else [help_of(plain[0])]
    options = re.findall(r"--[a-z][a-z-]*", " ".join(words))
    known = "".join([help_of(), *first, *actions])
    return "" if all(first) and all(option in known for option in options) else line


def wrong_setting(text: str) -> str:
    """A key or a variable that the settings do not know."""
    spelled = text.removeprefix(ENV_PREFIX).lower().replace("__", ".") if text.startswith(ENV_PREFIX) else text
    first, *rest = spelled.split(".")
    if first in {"sources", "downstream"} and rest:
        rest[0] = "<name>"
    return "" if ".".join([first, *rest]) in keys() or rest in ([], ["<name>"], ["*"]) else text


@PAGE
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the project leads to a file, and, if it names a heading, to that heading."""
    for href in links(page):
        path, _, anchor = href.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{href}: no such file"
        assert not anchor or anchor in anchors(target), f"{href}: no such heading; there are {sorted(anchors(target))}"


@PAGE
def test_commands_are_there(page: Path) -> None:
    """Each `zenoti-ingest …` in a page is a command with these options, each `make …` a target."""
    assert [wrong for line in code(page) if (wrong := wrong_command(line))] == []
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert {name for line in code(page) for name in re.findall(r"(?:^|[ ;`])make ([a-z][a-z-]*)", line)} <= targets


@PAGE
def test_settings_are_there(page: Path) -> None:
    """Each key and each variable named in a page is a setting; each piece of TOML is a configuration."""
    variable = rf"{ENV_PREFIX}[A-Z0-9_]*__[A-Z0-9_]*[A-Z0-9]"
    key = rf"(?:{'|'.join(sorted(SECTIONS))})(?:\.(?:[a-z0-9_]+|<name>))+"
    named = [name for line in code(page) for name in re.findall(variable, line)]
    named += [line for line in code(page) if re.fullmatch(key, line)]
    assert [wrong for name in named if (wrong := wrong_setting(name))] == []


@PAGE
def test_configurations_can_be_loaded(page: Path, tmp_path: Path) -> None:
    """Each piece of TOML in a page is a configuration that the daemons take."""
    for content in fences(page, "toml"):
        (tmp_path / "zenoti.toml").write_text(content, encoding="utf-8")
        load(path=str(tmp_path / "zenoti.toml"), environ={})


@pytest.mark.parametrize(
    "line",
    [
        "zenoti-ingest nothing",
        "zenoti-ingest dead lst",
        "zenoti-ingest dead list --everything",
        "zenoti-ingest --config x.toml check --yaml",
        "zenoti-ingest archive list\\|replay --when T",
    ],
)
def test_a_wrong_command_is_seen(line: str) -> None:
    """What the command line does not know is not let through."""
    assert wrong_command(line) == line


@pytest.mark.parametrize("name", ["intake.prot", "sources.main.apikey", "ZENOTI_INGEST_SOURCES__MAIN__KEY"])
def test_a_wrong_setting_is_seen(name: str) -> None:
    """What is no setting is not let through."""
    assert wrong_setting(name) == name
