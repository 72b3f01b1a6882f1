"""Folders of fixtures: what agrees passes, what differs or is not compared does not."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

import tiny
from unireason.cli import main
from unireason.core.errors import FormatError
from unireason.data.formats import umrg, unimed_cot
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


SYSTEM, ASKED = "Mark.", "Left?"
TURN = (
    "<|im_start|>system\nMark.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    + "<|image_pad|>" * 4
    + "<|vision_end|>Left?<|im_end|>\n<|im_start|>assistant\n"
)
BOX = "<|box_start|>[4,4,40,50]<|box_end|>"


def picture(folder):
    """A tiny checkpoint, and a picture of 56 x 56 pixels: four visual tokens; its crop of 36 x 46 pixels has two."""
    made = tiny.save(folder / "checkpoint")
    (folder / "trajectory_pictures").mkdir()
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (56, 56, 3), np.uint8)).save(
        folder / "trajectory_pictures" / "a.png"
    )
    return made


def test_whole_responses_are_compared(tmp_path):
    made = picture(tmp_path)
    prompt = tiny.spell(TURN)
    look, shown = tiny.spell(BOX), tiny.spell("<|vision_start|>" + "<|image_pad|>" * 2 + "<|vision_end|>")
    response = [*look, *shown, 40, *look]
    length = len(prompt) + len(response) - 1
    case = {
        "id": 0,
        "name": "two",
        "kind": "2d",
        "picture": "a.png",
        "system": SYSTEM,
        "question": ASKED,
        "script": [*look, 40, *look],
    }
    case |= {"limits": {"max_rounds": 2, "max_new_tokens": 99, "tokens_per_round": 50}, "repetition_penalty": 1.0, "wide": False}
    case |= {
        "prompt": prompt,
        "response": response,
        "stop": "rounds",
        "least_margin": None,
        "logits_at": [],
        "position_ids": "pos",
    }
    row = np.array([[*prompt, *response[:-1]]])
    grids = np.array([[1, 4, 4], [1, 4, 2]])
    import torch

    types = (torch.tensor(row) == made.ids.image_pad).int()
    positions, _ = made.network.model.get_rope_index(
        torch.tensor(row), mm_token_type_ids=types, image_grid_thw=torch.tensor(grids)
    )
    np.savez(tmp_path / "trajectories.npz", pos=positions[:, 0].numpy())
    assert positions.shape == (3, 1, length)
    write(tmp_path, trajectories={"allowed": [40, 41], "wide": [40], "cases": [case]})
    kinds = ("prompt", "response", "end", "positions")
    assert counts(tmp_path) == {f"trajectory in 2d, {kind}": (1, 1) for kind in kinds}
    case |= {"stop": "end_of_turn", "response": [*response[:-1], 41]}
    write(tmp_path, trajectories={"allowed": [40, 41], "wide": [40], "cases": [case]})
    assert [counts(tmp_path)[f"trajectory in 2d, {kind}"] for kind in kinds[:3]] == [(1, 1), (0, 1), (0, 1)]


def test_roll_outs_are_compared(tmp_path):
    """The loop's record of a tag spelled in bytes: the sampled ids, then those of the text read anew, as if they had been injected."""
    picture(tmp_path)
    prompt = tiny.spell(TURN)
    spelled, look = [ord(c) - 33 for c in "<think>"], tiny.spell(BOX)
    shown = "<|vision_start|>" + "<|image_pad|>" * 6 + "<|vision_end|>"  # at 56 x 84 pixels: at least 3,136 there
    anew = [*tiny.spell("<think>"), *look, *tiny.spell(shown)]
    end = tiny.spell("<|im_end|>")
    case = {"name": "spelled", "picture": "a", "script": [[*spelled, *look], end], "response_length": 99, "max_rounds": 3}
    case |= {"prompt": prompt, "response": [*spelled, *look, *anew, *end], "mask": [[1, 7 + len(look)], [0, len(anew)], 1]}
    first, room = len(prompt), 99 - 7 - len(look) - len(anew)
    case |= {"extra": {"urm_num_crops": 1}, "generations": [{"context_length": first, "max_tokens": 99, "n_images": 1}]}
    case["generations"] += [{"context_length": first + len(anew), "max_tokens": room, "n_images": 2}]
    text = {"name": "text", "picture": None, "script": [[*look]], "response_length": 99, "max_rounds": 3, "prompt": [40, 41]}
    text |= {"response": look, "mask": [[1, len(look)]], "extra": {"urm_num_crops": 0}}
    text |= {"generations": [{"context_length": 2, "max_tokens": 99, "n_images": 0}]}
    write(tmp_path, rl_trajectories={"system": SYSTEM, "question": ASKED, "cases": [case, text]})
    found = counts(tmp_path)
    assert {kind: passed for kind, (passed, total) in found.items() if passed != total} == {}
    assert len(found) == 7
    case["mask"] = [[1, 8 + len(look)], [0, len(anew) - 1], 1]
    write(tmp_path, rl_trajectories={"system": SYSTEM, "question": ASKED, "cases": [case, text]})
    assert counts(tmp_path)["roll-out, mask"] == (1, 2)


def png(pixels):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def test_rows_are_compared(tmp_path):
    tiny.save(tmp_path / "checkpoint")
    raw = np.full((56, 56), 7, np.uint8)
    said = "See " + BOX + "<image>.\nA"
    asked = (("system", "Mark."), ("user", "<image>Left?"))
    folder = tmp_path / "data_rows"
    (folder / "umrg").mkdir(parents=True)
    rows = [
        unimed_cot.SftRow((*asked, ("assistant", said)), ("a", "b")),
        unimed_cot.RlRow(asked, ("a",), "unireason_med", reward_model={"style": "x"}),
    ]
    rows += [unimed_cot.ImageRow("a", "a.png", png(raw)), unimed_cot.ImageRow("b", "b.png", png(raw[:28]))]
    unimed_cot.write(folder / "unimed_cot", rows)
    mask = np.where(np.arange(56)[:, None] < 2, 255, np.zeros((56, 56), int)).astype(np.uint8)
    stored = [umrg.Stored(png(pixels)) for pixels in (raw, mask)]
    umrg.write(
        folder / "umrg",
        [umrg.UmrgRow((stored[0],), (stored[1],), "Which?", (0, 0, 56, 2), ((1, 1), (9, 1)), "n", "organ", "skin")],
    )
    (written,) = (folder / "umrg").rglob("*.parquet")
    written.rename(folder / "umrg" / "train.parquet")
    start = "<|im_start|>system\nMark.\nTAIL<|im_end|>\n<|im_start|>user\n<|vision_start|>" + "<|image_pad|>" * 4
    start = tiny.spell(start + "<|vision_end|>Left?<|im_end|>\n<|im_start|>assistant\n")
    # 28 x 56 pixels are below 3,136: the crop is shown at 56 x 84
    parts = [tiny.spell("See " + BOX), tiny.spell("<|vision_start|>" + "<|image_pad|>" * 6 + "<|vision_end|>")]
    parts += [tiny.spell(".\nA<|im_end|>\n")]
    stops = [len(start), len(start) + len(parts[0]), len(start) + len(parts[0]) + len(parts[1])]
    struct = [{"role": role, "content": content} for role, content in asked]
    name = {"data_source": "unireason_med", "agent_name": "urm_single_assistant", "ability": "medical_vqa"}
    digests = [hashlib.sha256(png(pixels)).hexdigest() for pixels in (raw, raw[:28])]
    expected = {"sft_rows": [{"messages": [*struct, {"role": "assistant", "content": said}], "images": ["i/a", "i/b"]}]}
    expected |= {"sft_image_files": dict(zip(["i/a", "i/b"], digests, strict=True)), "sft_system_tail": "TAIL"}
    ids = [*start, *parts[0], *parts[1], *parts[2]]
    expected |= {"sft_tokens": [{"ids": ids, "learned": [[stops[0], stops[1]], [stops[2], len(ids)]]}]}
    told = {
        **name,
        "prompt": struct,
        "images": ["rl/images/a"],
        "reward_model": {"style": "x", "ground_truth": None},
        "extra_info": {},
    }
    expected |= {"rl_rows": {"val": [], "train": [told]}, "rl_image_files": {"a": digests[0]}}
    about = {"id": "n", "supercategory": "organ", "category": "skin", "reasoning": ""}
    implicit = {
        "messages": [{"role": "user", "content": [{}, {"text": "\nBEFORE Which? BEHIND FORM END"}]}],
        "mask_foreground": 112,
    }
    implicit |= {"ground_truth": {"bbox_2d": [0, 0, 56, 2], "point_2d": [[1, 1], [9, 1]]}, "extra_info": about, "data_source": ""}
    implicit |= {"image_rgb_sha256": sha256(np.repeat(raw[..., None], 3, 2))}
    expected |= {"umrg_read": {"train": [implicit]}}
    write(folder, expected=expected)
    found = counts(tmp_path)
    assert {kind: passed for kind, (passed, total) in found.items() if passed != total} == {}
    assert len(found) == 14
    expected["sft_tokens"][0]["learned"][1][1] -= 1
    write(folder, expected=expected)
    assert counts(tmp_path)["supervised row, learned"] == (0, 1)


def test_a_file_without_cases_does_not_pass(tmp_path, capsys):
    write(tmp_path, crop_roads={"rows": []})
    assert main(["conformance", str(tmp_path)]) == 1
    assert "crop_roads.json: 0/1" in capsys.readouterr().out


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
