"""Every command that README, docs/start and the ``sh`` blocks of the other pages show runs, in order, in an empty folder. ``console``
blocks of other pages need things that a test machine has not, such as a hub or an hour, and are only parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from unireason.cli import build_parser, main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


FIRST = [ROOT / "README.md", *sorted((ROOT / "docs" / "start").glob("*.md"))]
"""Pages that a newcomer follows: nothing on them may fail as it is written."""


def lines(page: Path, fence: str) -> list[list[str]]:
    blocks = re.findall(rf"^```(?:{fence})\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    shown = [line.removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in shown if (words := shlex.split(line, comments=True))]


def commands(page: Path, fence: str) -> list[list[str]]:
    return [words[1:] for words in lines(page, fence) if words[0] == "unireason"]


def fences(page: Path) -> str:
    return "sh|console" if page in FIRST else "sh"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [p for p in PAGES if commands(p, fences(p))], ids=lambda p: p.name)
def test_commands_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in commands(page, fences(page)):
        assert main(command) == 0, command
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S) if page in FIRST else ():
        exec(compile(code, str(page), "exec"), {})


@pytest.mark.parametrize("page", FIRST, ids=lambda p: p.name)
def test_newcomers_are_shown_nothing_but_what_is_run(page):
    """The rest are targets of the Makefile, and the way into the environment that they make."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for words in lines(page, "sh|console|"):
        if words[0] == "make":
            assert words[1] in targets
        elif words[0] in ("pip", "source", "unireason"):
            assert words[0] == "unireason" or ".venv" in words[1]


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p, "console")], ids=lambda p: p.name)
def test_commands_parse(page):
    for command in commands(page, "console"):
        build_parser().parse_args(command)


def test_relative_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"
