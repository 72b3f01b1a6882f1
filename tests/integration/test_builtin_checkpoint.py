"""The built-in checkpoint does what its card says."""

from __future__ import annotations

import json

import pytest

import unireason
from unireason.evaluate.card import SEED, measure
from unireason.model.files import BUILT_IN, CARD, locate

FOLDER = locate(BUILT_IN)


@pytest.fixture(scope="module")
def card():
    return json.loads((FOLDER / CARD).read_text())


@pytest.fixture(scope="module")
def reasoner():
    return unireason.load("phantom", device="cpu", dtype="fp32")


def test_it_is_small_and_safe():
    files = {p.suffix for p in FOLDER.iterdir()}
    assert files <= {".safetensors", ".json", ".toml", ".jinja", ".md", ".txt"}
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) <= 16 << 20


def test_the_card_is_of_these_weights(card, reasoner):
    assert card["checkpoint_sha256"] == reasoner.checkpoint.sha256
    assert card["questions"] >= 500


def test_targets(card):
    wanted = {"2d": (0.85, 0.6), "3d": (0.75, 0.5)}
    for key, (accuracy, iou) in wanted.items():
        part = card["scores"][key]
        assert part["accuracy"] >= accuracy
        assert part["mean_box_iou"] >= iou
        assert part["crop_rate"] >= 0.95
        for family, row in part["by_family"].items():
            assert row["accuracy_ci95"][0] > max(row["chance"], row["text_only"]), family


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_cards_figures_are_reproduced(card, reasoner):
    """Real generation on the card's held-out patients; one answer in a hundred may fall otherwise on another processor."""
    check = card["check"]
    found = measure(reasoner, seed=SEED + 1, count=check["questions"])
    for key in ("2d", "3d"):
        stated = check["scores"][key]
        assert found[key]["accuracy"] == pytest.approx(stated["accuracy"], abs=0.0112)
        assert found[key]["mean_box_iou"] == pytest.approx(stated["mean_box_iou"], abs=0.01)
        assert found[key]["crop_rate"] == pytest.approx(stated["crop_rate"], abs=0.0112)
        assert found[key]["text_only"] == pytest.approx(stated["text_only"])
