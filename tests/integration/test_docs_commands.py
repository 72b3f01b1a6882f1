"""Every command that README and docs show in an ``sh`` block runs, in order, in an empty folder. ``console`` blocks need things that a
test machine has not, such as a hub or an hour, and are only parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from unireason.cli import build_parser, main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path, fence: str) -> list[list[str]]:
    blocks = re.findall(rf"^```{fence}\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("unireason ")]


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p, "sh")], ids=lambda p: p.name)
def test_commands_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in commands(page, "sh"):
        assert main(command) == 0, command


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p, "console")], ids=lambda p: p.name)
def test_commands_parse(page):
    for command in commands(page, "console"):
        build_parser().parse_args(command)


def test_relative_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_the_python_of_the_first_steps_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "start" / "first-steps.md"
    main(commands(page, "sh")[0])
    code = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S)[0]
    exec(compile(code, str(page), "exec"), {})
