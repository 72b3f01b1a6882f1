"""``unireason data check``: what it prints, writes and returns."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import datasets
from unireason.cli import main
from unireason.data.dataset import Dataset


@pytest.fixture
def copy(sound: Dataset, place: Path) -> Path:
    shutil.copytree(sound.folder, place)
    return place


def test_json_goes_to_the_output_and_reports_into_the_folder(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["data", "check", str(copy), "--samples", "4", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((copy / "check.json").read_text())
    assert code == (0 if printed["ok"] else 1)
    assert {"accuracy", "chance", "ci95"} <= set(printed["shortcut"]["size_comparison"])
    assert printed["checked"]["masks"]["cases"] == 4
    assert (copy / "check.html").read_text().startswith("<!doctype html>")
    assert "Result in `check.json`: " in (copy / "README.md").read_text()


def test_checked_again_the_reports_are_no_strays(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        main(["data", "check", str(copy), "--without-masks", "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok    files") for line in lines)
    assert not any(" masks " in line for line in lines)


def test_something_wrong_exits_with_1_and_says_what(
    sound: Dataset, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = next(s for s in sound.samples() if s.task == "vqa")
    wrong = replace(first, question=replace(first.question, answer=(first.question.answer + 1) % len(first.question.options)))
    datasets.edited(sound, place, sample=lambda s: wrong if s.id == first.id else s)
    page = tmp_path / "elsewhere.html"
    assert main(["data", "check", str(place), "--without-masks", "--html", str(page)]) == 1
    out = capsys.readouterr().out
    assert "WRONG answers" in out
    assert f"- answers {first.id}: " in out
    assert out.rstrip().endswith("not ok")
    assert first.id in page.read_text()
    assert not (place / "check.html").exists()
    problem = next(p for p in json.loads((place / "check.json").read_text())["problems"] if p["check"] == "answers")
    assert set(problem) == {"check", "sample", "detail"}


def test_a_manifest_without_sense_costs_the_card_alone(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"licence": 7}))
    assert main(["data", "check", str(copy), "--without-masks", "--quiet"]) in (0, 1)
    assert "the card cannot be written again" in capsys.readouterr().err
    assert (copy / "check.json").is_file()


def test_reports_that_cannot_be_written_cost_no_verdict(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "check.json").mkdir()
    code = main(["data", "check", str(copy), "--without-masks", "--json"])
    captured = capsys.readouterr()
    assert code == (0 if json.loads(captured.out)["ok"] else 1)
    assert "remark:" in captured.err


@pytest.mark.parametrize("arguments", [["--samples", "0"], ["--root", "/nowhere/at/all"]])
def test_bad_arguments_exit_with_2(copy: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(copy), *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_folder_without_a_data_set_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path)]) == 2
    assert "unireason data build" in capsys.readouterr().err
