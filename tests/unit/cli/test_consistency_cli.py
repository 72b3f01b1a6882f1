"""``unireason eval consistency`` with the built-in checkpoint on a few questions."""

from __future__ import annotations

import json

import pytest

from unireason.cli import main


def test_prints_one_object_writes_the_folder_and_goes_on(tmp_path, capsys):
    exam = str(tmp_path / "exam")
    command = ["eval", "consistency", "--data", exam, "--questions", "3", "--seed", "1", "--out", str(tmp_path), "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["kind"] == "consistency"
    assert printed["manifest"]["questions"] == 3
    assert printed["n"] >= 3
    # Looks of a trained model agree far beyond those at other patients, whatever a few questions say about how far.
    assert printed["conditional"]["agreement"]["mean_iou"] > 0.4
    assert printed["conditional"]["slice_to_truth"]["mean_iou"] > 0.4
    assert printed == json.loads((tmp_path / "results.json").read_text())
    assert "How agreement spreads" in (tmp_path / "consistency.html").read_text()
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert main(command[:-1]) == 0
    assert f"wrote {tmp_path / 'consistency.html'}" in capsys.readouterr().out
    assert (tmp_path / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize("more", [["--questions", "0"], ["--seed", "-1"], ["--suite", "nothing"], ["--suite", "slake"]])
def test_bad_arguments(tmp_path, capsys, more):
    assert main(["eval", "consistency", "--out", str(tmp_path / "out"), *more]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()
