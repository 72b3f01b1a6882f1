"""Folders of fixtures: what agrees passes, what differs or is not compared does not."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

import tiny
from unireason.cli import main
from unireason.core.errors import FormatError
from unireason.grounding.profile import Profile
from unireason.parity import check_folder

PROMPT = {
    "kind": "2d",
    "n_pictures": 1,
    "parts": {
        "system": "Read.",
        "question": " Where? ",
        "options": {"A": "one", "B": "", "C": " two\nthree"},
        "closing": "One letter.",
    },
    "messages": [["system", "Read."], ["user", ["<picture>", " Where? \n\nA. one\nC.  two\nthree\n\nOne letter."]]],
    "rendered": "<|im_start|>system\nRead.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|> Where? \n\n"
    "A. one\nC.  two\nthree\n\nOne letter.<|im_end|>\n<|im_start|>assistant\n",
}
IMPLICIT = {
    "road": "infer",
    "before": "<image>\nMark it.\nAsked: ",
    "question": "Which shadow?",
    "behind": "\n\nLike this: {'bbox': [a, b]}",
    "messages": [["user", ["<picture>", "<image>\nMark it.\nAsked: Which shadow?\n\nLike this: {'bbox': [a, b]}"]]],
}
CHOICES = [  # text, letter of the inference reader, of the reward reader
    ("<think>B.</think>It shows A. but the end is C", "C", "A"),
    ("First B. then D.", "D", "B"),
    ("The answer: d, not C.", "D", "D"),
    ("See B. Then a lesion", "B", "B"),
    ("nothing", None, ""),
]
REWARD = {"answer_reward": 1.0, "format_reward": 0.5, "crop_area_ratio": 0.25, "pred_choice": "B", "gt_choice": "B"}
ROADS = [
    [20, 60, [1, 4, 8], [1, 4, 8], [1, 4, 6]],
    [14, 40, [1, 4, 8], [1, 4, 8], [1, 4, 6]],
    [5, 39, [1, 2, 12], [1, 2, 12], [1, 4, 8]],
]


def write(folder, **files):
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def sha256(pixels):
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def counts(folder):
    return {result.key: (result.passed, result.total) for result in check_folder(folder)}


def test_prompts_are_laid_out_as_published(tmp_path):
    write(tmp_path, prompt_structure={"unireason": [PROMPT], "medreasoner": [IMPLICIT]})
    assert set(counts(tmp_path).values()) == {(1, 1)}
    PROMPT["messages"][1][1][1] += " "
    write(tmp_path, prompt_structure={"unireason": [PROMPT], "medreasoner": []})
    assert counts(tmp_path)["prompt of 2d questions"] == (0, 1)


def test_answers_and_rewards_are_read_as_published(tmp_path):
    reward = {
        "solution": "B. <|BOX_END|></think>",
        "ground_truth": "b",
        "weights": [0.5, 0.5],
        "extra_info": {"urm_crop_area_ratio": 0.25},
    }
    write(
        tmp_path,
        choices={"cases": [{"text": text, "inference": one, "reward": two} for text, one, two in CHOICES]},
        outcome_reward={"cases": [{**reward, "reward": {"score": 0.75, **REWARD}}]},
        umrg_evaluation={
            "metrics": [],
            "reader": [
                {
                    "solution": "<answer> {'bbox': [1, 2]} </answer>",
                    "think": True,
                    "think_text": None,
                    "box": [1, 2],
                    "points": [None, None],
                },
                {"solution": "<answer>[{'bbox': 1}]</answer>", "think": False, "error": "AttributeError"},
            ],
        },
    )
    assert counts(tmp_path) == {
        "choice of the inference reader": (5, 5),
        "choice of the reward reader": (5, 5),
        "outcome reward": (1, 1),
        "evaluation, reader": (2, 2),
    }


def test_a_crop_has_the_grid_of_its_road(tmp_path):
    write(tmp_path, crop_roads={"rows": ROADS})
    assert counts(tmp_path) == {f"grid of a crop, {road}": (3, 3) for road in ("inference", "roll-outs", "supervised training")}


def test_volumes_are_serialised_as_published(tmp_path):
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 9, (3, 4, 4, 2)).astype(
        np.float32
    )  # the last axis holds channels only where the first is longer than four
    flat = np.full((4, 4, 4), 0.5, np.float32)
    cases = [
        {
            "name": "channels",
            "input": "in_four",
            "target": [4, 4, 2],
            "normalize": "minmax",
            "error": None,
            "npz": "four",
            "stride": [1, 1, 1],
        },
        {
            "name": "flat",
            "input": "in_flat",
            "target": [4, 4, 4],
            "normalize": "percentile",
            "error": None,
            "npz": "flat",
            "stride": [2, 2, 2],
        },
        {"name": "plane", "input": "in_plane", "target": [4, 4, 4], "normalize": "minmax", "error": "ValueError"},
    ]
    first = volume[0]
    scaled = ((first - first.min()) / (first.max() - first.min()) * 255).astype(np.uint8)
    np.savez(
        tmp_path / "serialize.npz",
        in_four=volume,
        four=scaled,
        in_flat=flat,
        flat=np.full((2, 2, 2), 127, np.uint8),
        in_plane=flat[0],
    )
    write(tmp_path, serialize={"cases": cases})
    assert counts(tmp_path) == {"serialised volume, minmax": (2, 2), "serialised volume, percentile": (1, 1)}
    cases[1] |= {"npz": "four", "stride": [1, 1, 2]}
    write(tmp_path, serialize={"cases": cases})
    assert counts(tmp_path)["serialised volume, percentile"] == (0, 1)


def test_pixels_of_pictures_and_crops_are_compared(tmp_path):
    tiny.save(tmp_path / "checkpoint")
    rng = np.random.default_rng(1)
    raw, slices = rng.integers(0, 256, (70, 60, 3), np.uint8), rng.integers(0, 256, (2, 7, 7), np.uint8)
    image = Image.fromarray(raw)
    frame = np.asarray(image.resize((56, 84 - 28), Image.Resampling.BILINEAR))
    crop = frame[6:44, 3:45]
    np.savez(tmp_path / "resize_crops.npz", one=raw, volume_slices=slices)
    told = {"id": "p", "raw": "one", "grid_thw": [1, 4, 4], "frame_hw": [56, 56]}
    told |= {"seen_pil_sha256": sha256(image.resize((56, 56), Image.Resampling.BICUBIC)), "frame": {"sha256": sha256(frame)}}
    cut = {"picture": "p", "box": [3.9, 6, 45, 44], "rects": [[0, 3, 6, 45, 44]], "grid_thw": [[1, 2, 4]]}
    cut |= {"crop_sha256": [sha256(crop)]}
    big = np.repeat(np.repeat(slices, 4, 1), 4, 2)
    write(
        tmp_path,
        resize_crops={
            "sizes": [],
            "pictures": [told],
            "volume": {"frame_sha256": sha256(big)},
            "crops": [cut, cut | {"box": [3, 6, 0, 45, 44, 9], "other_kind": True}],
        },
    )
    found = counts(tmp_path)
    assert {kind: passed for kind, (passed, total) in found.items() if passed != total} == {}
    assert len(found) == 11


def test_what_is_not_compared_does_not_pass(tmp_path, capsys):
    write(tmp_path, trajectories={"cases": []}, crop_roads={"rows": ROADS[:1]})
    assert main(["conformance", str(tmp_path)]) == 1
    assert "trajectories.json: 0/1" in capsys.readouterr().out


def test_a_folder_without_fixtures_is_told(tmp_path):
    with pytest.raises(FormatError, match="no fixture"):
        check_folder(tmp_path)
    (tmp_path / "choices.json").write_text('{"cases": [{}]}')
    with pytest.raises(FormatError, match=r"choices\.json"):
        check_folder(tmp_path)


def test_new_fields_at_rest_leave_the_hash_of_a_profile(tmp_path):
    plain = Profile(name="x", system_2d="a", system_3d="b")
    same = Profile(name="x", system_2d="a", system_3d="b", separator="\n", before_2d="")
    assert plain.sha256 == same.sha256
    assert plain.sha256 != Profile(name="x", system_2d="a", system_3d="b", separator="\n\n").sha256
