"""The built-in checkpoint does what its card says."""

from __future__ import annotations

import json
import math

import pytest

import unireason
from recipes.phantom.card import SEED, measure_grounding
from unireason.cli import main
from unireason.evaluate.examination import examine
from unireason.evaluate.heldout import KINDS, make_exam, make_grounding_exam
from unireason.metrics.boxes import mask_dice
from unireason.model.files import BUILT_IN_CHECKPOINT, CARD, locate

FOLDER = locate(BUILT_IN_CHECKPOINT)
FRESH = 60  # questions of each kind


@pytest.fixture(scope="module")
def card():
    return json.loads((FOLDER / CARD).read_text())


@pytest.fixture(scope="module")
def reasoner():
    return unireason.load("phantom", device="cpu", dtype="fp32")


def test_it_is_small_and_safe():
    files = {p.suffix for p in FOLDER.iterdir()}
    assert files <= {".safetensors", ".json", ".toml", ".jinja", ".md", ".txt", ".png"}
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) <= 16 << 20


def test_the_card_is_of_these_weights(card, reasoner):
    assert card["checkpoint_sha256"] == reasoner.checkpoint.sha256
    assert card["questions"] >= 500


def test_targets(card):
    """What is shipped beats chance and a reader without pictures; single families may not, and the card says so."""
    wanted = {"2d": 0.5, "3d": 0.35}
    for key, iou in wanted.items():
        part = card["scores"][key]
        families = part["by_family"].values()
        blind = sum(row["n"] * max(row["chance"], row["text_only"]) for row in families) / part["n"]
        assert part["accuracy_ci95"][0] > blind
        assert part["mean_box_iou"] >= iou
        assert part["crop_rate"] >= 0.95


@pytest.mark.timeout(1200)
def test_a_fresh_examination_confirms_the_card(card, reasoner, tmp_path):
    """Other patients than the card's; a right card is refuted by chance in fewer than one of a thousand examinations."""
    exam = make_exam(SEED + 1, FRESH, tmp_path / "exam")
    for key, kind in KINDS:
        stated, found = card["scores"][key], examine(reasoner, exam, tmp_path / key, kind=kind, count=FRESH).scores
        # The card's families in the shares of this examination: rare ones have more weight in the smaller of the two.
        families = found["by_family"]
        expected = sum(stated["by_family"][f]["accuracy"] * row["n"] for f, row in families.items()) / FRESH
        low, high = stated["accuracy_ci95"]
        chance = 3.5 * math.sqrt(max(expected * (1 - expected), 1 / FRESH) / FRESH)
        assert (
            expected - (stated["accuracy"] - low) - chance <= found["accuracy"] <= expected + (high - stated["accuracy"]) + chance
        )
        assert found["mean_box_iou"] == pytest.approx(stated["mean_box_iou"], abs=0.12)
        assert found["crop_rate"] >= stated["crop_rate"] - 0.06


def test_targets_of_grounding(card):
    part = card["scores"]["grounding"]
    assert part["n"] >= 300
    assert part["iou"]["ci95"][0] > 0.5
    assert part["dice_both"]["ci95"][0] > 0.6


@pytest.mark.timeout(600)
def test_a_fresh_examination_confirms_the_grounding(card, reasoner, tmp_path):
    """Structures in the card's shares; the spread of single overlaps is at most one half."""
    exam = make_grounding_exam(SEED + 1, FRESH, tmp_path / "exam")
    stated, found = card["scores"]["grounding"], measure_grounding(reasoner, exam, count=FRESH)
    for key in ("iou", "dice_both"):
        parts = found["by_category"]
        expected = sum(stated["by_category"][name][key]["mean"] * row["n"] for name, row in parts.items()) / found["n"]
        assert found[key]["mean"] == pytest.approx(expected, abs=3.5 * 0.5 / math.sqrt(found["n"]))


def test_an_implicit_question_becomes_a_mask(tmp_path, capsys):
    """The liver of a phantom that nothing was trained on, from its description alone, followed from the middle slice."""
    assert main(["phantom", str(tmp_path / "p"), "--seed", "7", "--patients", "1", "--json"]) == 0
    folder = tmp_path / "p" / "phantom-7-00000"
    capsys.readouterr()
    question = "Which structure makes bile and stores sugar? Mark it."
    out = ["--propagate", "--out", str(tmp_path / "out"), "--json"]
    assert main(["ground", str(folder / "image.nii.gz"), "-q", question, *out]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "liver" in found["reasoning"]
    known = json.loads((folder / "structures.json").read_text())["structures"]
    labels = unireason.read(folder / "labels.nii.gz").pixels
    mask = unireason.read(tmp_path / "out" / "mask.nii.gz").pixels
    assert mask_dice(mask, labels == next(s["label"] for s in known if s["name"] == "liver")) > 0.8
