"""The command that compares runs: its table, its JSON, its page, what it refuses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

import evaluation_samples as samples
from unireason.cli import compare
from unireason.core.errors import FormatError


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    patterns = {"one": [n < 10 for n in range(20)], "two": [n < 9 or 10 <= n < 16 for n in range(20)]}
    return [str(samples.write_folder(tmp_path / name, samples.rows_of(pattern))) for name, pattern in patterns.items()]


def told(*words: str) -> int:
    parser = argparse.ArgumentParser()
    compare.add_compare(parser.add_subparsers())
    args = parser.parse_args(["compare", *words])
    result: Any = args.run(args)
    return int(result)


def test_table_and_page(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(*folders, "--out", str(tmp_path / "page.html")) == 0
    out = capsys.readouterr().out
    assert "suite phantom, 2 runs, 20 questions, 10 patients" in out
    assert "Against one" in out
    assert any(line.split()[:2] == ["two", "75.0%"] for line in out.splitlines())
    assert "+25.0" in out
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_json_names_and_baseline(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(*folders, "--names", "A, B", "--baseline", "B", "--json", "--out", str(tmp_path / "page.html"))
    found = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in found["runs"]] == ["A", "B"]
    assert [(own["run"], own["baseline"], own["difference"]) for own in found["comparisons"]] == [("A", "B", -0.25)]
    told(*folders, "--baseline", folders[1], "--json", "--out", str(tmp_path / "page.html"))
    assert json.loads(capsys.readouterr().out)["baseline"] == "two"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--names", "A"], "one name a run"),
        (["--names", "A,"], "one name a run"),
        (["--names", "A,A"], "different names"),
        (["--baseline", "three"], "no run is called"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_refused(folders: list[str], tmp_path: Path, more: list[str], said: str) -> None:
    with pytest.raises(FormatError, match=f"(?i){said}"):
        told(*folders, "--out", str(tmp_path / "page.html"), *more)
    assert not (tmp_path / "page.html").exists()
