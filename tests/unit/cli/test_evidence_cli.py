"""``unireason eval evidence``: what it prints and writes, with a scripted model in place of a real one."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tiny
from unireason.cli import main
from unireason.core.errors import ImageReadError
from unireason.core.types import Box2D, Case, Geometry, Look, Source
from unireason.engine import reasoner as reasoners
from unireason.engine.local import LocalEngine
from unireason.engine.reasoner import Reasoner
from unireason.evaluate.evidence import CONDITIONS
from unireason.evaluate.suites import base
from unireason.evaluate.suites.base import Entry


class Pictures:
    """Two patients, two questions each."""

    name, rule = "pictures", "the letter"
    broken, listed = "", 0

    def entries(self):
        self.listed += 1
        for n in range(4):
            looks = (Look("it", Box2D(0, 0, 28, 28)),)
            yield Entry(f"q{n}", f"c{n // 2}", f"p{n // 2}", f"Which, {n}?", ("one", "two"), ("one",), "A", {}, looks)

    def read(self, case):
        if case == self.broken:
            raise ImageReadError(f"{case} is <broken>")
        pixels = np.random.default_rng(int(case[1])).integers(0, 256, (56, 56), dtype=np.uint8)
        return Case(pixels, "image", Geometry((56, 56), (56, 56), (0, 1), (False, False)), "", Source(case, "npy", case))


@pytest.fixture
def scripted(monkeypatch):
    """The network of ``tiny`` behind the real engine: looks at a corner and says A."""
    text = "<think>see <|box_start|>[4,4,20,20]<|box_end|> it</think>A. one<|im_end|>"
    made = tiny.checkpoint()
    engine = LocalEngine(made, picker=lambda *rest: tiny.Scripted(tiny.spell(text)))
    monkeypatch.setattr(reasoners, "load", lambda ref, **how: Reasoner(made, engine=engine))
    suite = Pictures()
    monkeypatch.setattr(base, "open_suite", lambda name, root, **how: suite)
    return suite


@pytest.mark.usefixtures("scripted")
def test_prints_one_object_and_writes_the_folder(tmp_path, capsys):
    command = ["eval", "evidence", "--suite", "pictures", "--out", str(tmp_path), "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    # Partners of a question must not share its region, and all regions are the same here.
    assert list(printed["conditions"]) == [name for name in CONDITIONS if name != "shuffled"]
    assert all({"accuracy", "ci95", "n"} <= set(part) for part in printed["conditions"].values())
    assert printed["conditions"]["true"]["n"] == 4
    assert (printed["reliance"]["value"], printed["reliance"]["n"]) == (0, 4)
    low, high = printed["reliance"]["ci95"]
    assert low <= 0 < high < 1  # four questions cannot say that nothing is relied on
    assert printed == json.loads((tmp_path / "results.json").read_text())
    assert "Survivors" in (tmp_path / "evidence.html").read_text()
    assert (tmp_path / "evidence.png").stat().st_size > 10_000
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert before.count(b"\n") == 28
    assert main(command[:-1]) == 0
    assert "Evidence reliance, random region  0.00 (0.00\u20130.84)\n" in capsys.readouterr().out
    assert (tmp_path / "rows.jsonl").read_bytes() == before


def test_what_cannot_be_read_is_named_and_asked_again(scripted, tmp_path, capsys):
    command = ["eval", "evidence", "--suite", "pictures", "--out", str(tmp_path)]
    scripted.broken = "c1"
    assert main(command) == 2
    assert "2 of 4 questions cannot be asked; of 'c1': c1 is <broken>" in capsys.readouterr().err
    assert scripted.listed == 1
    assert main([*command, "--skip", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "2 questions could not be asked and were left out.\n  q2: c1 is <broken>.\n" in printed
    page = (tmp_path / "evidence.html").read_text()
    assert "<b>2 questions could not be asked and were left out.</b><ul><li>q2: c1 is &lt;broken&gt;.</li>" in page
    scripted.broken = ""
    assert main([*command, "--again"]) == 0
    assert "could not be asked" not in capsys.readouterr().out + (tmp_path / "evidence.html").read_text()


@pytest.mark.parametrize("more", [["--questions", "0"], ["--seed", "-1"], ["--suite", "nothing"], ["--skip", "2"]])
def test_bad_arguments(tmp_path, capsys, more):
    assert main(["eval", "evidence", "--out", str(tmp_path / "out"), *more]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()
