"""``unireason eval evidence``: what it prints and writes, with a scripted model in place of a real one."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tiny
from unireason.cli import main
from unireason.engine import reasoner as reasoners
from unireason.engine.local import LocalEngine
from unireason.engine.reasoner import Reasoner
from unireason.evaluate.evidence.conditions import CONDITIONS
from unireason.evaluate.suites import catalogue
from unireason.evaluate.suites.suite import Entry
from unireason.types import Box2D, Case, Geometry, Look, Source


class Pictures:
    """Two patients, two questions each."""

    name, rule = "pictures", "the letter"

    def entries(self):
        for n in range(4):
            looks = (Look("it", Box2D(0, 0, 28, 28)),)
            yield Entry(f"q{n}", f"c{n // 2}", f"p{n // 2}", f"Which, {n}?", ("one", "two"), ("one",), "A", {}, looks)

    def read(self, case):
        pixels = np.random.default_rng(int(case[1])).integers(0, 256, (56, 56), dtype=np.uint8)
        return Case(pixels, "image", Geometry((56, 56), (56, 56), (0, 1), (False, False)), "", Source(case, "npy", case))


@pytest.fixture
def scripted(monkeypatch):
    """The network of ``tiny`` behind the real engine: looks at a corner and says A."""
    text = "<think>see <|box_start|>[4,4,20,20]<|box_end|> it</think>A. one<|im_end|>"
    made = tiny.checkpoint()
    engine = LocalEngine(made, picker=lambda *rest: tiny.Scripted(tiny.spell(text)))
    monkeypatch.setattr(reasoners, "load", lambda ref: Reasoner(made, engine=engine))
    monkeypatch.setattr(catalogue, "open_suite", lambda name, root, **how: Pictures())


@pytest.mark.usefixtures("scripted")
def test_prints_one_object_and_writes_the_folder(tmp_path, capsys):
    command = ["eval", "evidence", "--suite", "pictures", "--out", str(tmp_path), "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    # Partners of a question must not share its region, and all regions are the same here.
    assert list(printed["conditions"]) == [name for name in CONDITIONS if name != "shuffled"]
    assert all({"accuracy", "ci95", "n"} <= set(part) for part in printed["conditions"].values())
    assert printed["conditions"]["true"]["n"] == 4
    assert printed["reliance"] == {"value": 0, "ci95": [0, 0], "n": 4}
    assert printed == json.loads((tmp_path / "results.json").read_text())
    assert "Survivors" in (tmp_path / "evidence.html").read_text()
    assert (tmp_path / "evidence.png").stat().st_size > 10_000
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert before.count(b"\n") == 28
    assert main(command[:-1]) == 0
    assert "evidence reliance (random_region): 0.00 (95% 0.00\u20130.00)" in capsys.readouterr().out
    assert (tmp_path / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize("more", [["--questions", "0"], ["--seed", "-1"], ["--suite", "nothing"]])
def test_bad_arguments(tmp_path, capsys, more):
    assert main(["eval", "evidence", "--out", str(tmp_path / "out"), *more]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()
