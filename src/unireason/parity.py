"""Compares the package with a folder of fixtures: what the published code answered on input of its own.

Each kind of fixture is one file, or a folder of tables; what is compared, and how closely, stands with its check. One that holds nothing to
compare does not pass. It knows nothing of the command line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.conformance import Result
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Box, Box2D, Box3D, Crop, Frame, Kind, Problem
from unireason.grounding import crop
from unireason.grounding.answer import read_released
from unireason.grounding.profile import BUILT_IN, Picture, Profile, render
from unireason.metrics import answers, boxes
from unireason.rewards import outcome, spatial

if TYPE_CHECKING:
    from unireason.data.formats.umrg import UmrgRow
    from unireason.engine.session import Budget, Session
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
        One result a kind of comparison; a file without any case has passed none of 1.

    Raises:
        FormatError: If the folder holds no fixture, or one cannot be read.
    """
    present = [name for name in CHECKS if (folder / name).exists()]
    if not present:
        raise FormatError(f"{folder.name} holds no fixture", ", ".join(CHECKS))
    passed: dict[str, list[int]] = {}
    shown: dict[str, list[str]] = {}
    for name in present:
        try:
            place = folder / name
            found = list(CHECKS[name](place, None) if place.is_dir() else CHECKS[name](folder, json.loads(place.read_bytes())))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the fixtures {name} cannot be read: {error!r}", "a folder of whole fixtures") from error
        for kind, difference in found or [(name, "nothing to compare")]:
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


def _trajectories(folder: Path, data: Any) -> Found:
    """Whole responses to scripted tokens: ids exact, positions exact, logits at free places within 0.002.

    Where two tokens are nearly equal (``least_margin``) another choice counts as equal up to there. A response that breaks off there with
    an error ends here with its reason.
    """
    import numpy as np

    checkpoints: dict[tuple[Any, ...], Checkpoint] = {}
    with np.load(folder / "trajectories.npz", allow_pickle=False) as arrays:
        for case in data["cases"]:
            limits = case["limits"]
            key = case["system"], *sorted(limits.items())
            if key not in checkpoints:
                told = {"system_2d": case["system"], "system_3d": case["system"], "closing_choice_3d": ""}
                told |= {"max_rounds": limits["max_rounds"], "max_new_tokens": limits["max_new_tokens"]}
                told |= {f"max_round_tokens_{dim}": limits["tokens_per_round"] for dim in ("2d", "3d")}
                checkpoints[key] = _checkpoint(folder, replace(BUILT_IN["unireason-med"], **told))
            yield from _trajectory(checkpoints[key], folder, case, data["wide" if case["wide"] else "allowed"], arrays)


class _Script:
    """Chooses the scripted tokens, and where there is none the most probable one of those that are allowed."""

    def __init__(self, script: Sequence[int | None], allowed: Sequence[int]) -> None:
        self._script, self._allowed = script, list(allowed)
        self._count = 0
        self.free: dict[int, Any] = {}

    def pick(self, logits: Any) -> tuple[int, float]:
        place, self._count = self._count, self._count + 1
        if place < len(self._script) and self._script[place] is not None:
            return self._script[place], 0.0  # type: ignore[return-value]
        self.free[place] = logits.float()[self._allowed].numpy()
        return self._allowed[int(self.free[place].argmax())], 0.0


_ENDS = {
    "end_of_turn": "end_of_turn",
    "box_not_read": "invalid_box",
    "error": "invalid_box",
    "rounds": "round_budget",
    "round_tokens": "token_budget",
    "total_tokens": "token_budget",
}


def _trajectory(checkpoint: Checkpoint, folder: Path, case: Case, allowed: Sequence[int], arrays: Any) -> Found:
    import numpy as np

    from unireason.core.types import Stack
    from unireason.engine.case import Request
    from unireason.engine.local import LocalEngine
    from unireason.engine.reasoner import Reasoner
    from unireason.engine.sampling import Sampling
    from unireason.imaging import published_serialize, read
    from unireason.model.tokens import chunk_positions

    script = _Script(case["script"], allowed)
    asking = Reasoner(checkpoint, engine=LocalEngine(checkpoint, picker=lambda *_: script))
    path = _inside(folder, f"trajectory_pictures/{case['picture']}")
    if case["kind"] == "3d":
        slices = published_serialize(np.load(path, allow_pickle=False), checkpoint.profile.volume_shape)
        stack = Stack(slices, "volume", "", tuple((z, z + 1) for z in range(len(slices))), slices)
    else:
        stack = asking.stack(read(path, alpha="drop"))
    encoded = asking.engine.encode(stack)
    prompt, budget = _asked(checkpoint, encoded, case["question"])
    sampling = Sampling(repetition_penalty=case["repetition_penalty"])
    (session,) = asking.engine.generate([Request(encoded, prompt, budget, crop_source="published")], sampling)
    kind = f"trajectory in {case['kind']}"
    yield f"{kind}, prompt", _difference(list(session.prompt), _ids(case["prompt"]))
    expected = _ids(case.get("response_with_pil_processor", case["response"]))
    ids = session.response
    if (case["least_margin"] or 1) < _TIE and ids != expected:
        same = next(n for n, pair in enumerate(zip(ids, expected, strict=False)) if pair[0] != pair[1])
        sampled = sum(session.sampled[:same])
        ids, expected = (ids[:same], expected[:same]) if sampled in script.free else (ids, expected)
    yield f"{kind}, response", _difference(ids, expected)
    yield f"{kind}, end", _difference(session.finish, _ENDS[case["stop"]])
    if ids == session.response:
        grids = [*encoded.prepared.grid_thw, *(crop.grid_thw for crop in session.crops if crop.grid_thw)]
        positions, _ = chunk_positions(checkpoint.network, [*session.prompt, *session.response[:-1]], grids, 0)
        yield f"{kind}, positions", _difference(positions[:, 0].tolist(), arrays[case["position_ids"]].tolist())
    if case["logits_at"]:
        rows = [script.free.get(place) for place in case["logits_at"]]
        apart = [
            np.inf if row is None else abs(row - told).max()
            for row, told in zip(rows, arrays[f"logits_pil{case['id']}"], strict=True)
        ]
        yield f"{kind}, logits", "" if max(apart) <= _TIE else f"{case['name']}: {max(apart):.4f} apart"


def _ids(packed: Sequence[Any]) -> list[int]:
    """Ids of a list in which a pair [id, n] stands for n times the id."""
    return [one for item in packed for one in ([item] if isinstance(item, int) else [item[0]] * item[1])]


def _asked(checkpoint: Checkpoint, encoded: Any, question: str) -> tuple[tuple[int, ...], Budget]:
    """Prompt ids and limits of a question, by the checkpoint's profile."""
    from unireason.engine.session import Budget
    from unireason.model.tokens import prompt_ids

    profile, kind = checkpoint.profile, encoded.stack.kind
    messages = profile.parts(kind, question, n_slices=len(encoded.stack.slices))
    limits = Budget(profile.max_looks, profile.max_new_tokens, profile.max_round_tokens(kind), checkpoint.max_context)
    return prompt_ids(checkpoint, messages, encoded.prepared.grid_thw), limits


def _rollouts(folder: Path, data: Any) -> Found:
    """Roll-outs of training to scripted generations: ids, mask, contexts and room, exact."""
    from unireason.engine.case import Request, prepare_case, start_session
    from unireason.engine.reasoner import Reasoner
    from unireason.engine.session import Budget, Session, SessionScene
    from unireason.imaging import read
    from unireason.model.tokens import readable

    profile = replace(BUILT_IN["unireason-med"], system_2d=data["system"])
    checkpoint = _checkpoint(folder, profile)
    for case in data["cases"]:
        prompt, rounds, most = tuple(_ids(case["prompt"])), case["max_rounds"], case["response_length"]
        budget = Budget(rounds, most, most, len(prompt) + most)
        if case["picture"]:
            stack = Reasoner(checkpoint).stack(read(_inside(folder, f"trajectory_pictures/{case['picture']}.png")))
            encoded = prepare_case(checkpoint, stack)
            height, width = crop.rollout_size(*stack.slices.shape[1:3])
            encoded = replace(encoded, frame=Frame(width, height, 1, "image"))
            asked, _ = _asked(checkpoint, encoded, data["question"])
            yield "roll-out, prompt", _difference(list(asked), list(prompt))
            session = start_session(checkpoint, Request(encoded, prompt, budget, crop_source="published", rollout=True))
        else:
            scene = SessionScene(Frame(1, 1, 1, "image"), _no_picture, partial(readable, checkpoint), released=True, rollout=True)
            session = Session(prompt, scene, ids=checkpoint.ids, budget=budget)
        made = _rolled(session, case["script"], most, pictures=bool(case["picture"]))
        told = {"response": _ids(case["response"]), "mask": _ids(case["mask"]), "urm_num_crops": case["extra"]["urm_num_crops"]}
        told |= {name: [one[name] for one in case["generations"]] for name in ("context_length", "max_tokens", "n_images")}
        for name, value in told.items():
            yield f"roll-out, {name.removeprefix('urm_')}", _difference(made[name], value)


def _no_picture(plan: crop.Plan) -> tuple[Crop, ...]:
    raise FormatError("a look at no picture", "a question with pictures")


def _rolled(session: Session, script: Sequence[Sequence[int]], most: int, *, pictures: bool) -> dict[str, Any]:
    """Feed scripted generations to a session, and write down what the roll-out loop does.

    Its record of a round that was read anew to other ids holds the sampled ids and then, as if they had been injected, the new ones from
    the first that differs.
    """
    made: dict[str, Any] = {"context_length": [], "max_tokens": [], "n_images": []}
    for generation in script:
        room = most - len(_recorded(session)[0])
        if session.finish or room < 1:
            break
        made["context_length"].append(len(session.prompt) + len(session.response))
        made["max_tokens"].append(room)
        made["n_images"].append(pictures + len(session.crops))
        for token in generation[:room]:
            session.feed(token)
        if not generation:
            break
    response, mask = _recorded(session)
    return made | {"response": response, "mask": mask, "urm_num_crops": len(session.looks)}


def _recorded(session: Session) -> tuple[list[int], list[int]]:
    response, mask, done = list[int](), list[int](), 0
    for start, sampled, ids in session.replaced:
        apart = next((n for n, (a, b) in enumerate(zip(sampled, ids, strict=False)) if a != b), min(len(sampled), len(ids)))
        response += [*session.response[done:start], *sampled, *ids[apart:]]
        mask += [*map(int, session.sampled[done:start]), *[1] * len(sampled), *[0] * (len(ids) - apart)]
        done = start + len(ids)
    return [*response, *session.response[done:]], [*mask, *map(int, session.sampled[done:])]


_TIE = 0.002


def _rows(folder: Path, data: Any) -> Found:
    """Rows of the released tables as the published readers take them, exact; for supervised rows also their ids, and which are learned."""
    from unireason.data.formats import umrg, unimed_cot

    checkpoint = _checkpoint(folder.parent, _published())
    expected = json.loads((folder / "expected.json").read_bytes())
    stored = {row.image_id: row.bytes for row in unimed_cot.read(folder / "unimed_cot", "images")}
    for row, told, made in zip(
        unimed_cot.read(folder / "unimed_cot", "sft"), expected["sft_rows"], expected["sft_tokens"], strict=True
    ):
        pictures = [stored[name] for name in row.image_ids]
        files = [expected["sft_image_files"][path] for path in told["images"]]
        yield "supervised row, messages", _difference(_structs(row.messages), told["messages"])
        yield "supervised row, pictures", _difference([hashlib.sha256(one).hexdigest() for one in pictures], files)
        ids, learned = _supervised(checkpoint, row.messages, pictures, expected["sft_system_tail"])
        yield "supervised row, ids", _difference(ids, _ids(made["ids"]))
        spans = [place for first, stop in made["learned"] for place in range(first, stop)]
        yield "supervised row, learned", _difference(learned, spans)
    for row, told in zip(
        unimed_cot.read(folder / "unimed_cot", "rl"), [*expected["rl_rows"]["val"], *expected["rl_rows"]["train"]], strict=True
    ):
        names = [path.removeprefix("rl/images/") for path in told["images"]]
        files = [hashlib.sha256(stored[name]).hexdigest() for name in row.image_ids]
        yield "row of a question, prompt", _difference(_structs(row.prompt), told["prompt"])
        yield "row of a question, pictures", _difference(files, [expected["rl_image_files"][name] for name in names])
        yield (
            "row of a question, names",
            _difference(
                [row.data_source, row.agent_name, row.ability], [told["data_source"], told["agent_name"], told["ability"]]
            ),
        )
        for name in ("reward_model", "extra_info"):
            yield f"row of a question, {name}", _difference(_given(getattr(row, name)), _given(told[name]))
    for part, rows in expected["umrg_read"].items():
        for row, told in zip(umrg.read_file(folder / "umrg" / f"{part}.parquet"), rows, strict=True):
            yield from _implicit(row, told)


def _structs(messages: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """A struct without its empty fields: whether a missing one is told depends on the other rows of its table."""
    return {name: value for name, value in values.items() if value is not None}


def _supervised(
    checkpoint: Checkpoint, messages: Sequence[tuple[str, str]], pictures: Sequence[bytes], tail: str
) -> tuple[list[int], list[int]]:
    """Ids of a supervised row, and the places of those that are learned: of responses all but pictures, with the end and its line break."""
    import io

    from PIL import Image

    from unireason.model.tokens import encode_text, picture_ids

    ids, learned, left = list[int](), list[int](), list(pictures)

    def say(more: Sequence[int], counts: bool) -> None:
        learned.extend(range(len(ids), len(ids) + len(more)) if counts else ())
        ids.extend(more)

    for role, content in messages:
        mine = role == "assistant"
        say(encode_text(checkpoint, f"<|im_start|>{role}\n"), False)
        for number, piece in enumerate((f"{content}\n{tail}" if role == "system" else content).split("<image>")):
            if number:
                width, height = Image.open(io.BytesIO(left.pop(0))).size
                rows, columns = crop.supervised_size(height, width)
                say(picture_ids(checkpoint.ids, (1, rows // checkpoint.patch, columns // checkpoint.patch)), False)
            say(encode_text(checkpoint, piece), mine)
        say(encode_text(checkpoint, "<|im_end|>\n"), mine)
    return ids, learned


def _implicit(row: UmrgRow, told: Case) -> Found:
    import io

    import numpy as np
    from PIL import Image

    profile = _published(before_2d="\nBEFORE ", closing_open_2d=" BEHIND FORM END", separator="", verbatim=True, max_rounds=0)
    ((_, parts),) = profile.parts("image", row.question)
    yield "row of an implicit question, prompt", _difference(parts[-1], told["messages"][0]["content"][-1]["text"])
    truth = {"bbox_2d": list(row.box), "point_2d": [list(point) for point in row.points]}
    yield "row of an implicit question, truth", _difference(truth, told["ground_truth"])
    about = {name: getattr(row, name) for name in ("id", "supercategory", "category", "reasoning")}
    yield (
        "row of an implicit question, names",
        _difference(about | {"data_source": row.data_source}, told["extra_info"] | {"data_source": told["data_source"]}),
    )
    shown = np.asarray(Image.open(io.BytesIO(row.images[0].bytes)).convert("RGB"))
    mask = np.asarray(Image.open(io.BytesIO(row.masks[0].bytes)))
    yield "row of an implicit question, picture", _difference(_sha256(shown), told["image_rgb_sha256"])
    yield "row of an implicit question, mask", _difference(int((mask > 0).sum()), told["mask_foreground"])


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
    "trajectories.json": _trajectories,
    "rl_trajectories.json": _rollouts,
    "data_rows": _rows,
    "choices.json": _choices,
    "outcome_reward.json": _outcome,
    "umrg_reward.json": _spatial,
    "umrg_evaluation.json": _evaluation,
}
