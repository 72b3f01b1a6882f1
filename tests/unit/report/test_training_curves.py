"""Curves of a run: which panels are drawn, what running means do with gaps, and what the picture shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from unireason.core.errors import UniReasonError
from unireason.report import plots as drawing
from unireason.report.plots import PANELS, curves, running, stages, write_curves


def rows(stage, count, **values):
    """Lines 1..count; a value is a number or a function of the step."""
    return [
        {"stage": stage, "step": i, "time": 0.0, **{k: v(i) if callable(v) else v for k, v in values.items()}}
        for i in range(1, count + 1)
    ]


def titles(lines):
    run = stages(lines)
    return [panel.title for panel in PANELS if curves(run, panel.keys)]


def shown(lines, path, monkeypatch):
    """Titles and legends as they are drawn."""
    found = []
    real = drawing._label
    monkeypatch.setattr(
        drawing, "_label", lambda axes, panel, legend: (found.append((panel.title, legend)), real(axes, panel, legend))
    )
    write_curves(lines, path)
    return dict(found)


def test_panels_are_those_the_log_has_values_for():
    assert titles(rows("sft", 3, loss=1.0, tokens_right=0.5, lr=1e-5, padding=0.1, seconds_data=1.0, tokens=9)) == [
        "Loss", "Written tokens right", "Learning rate", "Padding", "Seconds a step",
    ]  # fmt: skip
    assert titles(rows("grpo", 3, reward=1.0, reward_answer=0.8, eval_accuracy_3d=0.5, kl=None)) == [
        "Reward",
        "Validation accuracy",
    ]
    assert titles([]) == []


def test_legends_name_parts_and_evaluations_with_their_last_values(tmp_path, monkeypatch):
    lines = rows("grpo", 4, reward=lambda i: i / 4, reward_answer=0.5, reward_looks=0.0, seconds_update=2.0)
    lines[1] |= {"eval_accuracy_2d": 0.25, "eval_crop_rate": 1.0}
    lines[3] |= {"eval_accuracy_2d": 0.75}
    found = {
        title: [(label, value) for label, _, value in legend]
        for title, legend in shown(lines, tmp_path / "c.png", monkeypatch).items()
    }
    assert found == {
        "Reward": [("all", "1"), ("answer", "0.5")],
        "Validation accuracy": [("2D", "75.0%")],
        "Responses with a crop": [("validation", "100.0%")],
        "Seconds a step": [("update", "2.0 s")],
    }


def test_a_step_done_twice_counts_once_and_lines_of_one_step_join():
    lines = [*rows("sft", 3, loss=1.0), {"stage": "sft", "step": 2, "loss": 5.0}, {"stage": "sft", "step": 3, "eval_loss": 7.0}]
    loss, validation = curves(stages(lines), {"loss": "training", "eval_loss": "validation"})
    assert loss.steps.tolist() == [1, 2, 3]
    assert loss.values.tolist() == [1.0, 5.0, 1.0]
    assert (validation.steps.tolist(), validation.values.tolist(), validation.marked) == ([3], [7.0], True)


def test_stages_keep_their_order_and_share_a_panel():
    lines = rows("language", 2, loss=1.0) + rows("together", 3, loss=2.0)
    assert [(c.stage, c.values.tolist()) for c in curves(stages(lines), {"loss": ""})] == [
        ("language", [1.0, 1.0]), ("together", [2.0, 2.0, 2.0]),
    ]  # fmt: skip


def test_running_mean_by_hand():
    values = np.zeros(80)  # half a window is 80 // 40 = 2 steps
    values[10], values[0] = 5.0, 3.0
    mean, spread = running(values)
    assert mean[7:14] == pytest.approx([0, 1, 1, 1, 1, 1, 0])
    assert mean[:4] == pytest.approx([3 / 3, 3 / 4, 3 / 5, 0])  # the window shrinks at the end
    assert spread[10] == pytest.approx(2.0)  # mean of squares 25 / 5, minus 1
    assert spread[20] == 0


def test_running_mean_leaves_gaps_out():
    values = np.arange(80.0)
    values[10] = np.nan
    mean, _ = running(values)
    assert mean[10] == pytest.approx(10)  # (8 + 9 + 11 + 12) / 4
    assert mean[11] == pytest.approx((9 + 11 + 12 + 13) / 4)
    assert np.isnan(running(np.full(5, np.nan))[0]).all()


def test_running_mean_is_exact_far_from_zero():
    assert running(np.full(200, 1e8))[1].max() == 0


@pytest.mark.parametrize(
    ("lines", "panels"),
    [
        ([], 0),
        (rows("grpo", 1, reward=0.5, kl=0.0, seconds_rollout=3.0), 3),
        (rows("sft", 5, loss=lambda i: float("nan") if i > 2 else 1.0 / i), 1),
    ],
    ids=["empty", "one point", "gaps"],
)
def test_short_and_broken_logs_are_drawn(tmp_path, lines, panels):
    with Image.open(write_curves(json.loads(json.dumps(lines)), tmp_path / "c.png")) as picture:
        assert picture.size == (round(4.4 * max(panels, 1) * 120), round((2.75 + 0.35) * 120))
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]


@pytest.mark.parametrize(("lines", "marked"), [(rows("sft", 1, loss=1.0), True), (rows("sft", 2, loss=1.0), False)])
def test_a_point_without_neighbours_is_a_dot(tmp_path, monkeypatch, lines, marked):
    drawn = []
    real = drawing._limits
    monkeypatch.setattr(drawing, "_limits", lambda axes, own, share: (drawn.extend(axes.lines), real(axes, own, share=share)))
    write_curves(lines, tmp_path / "c.png")
    assert ("o" in {line.get_marker() for line in drawn}) is marked


def test_lost_values_are_marked_in_red(tmp_path):
    def red(name, lines):
        with Image.open(write_curves(lines, tmp_path / name)) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        return int(((pixels[..., 0] > 170) & (pixels[..., 1] < 70) & (pixels[..., 2] < 70)).sum())

    assert red("whole.png", rows("sft", 9, loss=1.0)) == 0
    assert red("lost.png", rows("sft", 9, loss=lambda i: None if i == 4 else 1.0)) > 10


def test_an_outlier_does_not_flatten_the_panel(tmp_path, monkeypatch):
    lines = rows("sft", 400, loss=lambda i: 1e3 if i == 200 else 2 + (i % 2) / 10)
    limits = []
    real = drawing._limits
    monkeypatch.setattr(
        drawing, "_limits", lambda axes, own, share: (real(axes, own, share=share), limits.append(axes.get_ylim()))
    )
    write_curves(lines, tmp_path / "a.png")
    assert limits[0][1] < 60


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match="cannot be written"):
        write_curves([], tmp_path / "file" / "c.png")
