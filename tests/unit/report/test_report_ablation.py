"""The page of an ablation: what its table, its claims and its files say."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from unireason.evaluate.results import AblationResults
from unireason.report.ablation import ablation_document, write_ablation
from unireason.report.document import as_markdown, as_terminal
from unireason.report.plots import draw


def scores(accuracy, *, looked=1.0, iou=0.5):
    return {
        **{"n": 20, "patients": 10, "chance": 0.25, "accuracy": accuracy, "ci95": [accuracy - 0.1, min(1.0, accuracy + 0.1)]},
        **{"seeds": [accuracy - 0.02, accuracy + 0.02], "looked": looked},
        **{"mean_box_iou": iou, "mean_box_iou_ci95": None if iou is None else [iou - 0.1, iou + 0.1], "mean_box_iou_seeds": None},
    }


def table(found):
    """The cells of the Markdown table."""
    rows = [line for line in as_markdown(ablation_document(AblationResults.of(found))).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows if not row.startswith("| ---")]


def page_of(found, folder):
    write_ablation(AblationResults.of(found), folder)
    return (folder / "ablation.html").read_text()


def results():
    seen = {"samples": 2400, "image": 800, "volume": 1600}
    arms = [
        {"name": "joint", "title": "2D + 3D", "exposure": seen, "samples_a_step": 8},
        {
            "name": "text",
            "title": "<b>Text</b> | only",
            "exposure": {"samples": 2400, "image": None, "volume": None},
            "samples_a_step": 8,
        },
    ]
    for arm, volume, image in zip(arms, (0.7, 0.5), (0.8, 0.85), strict=True):
        looked = 1.0 if arm["name"] == "joint" else 0.0
        arm |= {"volume": scores(volume), "image": scores(image), "all": scores(0.7, looked=looked), "steps": 1000}
    pair = {"arm": "text", "than": "joint", "seeds": []}
    claims = [
        ("volume", 0.2, [0.1, 0.3], "holds"),
        ("image", -0.05, [-0.08, -0.02], "does not hold"),
        ("all", 0, [-0.1, 0.1], "undecided"),
    ]
    return {
        "kind": "ablation",
        "scope": None,
        "reference": "joint",
        "seeds": [0, 1],
        "arms": arms,
        "differences": [
            {**pair, "on": "volume", "difference": -0.2, "ci95": [-0.3, -0.1]},
            {**pair, "on": "image", "difference": 0.05, "ci95": [0.02, 0.08]},
        ],
        "claims": [
            {
                "text": "Looking helps.",
                "better": "joint",
                "than": "text",
                "on": on,
                "difference": d,
                "seeds": [],
                "ci95": ends,
                "verdict": verdict,
            }
            for on, d, ends, verdict in claims
        ],
        "manifest": {"suite": "built"},
    }


def test_the_table():
    head, joint, text = table(results())
    assert head == ["Arm", "3D accuracy", "2D accuracy", "Box IoU", "3D difference", "2D difference", "Seen"]
    assert joint == [
        "2D + 3D (reference)",
        "70% (60–80%)",
        "80% (70–90%)",
        "0.50 (0.40–0.60)",
        "",
        "",
        "1,600 3D, 800 2D (1,000 steps)",
    ]
    assert text[3:] == ["0.50 (0.40–0.60)", "−20.0 (−30.0 to −10.0)", "+5.0 (+2.0 to +8.0)", "2,400 (1,000 steps)"]


def test_boxes_without_looks_are_scored_and_no_boxes_are_not():
    """Boxes are written without crops too; a model that writes none is not a bad one at it."""
    found = results()
    found["arms"][1]["all"] = scores(0.7, looked=0.0, iou=0.0)
    assert table(found)[2][3] == "–"
    found["arms"][1]["all"] = scores(0.7, looked=1.0, iou=0.0)
    assert table(found)[2][3].startswith("0.00")


def test_kinds_without_questions_are_left_out():
    found = results()
    for arm in found["arms"]:
        del arm["image"]
    assert table(found)[0] == ["Arm", "3D accuracy", "Box IoU", "3D difference", "Seen"]
    assert all(len(row) == 5 for row in table(found))
    assert Image.open(io.BytesIO(draw(found))).width < Image.open(io.BytesIO(draw(results()))).width


def test_claims_in_plain_words():
    first, second, third = as_terminal(ablation_document(AblationResults.of(results()))).splitlines()[3:6]
    claim = "2D + 3D 70%, <b>Text</b> | only 50% on 3D questions: +20.0 points (95% +10.0 to +30.0)."
    assert first == f"Holds: Looking helps. {claim}"
    assert second.startswith("Does not hold, the opposite was measured: Looking helps. 2D + 3D 80%")
    assert third.startswith("Undecided, the interval includes no difference: ")
    assert third.endswith("on all questions: 0.0 points (95% −10.0 to +10.0).")


def test_the_files(tmp_path):
    html, text = page_of(results(), tmp_path), (tmp_path / "ablation.md").read_text()
    assert {p.name for p in tmp_path.iterdir()} == {"ablation.html", "ablation.md", "ablation.png"}
    assert "<b>Text</b>" not in html
    assert "&lt;b&gt;Text&lt;/b&gt;" in html
    assert not re.search(r"https?://", html)
    assert html.count('<li class="check">') == 3
    assert '<details class="card provenance"' in html
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert "![" in text


def test_without_claims_the_page_says_so(tmp_path):
    assert "names no claim" in page_of({**results(), "claims": []}, tmp_path)


@pytest.mark.parametrize("arms", [1, 2])
def test_every_arm_has_a_dot(arms):
    """The means are the largest dots: orange for the reference, blue for others."""
    found = results()
    found["arms"] = found["arms"][:arms]
    pixels = np.asarray(Image.open(io.BytesIO(draw(found))).convert("RGB")).astype(int)
    blue = (np.abs(pixels - [0x00, 0x72, 0xB2]).sum(axis=2) < 30).sum()
    orange = (np.abs(pixels - [0xD5, 0x5E, 0x00]).sum(axis=2) < 30).sum()
    assert orange > 100
    assert (blue > 100) == (arms == 2)


@pytest.mark.parametrize("title", ["costs $\\frac$", "a $x$ b", "two\nlines\x00", "long " * 80])
def test_a_title_is_drawn_as_it_stands_and_leaves_room_for_the_panels(title):
    """No mathematics, no control characters, and a picture whose panels are still there (a warning would be an error here)."""
    found = results()
    found["arms"][0]["title"] = title
    plain = results()
    plain["arms"][0]["title"] = title.replace("$", "_")[:40]
    pixels, other = (np.asarray(Image.open(io.BytesIO(draw(made))).convert("RGB")).astype(int) for made in (found, plain))
    blue, expected = ((np.abs(p - [0x00, 0x72, 0xB2]).sum(axis=2) < 30).sum() for p in (pixels, other))
    assert blue > 0.8 * expected


def test_a_title_cannot_break_the_markdown(tmp_path):
    found = results()
    found["arms"][0]["title"] = "x\n\n<script>alert(1)</script> | `y"
    found["claims"][0]["text"] = "Looking\n# helps"
    page_of(found, tmp_path)
    text = (tmp_path / "ablation.md").read_text()
    assert "<script" not in text
    assert "\n# helps" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
