"""The figure of an evidence check: it is drawn, also where reliance is undefined, and nothing is drawn of nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unireason.core.errors import FormatError
from unireason.report.plots import write_evidence_figure


def part(accuracy: float, lost: float | None = None, *, removed: bool = True) -> dict:
    own = {"accuracy": accuracy, "ci95_patients": [accuracy - 0.05, accuracy + 0.05], "chance": 0.4}
    known = {"value": lost, "ci95": None if lost is None else [lost - 0.1, lost + 0.1]}
    return own | ({"reliance": known} if removed else {})


def results(lost: float | None = 0.5) -> dict:
    conditions = {"true": part(0.8, removed=False), "blank": part(0.4, 0.9), "random_region": part(0.6, lost)}
    return {"conditions": conditions, "reliance_condition": "random_region"}


def drawn(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.int16)


def test_the_picture_follows_the_values(tmp_path):
    one = drawn(write_evidence_figure(results(), tmp_path / "a.png"))
    same = drawn(write_evidence_figure(results(), tmp_path / "b.png"))
    other = drawn(write_evidence_figure(results(0.2), tmp_path / "c.png"))
    undefined = drawn(write_evidence_figure(results(None), tmp_path / "d.png"))
    dots = drawn(write_evidence_figure(results(), tmp_path / "e.png", runs=[results(0.2), results(None)]))
    assert one.shape[1] > one.shape[0] > 150
    assert np.array_equal(one, same)
    half = one.shape[1] * 6 // 10
    for changed in (other, undefined):
        assert np.array_equal(one[:, :half], changed[:, :half])  # accuracies are the same
        assert not np.array_equal(one[:, half:], changed[:, half:])
    assert not np.array_equal(one, dots)


def test_results_of_something_else_are_refused(tmp_path):
    with pytest.raises(FormatError, match="without the condition 'true'"):
        write_evidence_figure({"conditions": {"blank": part(0.5)}}, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
