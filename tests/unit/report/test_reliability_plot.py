"""The reliability picture: what it says in words and where its points lie."""

import numpy as np
import pytest
from PIL import Image

from unireason.core.errors import FormatError
from unireason.report import plots
from unireason.report.plots import write_reliability

GOOD = {
    "n": 1200,
    "auroc": 0.834,
    "ece": 0.051,
    "bins": [
        {"low": 0.0, "high": 0.3, "n": 400, "mean": 0.2, "accuracy": 0.25, "interval": [0.21, 0.3]},
        {"low": 0.3, "high": 1.0, "n": 800, "mean": 0.7, "accuracy": 0.9, "interval": [0.88, 0.92]},
    ],
}
NOTHING = {"n": 0, "auroc": None, "ece": None, "bins": []}


def drawn(predictors, path, monkeypatch, **options):
    """Every panel's title, summary and axes."""
    found = []
    real = plots._dress
    monkeypatch.setattr(plots, "_dress", lambda axes, title: (found.append((axes, title)), real(axes, title)))
    write_reliability(predictors, path, **options)
    return [(axes, title, axes.texts[-1].get_text()) for axes, title in found]


def test_panels_and_words(tmp_path, monkeypatch):
    found = drawn(
        {"Agreement": GOOD, "Overlap": GOOD, "None": NOTHING}, tmp_path / "r.png", monkeypatch, probabilities=["Agreement"]
    )
    assert [(title, words) for _, title, words in found] == [
        ("Agreement", "1,200 answers  ·  AUROC 0.83  ·  ECE 0.05"),
        ("Overlap", "1,200 answers  ·  AUROC 0.83"),
        ("None", "0 answers"),
    ]
    first, second, third = (axes for axes, *_ in found)
    points = first.containers[-1][0].get_xydata()
    assert points.tolist() == [[0.2, 0.25], [0.7, 0.9]]
    whiskers = [part.tolist() for part in first.containers[-1][2][0].get_segments()]
    assert np.allclose(whiskers, [[[0.2, 0.21], [0.2, 0.3]], [[0.7, 0.88], [0.7, 0.92]]])
    heights = [bar.get_height() for bar in first.containers[0]]
    assert heights[1] == pytest.approx(2 * heights[0])  # twice as many answers
    assert len(first.lines) == len(second.lines) + 1  # the diagonal
    assert third.texts[0].get_text() == "no answer has a value"


@pytest.mark.parametrize("count", [0, 1, 4])
def test_any_number_of_predictors(tmp_path, count):
    path = write_reliability({f"p{n}": GOOD for n in range(count)}, tmp_path / "new" / "r.png")
    with Image.open(path) as picture:
        assert picture.width > 300
        assert (np.asarray(picture.convert("L")) < 200).any()


def test_incomplete_values_are_refused(tmp_path):
    with pytest.raises(FormatError, match="auroc"):
        write_reliability({"p": {"n": 1, "bins": []}}, tmp_path / "r.png")
    assert not (tmp_path / "r.png").exists()
