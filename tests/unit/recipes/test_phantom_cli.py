"""``python -m recipes.phantom card`` and ``base``: what reaches the functions behind them."""

from __future__ import annotations

import json

import pytest

from recipes.phantom import card
from recipes.phantom.__main__ import main
from recipes.phantom.recipe import Base
from unireason.cli import main as unireason
from unireason.train.config import read
from unireason.train.log import MetricsLog


@pytest.fixture
def written(monkeypatch):
    """What ``write_card`` was called with."""
    calls = []

    def write(checkpoint, out, **how):
        calls.append((checkpoint, out, how))
        how["progress"](2)
        out.mkdir(exist_ok=True)
        (out / "card.json").write_text('{"seed": 1}\n')
        return out / "card.json"

    monkeypatch.setattr(card, "write_card", write)
    return calls


def run_folder(folder, stage):
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"settings": {"kind": stage}, "versions": {}}))
    with MetricsLog(folder, tensorboard=False) as journal:
        for step in (1, 2, 3):
            journal.write(stage, step, {"loss": 1 / step})
    return folder


def test_a_card_is_written_with_the_runs_in_order_and_their_curves(written, tmp_path, capsys):
    sft, grpo = run_folder(tmp_path / "s", "sft"), run_folder(tmp_path / "g", "grpo")
    out = tmp_path / "out"
    line = [
        "card",
        "phantom",
        "--out",
        str(out),
        "--grpo",
        str(grpo),
        "--sft",
        str(sft),
        "--questions",
        "7",
        "--seed",
        "3",
    ]
    assert main(line) == 0
    ((checkpoint, where, how),) = written
    assert (checkpoint, where, how["questions"], how["seed"]) == ("phantom", out, 7, 3)
    assert [run.name for run in how["training"]] == ["sft", "grpo"]
    assert how["training"][0].settings == {"kind": "sft"}
    assert [entry["step"] for entry in how["training"][1].lines] == [1, 2, 3]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"wrote {out / 'card.json'}\n"


def test_without_runs_there_are_no_curves_and_the_card_is_printed(written, tmp_path, capsys):
    assert main(["card", "phantom", "--out", str(tmp_path / "out"), "--json"]) == 0
    assert not (tmp_path / "out" / "curves.png").exists()
    assert json.loads(capsys.readouterr().out) == {"seed": 1}
    assert written[0][2]["seed"] == card.SEED
    assert written[0][2]["questions"] == 600


def test_a_folder_that_is_no_run_is_refused(written, tmp_path, capsys):
    assert main(["card", "phantom", "--out", str(tmp_path / "out"), "--sft", str(tmp_path)]) == 2
    assert "no folder of a run" in capsys.readouterr().err
    assert not written


def test_the_resolved_settings_of_the_base_are_a_run_file(tmp_path, capsys):
    config = tmp_path / "base.toml"
    config.write_text('kind = "base"\nsteps = 5\n[shape]\nlayers = 2\n')
    line = ["base", "--config", str(config), "--out", str(tmp_path / "run"), "--set", "shape.width=64", "--dry-run"]
    assert main(line) == 0
    config.write_text(capsys.readouterr().out)
    found = read(config, Base)
    assert (found.steps, found.shape.layers, found.shape.width, found.rate) == (5, 2, 64, 1e-3)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("old", ["phantom", "lessons", "card"])
def test_the_old_command_says_where_it_has_gone(old, capsys):
    assert unireason(["train", old, "--config", "x.toml", "more"]) == 2
    assert "python -m recipes.phantom" in capsys.readouterr().err
