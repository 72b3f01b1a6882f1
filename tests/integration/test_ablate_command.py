"""An ablation of real trainings and evaluations, as small as it can be: two arms, one after the other, one seed, one step each."""

from __future__ import annotations

import json

import pytest

from unireason.cli import main

CONFIG = """
kind = "ablation"
seeds = [3]
reference = "short"
[train]
file = "sft.toml"
[evaluate]
suite = "built"
data = "exam"
questions = 6
[[arms]]
name = "short"
[[arms]]
name = "longer"
title = "One step more, without looks"
after = "short"
set = ["data.images=0.5"]
arguments = ["--crop-source", "none"]
[[claims]]
text = "A step more helps"
better = "longer"
than = "short"
"""
SFT = """
kind = "sft"
batch_size = 2
[model]
init_from = "phantom"
precision = "fp32"
[data]
folders = ["data"]
images = 1.0
[run]
steps = 1
eval_samples = 0
[cache]
folder = "off"
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_arms_are_trained_and_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ablation.toml").write_text(CONFIG)
    (tmp_path / "sft.toml").write_text(SFT)
    for name, seed in (("data", "1"), ("exam", "2")):
        assert main(["data", "build", "phantom", "--patients", "6", "--seed", seed, "--out", name, "--quiet"]) == 0
    capsys.readouterr()
    command = ["ablate", "ablation.toml", "--out", "out", "--json"]
    assert main(command) == 0
    results = json.loads(capsys.readouterr().out)
    assert [arm["all"]["n"] for arm in results["arms"]] == [6, 6]
    assert results["arms"][0]["exposure"] == {"samples": 2, "image": 2, "volume": 0}
    assert results["arms"][1]["exposure"] == {"samples": 4, "image": 3, "volume": 1}
    assert results["claims"][0]["verdict"] in ("holds", "does not hold", "undecided")
    assert len({hashes[0] for hashes in results["manifest"]["checkpoints"].values()}) == 2
    assert (tmp_path / "out" / "ablation.html").is_file()
    for note in (tmp_path / "out" / "short").rglob("*.done.json"):  # as if the runs had been made by hand
        note.unlink()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == results
