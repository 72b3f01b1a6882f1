"""The card of a checkpoint: figures beside those of a reader without pictures, and how it was trained."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from test_grounding_scores import Knowing as Pointing
from test_heldout import Knowing

from recipes.phantom import card
from recipes.phantom.card import Training, measure, measure_grounding, write_card
from unireason.data.scene import FAMILIES
from unireason.evaluate.heldout import make_exam, make_grounding_exam

LINES = [
    {"stage": "sft", "step": 1, "loss": 2.0},
    {"stage": "sft", "step": 50, "loss": 1.0, "eval_accuracy_2d": 0.5, "eval_crop_rate": 0.9},
    {"stage": "sft", "step": 100, "loss": 0.5, "eval_accuracy_2d": 0.75, "eval_crop_rate": None},
]


@pytest.fixture(scope="module")
def exam(tmp_path_factory):
    return make_exam(8, 12, tmp_path_factory.mktemp("exam") / "a")


@pytest.fixture(scope="module")
def implicit(tmp_path_factory):
    return make_grounding_exam(8, 12, tmp_path_factory.mktemp("exam") / "implicit")


def test_grounding_is_measured(implicit):
    done = []
    found = measure_grounding(Pointing(implicit), implicit, count=10, progress=done.append)
    assert (found["n"], found["expert"], done[-1]) == (10, "classical", 10)
    assert found["iou"]["mean"] == found["pdice"]["mean"] == 1.0
    assert 0.8 < found["dice_both"]["mean"] <= 1.0
    assert sum(part["n"] for part in found["by_category"].values()) == 10
    silent = measure_grounding(Pointing(implicit, silent=True), implicit, count=10)
    assert silent["iou"]["mean"] == silent["dice_points"]["mean"] == silent["dice_both"]["mean"] == 0.0


def test_both_kinds_are_measured_beside_a_reader_without_pictures(exam):
    done = []
    found = measure(Knowing(exam), exam, count=9, progress=done.append)
    assert {key: part["n"] for key, part in found.items()} == {"2d": 9, "3d": 9}
    assert done == sorted(done)
    assert done[-1] == 18
    for part in found.values():
        assert part["accuracy"] == 1.0
        rows = part["by_family"].values()
        assert all(0 <= row["text_only"] <= 1 for row in rows)
        assert part["text_only"] == pytest.approx(sum(r["text_only"] * r["n"] for r in rows) / 9)
        # Options are made such that words do not tell them apart.
        assert part["text_only"] < 0.8


def test_a_run_is_told_by_its_settings_steps_and_evaluations():
    told = Training("sft", {"samples": 4}, LINES).to_json()
    assert told["settings"] == {"samples": 4}
    assert told["steps"] == 100
    assert [marks["step"] for marks in told["evaluations"]] == [50, 100]
    assert "loss" not in told["evaluations"][0]
    assert Training("sft", {}, ()).to_json() == {"settings": {}, "steps": 0, "evaluations": []}


def test_card_and_page_say_the_same(exam, implicit, tmp_path, monkeypatch):
    reasoner = Knowing(exam)
    reasoner.ground_many = Pointing(implicit).ground_many
    monkeypatch.setattr(card, "load", lambda ref: reasoner)
    monkeypatch.setattr(card, "make_exam", lambda seed, questions, folder, frame: exam)
    monkeypatch.setattr(card, "make_grounding_exam", lambda seed, questions, folder, frame: implicit)
    lost = SimpleNamespace(to_json=lambda: {"value": 0.375, "ci95": None, "n": 6})
    monkeypatch.setattr(card, "measure_reliance", lambda *_, **__: SimpleNamespace(reliance=lost, by_kind={}))
    (tmp_path / "curves.png").write_bytes(b"")
    path = write_card("phantom", tmp_path, questions=6, seed=8, training=[Training("sft", {"samples": 4}, LINES)])
    found = json.loads(path.read_text())
    assert (found["checkpoint_sha256"], found["seed"], found["questions"]) == ("abc", 8, 6)
    assert found["exam_sha256"] == [made.manifest["content_sha256"] for made in (exam, implicit)]
    assert "| **all** | 1.00 (0.54 to 1.00) | 1.00 (0.54 to 1.00) |" in (tmp_path / "README.md").read_text()
    assert found["training"]["sft"]["steps"] == 100
    page = (tmp_path / "README.md").read_text()
    for key in ("2d", "3d"):
        scores = found["scores"][key]
        assert sum(own["n"] for own in scores["by_kind"].values()) == 6
        assert scores["reliance"]["value"] == 0.375
        assert f"| 0.38 | {scores['ceiling']['value']:.2f} | 6 |" in page
        for name, own in scores["by_kind"].items():
            assert f"| {name.replace('_', ' ')} | 100% |" in page
            assert own["own_boxes"] is None  # its looks bear no names
    assert "Research only, not a medical device." in page
    assert "Validation, first (step 50): accuracy 2d 0.50, crop rate 0.90." in page
    assert "Validation, last (step 100): accuracy 2d 0.75." in page
    assert "![Learning curves](curves.png)" in page
    for name in FAMILIES:
        row = found["scores"]["3d"]["by_family"].get(name)
        if row:
            assert f"| {name.replace('_', ' ')} | {row['accuracy']:.1%} |" in page
