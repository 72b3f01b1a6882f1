"""``unireason eval run`` from end to end: the built-in checkpoint on a few phantoms."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from unireason.cli import main
from unireason.cli.eval import add_suite, opened
from unireason.evaluate.suites.built import BuiltSuite
from unireason.grounding.profile import load_profile
from unireason.model.files import locate


@pytest.fixture
def listed(monkeypatch):
    """Grows by one whenever all questions of a built suite are listed."""
    times, entries = [], BuiltSuite.entries

    def counted(suite):
        times.append(1)
        return entries(suite)

    monkeypatch.setattr(BuiltSuite, "entries", counted)
    return times


def test_a_run_over_phantoms(tmp_path, capsys, listed):
    out = tmp_path / "run"
    command = ["eval", "run", "--questions", "4", "--option", "kind=image", "--threads", "1", "--out", str(out), "--json"]
    assert main(command) == 0
    assert len(listed) == 1
    results = json.loads(capsys.readouterr().out)
    assert results == json.loads((out / "results.json").read_text())
    assert (results["kind"], results["suite"], results["n"]) == ("run", "phantom", 4)
    assert set(results["scores"]["by"]["kind"]) == {"image"}
    low, high = results["scores"]["all"]["accuracy_ci95"]
    assert low <= results["scores"]["all"]["accuracy"] <= high
    made = results["manifest"]
    assert made["checkpoint"]["sha256"]
    assert (made["data"], made["split"], made["suite_options"]) == ("", "", {"kind": "image"})
    again = "unireason eval run --suite phantom --model phantom --questions 4 --seed 0 --option kind=image --out DIR"
    assert again in (out / "report.md").read_text()
    assert results["questions_a_second"] > 0
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert [row["picture"] for row in rows] == [f"pictures/{n:04d}.png" for n in range(4)]
    with Image.open(out / rows[0]["picture"]) as picture:
        assert max(picture.size) == 256
    assert "<html" in (out / "report.html").read_text()
    assert (out / "report.md").exists()
    before = (out / "rows.jsonl").read_bytes()
    assert main(command[:-1]) == 0
    told = capsys.readouterr().out
    assert "Accuracy" in told
    assert any(line.startswith("m3d ") for line in told.splitlines())
    assert told.splitlines()[-1] == f"wrote {out / 'report.html'}"
    assert (out / "rows.jsonl").read_bytes() == before


def test_how_a_suite_was_opened_holds_no_whole_path(tmp_path):
    parser = argparse.ArgumentParser()
    add_suite(parser)
    more = ["--option", f"frame={tmp_path / 'model'}", "--option", "filter=CT/MR"]
    args = parser.parse_args(["--suite", "slake", "--data", str(tmp_path / "Slake 1.0"), *more])
    found = opened(args, SimpleNamespace(split="test"))
    assert found == {"data": "Slake 1.0", "split": "test", "suite_options": {"frame": "model", "filter": "CT/MR"}}
    assert opened(parser.parse_args([]), SimpleNamespace(split=None)) == {"data": "", "split": "", "suite_options": {}}


@pytest.mark.parametrize(
    "more",
    [
        ["--samples", "3", "--temperature", "0"],
        ["--vote", "3", "--samples", "2"],
        ["--questions", "0"],
        ["--option", "kind"],
        ["--option", "nothing=1"],
        ["--suite", "nothing"],
    ],
)
def test_bad_arguments(tmp_path, capsys, more):
    assert main(["eval", "run", "--out", str(tmp_path / "out"), *more]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_run_in_other_words_and_grey_levels(tmp_path, capsys):
    own = load_profile(locate("phantom"))
    (tmp_path / "mine.toml").write_text(replace(own, name="mine", max_rounds=1).to_toml())
    command = ["eval", "run", "--questions", "2", "--threads", "1", "--out", str(tmp_path / "run"), "--no-pictures", "--json"]
    assert main([*command, "--prompts", str(tmp_path / "mine.toml"), "--window", "minmax"]) == 0
    made = json.loads(capsys.readouterr().out)["manifest"]
    assert (made["profile"]["name"], made["prompts"], made["window"]) == ("mine", "mine.toml", "minmax")
    assert "--prompts mine.toml --window minmax" in (tmp_path / "run" / "report.md").read_text()
    rows = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert main([*command, "--window", "minmax"]) == 2  # other words are another evaluation
    assert "profile" in capsys.readouterr().err
