"""Compares the package with a folder of fixtures: what the published code answered on input of its own.

Each kind of fixture is one file; what is compared, and how closely, stands with its check. Kinds that no check covers yet are told as
such, and a folder with one of them does not pass. It knows nothing of the command line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.conformance import Result
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Box, Box2D, Box3D, Kind, Problem
from unireason.grounding import crop
from unireason.grounding.answer import read_released
from unireason.grounding.profile import Picture, Profile, render
from unireason.metrics import answers, boxes
from unireason.rewards import outcome, spatial

if TYPE_CHECKING:
    from unireason.model.checkpoint import Checkpoint

Case = Mapping[str, Any]
Found = Iterator[tuple[str, str]]
"""The kind of every comparison and, unless it holds, how the two differ."""

_SHOWN = 3
_LIMITS = (crop.MIN_PIXELS, crop.MAX_PIXELS)


def check_folder(folder: Path) -> tuple[Result, ...]:
    """Compare every fixture of a folder.

    Args:
        folder: ``prompt_structure.json``, ``choices.json`` and their like; those that are missing are left out.

    Returns:
        One result a kind of comparison; one without a check has passed none of 1.

    Raises:
        FormatError: If the folder holds no fixture, or one cannot be read.
    """
    present = [name for name in (*CHECKS, *UNCHECKED) if (folder / name).exists()]
    if not present:
        raise FormatError(f"{folder.name} holds no fixture", ", ".join(CHECKS))
    passed: dict[str, list[int]] = {}
    shown: dict[str, list[str]] = {}
    for name in present:
        try:
            found = list(CHECKS[name](folder, json.loads((folder / name).read_bytes()))) if name in CHECKS else []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the fixtures {name} cannot be read: {error!r}", "a folder of whole fixtures") from error
        for kind, difference in found or [(name, "no check of this kind yet")]:
            passed.setdefault(kind, []).append(not difference)
            if difference and len(shown.setdefault(kind, [])) < _SHOWN:
                shown[kind].append(difference[:400])
    return tuple(Result(kind, sum(all_), len(all_), tuple(shown.get(kind, ()))) for kind, all_ in passed.items())


def _prompts(folder: Path, data: Any) -> Found:
    """The messages and the rendered text of every prompt, exact."""
    for case in data["unireason"]:
        parts = case["parts"]
        kind: Kind = "image" if case["kind"] == "2d" else "volume"
        profile = Profile(
            name="published",
            system_2d=parts["system"],
            system_3d=parts["system"],
            closing_choice_2d=parts["closing"] if kind == "image" else "",
            closing_choice_3d=parts["closing"] if kind == "volume" else "",
            separator="\n\n",
            verbatim=True,
        )
        options = list(parts["options"].values())
        messages = profile.parts(kind, parts["question"], options, n_slices=case["n_pictures"])
        yield f"prompt of {case['kind']} questions", _difference(_plain(messages), case["messages"])
        yield f"prompt of {case['kind']} questions, rendered", _difference(render(messages), case["rendered"])
    for case in data["medreasoner"]:
        system = "".join(text for role, text in case["messages"] if role == "system")
        profile = Profile(
            name="published",
            system_2d=system,
            system_3d="",
            before_2d=case["before"],
            closing_open_2d=case["behind"],
            separator="",
            verbatim=True,
            max_rounds=0,
        )
        messages = profile.parts("image", case["question"])
        yield f"prompt of implicit questions, {case['road']}", _difference(_plain(messages), case["messages"])


def _plain(messages: Any) -> list[list[Any]]:
    out: list[list[Any]] = []
    for role, parts in messages:
        shown = ["<picture>" if isinstance(part, Picture) else part for part in parts]
        out.append([role, shown[0] if role == "system" else shown])
    return out


def _sizes(folder: Path, data: Any) -> Found:
    """The frame of the boxes and the size that the network sees, of pictures of many sizes, exact."""
    for height, width, *sizes in data["sizes"]:
        yield "size of the frame", _difference(list(crop.smart_resize(height, width)), sizes[:2])
        if sizes[2]:
            fitted = crop.fitted_size(height, width, factor=crop.PATCH_FACTOR, limits=_LIMITS)
            yield "size of what is seen", _difference(list(fitted), sizes[2:])
    yield from _pixels(folder, data)


def _pixels(folder: Path, data: Any) -> Found:
    """What the network sees of pictures, volumes and crops, and from what crops are cut, exact; the image processor is that of Pillow."""
    import numpy as np

    from unireason.core.types import Stack
    from unireason.engine.case import Request, bilinear, cut_regions, prepare_case
    from unireason.model import vision

    checkpoint = _checkpoint(folder, _published())
    cases = {}
    with np.load(folder / "resize_crops.npz", allow_pickle=False) as arrays:
        for picture in data["pictures"]:
            raw = arrays[picture["raw"]]
            made = prepare_case(checkpoint, Stack(raw[None], "image", "", ((0, 1),), raw))
            cases[picture["id"]] = made
            yield "grid of a picture", _difference(list(made.prepared.grid_thw[0]), picture["grid_thw"])
            yield "pixels of a picture, seen", _difference(_sha256(made.prepared.pictures[0]), picture["seen_pil_sha256"])
            yield "frame of a picture", _difference([made.frame.height, made.frame.width], picture["frame_hw"])
            yield "pixels of a picture, frame", _difference(_sha256(bilinear(raw, made.frame)), picture["frame"]["sha256"])
        slices = arrays["volume_slices"]
        whole = slices.repeat(4, axis=1).repeat(4, axis=2)  # as the fixture says: enlarged fourfold, to 256 x 256
        cases["volume"] = prepare_case(
            checkpoint, Stack(whole, "volume", "", tuple((z, z + 1) for z in range(len(whole))), whole)
        )
        frame = np.stack([bilinear(one, cases["volume"].frame) for one in whole])
        yield "pixels of a volume, frame", _difference(_sha256(frame), data["volume"]["frame_sha256"])
    for case in data["crops"]:
        made = cases[case["picture"]]
        kind = "crop of the other kind of box" if "other_kind" in case else "crop"
        box: Box = Box2D(*case["box"]) if len(case["box"]) == 4 else Box3D(*case["box"])
        plan = crop.plan(box, made.frame, released=True)
        rects = [] if isinstance(plan, Problem) else [[z, *rect] for z, rect in plan]
        yield f"{kind}, rectangles", _difference(rects, case["rects"])
        asking = Request(made, (1,), crop_source="published")
        crops = () if isinstance(plan, Problem) else cut_regions(checkpoint, asking, plan)
        yield f"{kind}, grids", _difference([list(one.grid_thw or ()) for one in crops], case["grid_thw"])
        yield f"{kind}, pixels handed over", _difference([_sha256(one.pixels) for one in crops], case["crop_sha256"])
        if "seen_pil_sha256" in case:
            seen = [_sha256(vision.resized(checkpoint, one.pixels)) for one in crops]
            yield f"{kind}, pixels seen", _difference(seen, case["seen_pil_sha256"])


def _published(**fields: Any) -> Profile:
    """A profile that shows what the published code shows."""
    return Profile(**{"name": "published", "system_2d": "", "system_3d": "", "crops": "published", **fields})


def _checkpoint(folder: Path, profile: Profile) -> Checkpoint:
    from unireason.model.checkpoint import load

    return load(folder / "checkpoint", device="cpu", dtype="fp32", profile=profile)


def _sha256(array: Any) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _roads(folder: Path, data: Any) -> Found:
    """The grid of a crop in inference, in roll-outs and in supervised training, exact."""
    for height, width, *grids in data["rows"]:
        sizes = {
            "inference": crop.fitted_size(height, width, factor=crop.PATCH_FACTOR, limits=_LIMITS),
            "roll-outs": crop.rollout_size(height, width),
            "supervised training": crop.supervised_size(height, width),
        }
        for (road, (rows, columns)), grid in zip(sizes.items(), grids, strict=True):
            yield f"grid of a crop, {road}", _difference([1, rows // 14, columns // 14], grid)


def _volumes(folder: Path, data: Any) -> Found:
    """Serialised volumes within one grey level at the sampled places; refused where the published code refuses."""
    import nibabel
    import numpy as np

    from unireason.imaging.present import published_serialize

    with np.load(folder / "serialize.npz", allow_pickle=False) as arrays:
        for case in data["cases"]:
            if case["input"].startswith("in_"):
                volume = arrays[case["input"]]
            else:
                volume = np.asarray(nibabel.load(_inside(folder, case["input"])).dataobj)
            kind = f"serialised volume, {case['normalize']}"
            try:
                made = published_serialize(volume, tuple(case["target"]), case["normalize"])
            except UniReasonError as error:
                yield kind, "" if case["error"] else f"{case['name']}: {error}"
                continue
            if case["error"]:
                yield kind, f"{case['name']}: taken, and refused there"
                continue
            sampled = made[tuple(slice(None, None, step) for step in case["stride"])].astype(int)
            apart = int(np.abs(sampled - arrays[case["npz"]]).max())
            yield kind, "" if apart <= 1 else f"{case['name']}: {apart} grey levels apart"


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder that a fixture names."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"the path {name!r} leaves the folder")
    return path


def _choices(folder: Path, data: Any) -> Found:
    """Letters of both published readers, exact."""
    for case in data["cases"]:
        text = case["text"]
        yield "choice of the inference reader", _difference(answers.published_inference_choice(text), case["inference"])
        yield "choice of the reward reader", _difference(answers.published_reward_choice(text), case["reward"])


def _outcome(folder: Path, data: Any) -> Found:
    """Outcome rewards within 1e-9."""
    for case in data["cases"]:
        answer_weight, format_weight = case["weights"]
        found = outcome.published_outcome(
            case["solution"],
            case["ground_truth"],
            answer_weight=answer_weight,
            format_weight=format_weight,
            crop_area_ratio=float((case["extra_info"] or {}).get("urm_crop_area_ratio") or 0),
        )
        yield "outcome reward", _difference(found, case["reward"], 1e-9)


def _spatial(folder: Path, data: Any) -> Found:
    """Spatial rewards, soft and hard, within 1e-6."""
    for case in data["cases"]:
        gold = spatial.read_gold(case["ground_truth"])
        for mode in ("soft", "hard"):
            expected = {name: float(value) for name, value in case[mode].items()}
            found = spatial.umrg_reward(case["solution"], gold, mode=mode, published=True)
            yield f"spatial reward, {mode}", _difference(found, expected, 1e-6)


def _evaluation(folder: Path, data: Any) -> Found:
    """Overlaps within 1e-6, and what the published evaluation reads out of an answer, exact."""
    for case in data["metrics"]:
        if "error" in case:
            continue
        overlap = boxes.box_iou(Box2D(*case["box"]), Box2D(*case["gold_box"]), eps=boxes.PUBLISHED_EPS)
        yield "evaluation, IoU", _difference(overlap, float(case["iou"]), 1e-6)
        circles = boxes.pdice_released(case["points"], case["gold_points"])
        yield "evaluation, pDice", _difference(circles, float(case["pdice"]), 1e-6)
    for case in data["reader"]:
        found = read_released(case["solution"], think=case["think"])
        expected = None if "error" in case else [case["think_text"], case["box"], case["points"]]
        yield "evaluation, reader", _difference(None if found is None else list(found), expected)


def _difference(found: Any, expected: Any, tolerance: float = 0.0) -> str:
    """How two values differ; "" if they do not. What is not a number equals its like."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        keys = sorted(found.keys() | expected.keys())
        return next((f"{k}: {d}" for k in keys if (d := _difference(found.get(k), expected.get(k), tolerance))), "")
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return next((d for a, b in zip(found, expected, strict=True) if (d := _difference(a, b, tolerance))), "")
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (found, expected))
    if numbers and (abs(found - expected) <= tolerance or found == expected or (found != found and expected != expected)):
        return ""
    if not numbers and type(found) is type(expected) and found == expected:
        return ""
    return f"expected {str(expected)[-150:]!r}, got {str(found)[-150:]!r}"


CHECKS: Mapping[str, Callable[[Path, Any], Found]] = {
    "prompt_structure.json": _prompts,
    "resize_crops.json": _sizes,
    "crop_roads.json": _roads,
    "serialize.json": _volumes,
    "choices.json": _choices,
    "outcome_reward.json": _outcome,
    "umrg_reward.json": _spatial,
    "umrg_evaluation.json": _evaluation,
}
UNCHECKED = ("trajectories.json", "rl_trajectories.json", "data_rows")
"""Kinds that are known and not compared yet."""
