"""``unireason eval ground``: a few questions about phantoms by the built-in checkpoint, and what is refused."""

from __future__ import annotations

import json

import pytest

from unireason.cli import main
from unireason.evaluate.pointing import SCORES


def test_phantoms(tmp_path, capsys):
    out = tmp_path / "out"
    command = [
        "eval",
        "ground",
        "--questions",
        "4",
        "--seed",
        "3",
        "--data",
        str(tmp_path / "exam"),
        "--out",
        str(out),
        "--threads",
        "1",
    ]
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "results.json").read_text())
    assert (printed["kind"], printed["suite"], printed["n"]) == ("grounding", "phantom", 4)
    assert tuple(printed["scores"]) == SCORES
    assert printed["manifest"]["expert"] == {"name": "classical", "sha256": ""}
    assert printed["scores"]["iou"]["mean"] > 0.2
    rows = (out / "rows.jsonl").read_bytes()
    assert rows.count(b"\n") == 4
    worst, best = (out / "report.html").read_text().split("Best answers")
    assert "<figure>" in worst
    assert "<figure>" in best
    assert "| Dice, both |" in (out / "report.md").read_text()
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "IoU " in told
    assert "4 questions" in told
    assert (out / "rows.jsonl").read_bytes() == rows
    assert json.loads((out / "results.json").read_text()) == printed
    assert main([*command[:3], "5", *command[4:]]) == 2  # the folder holds another examination
    assert "error: the folder 'out' holds an evaluation with another questions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--questions", "0"], "at least 1 question"),
        (["--seed", "-1"], "at least 0"),
        (["--suite", "slake"], "phantom, built, u-mrg"),
        (["--suite", "u-mrg"], "no folder"),
        (["--suite", "u-mrg", "--data", "."], "Parquet"),
        (["--samples", "3"], "temperature above 0"),
        (["--expert", "medsam2"], "weights"),
        (["--weights", "x"], "none"),
    ],
)
def test_bad_arguments(tmp_path, capsys, monkeypatch, more, words):
    monkeypatch.chdir(tmp_path)
    assert main(["eval", "ground", "--out", str(tmp_path / "out"), *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
