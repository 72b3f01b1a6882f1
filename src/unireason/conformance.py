"""Compares the package with a file of conformance cases: input and what the published systems answered.

A file is one JSON object; each key names a rule and holds a list of cases. It knows nothing of the command line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Box2D, Box3D
from unireason.grounding import crop, grammar
from unireason.metrics import answers
from unireason.metrics import boxes as circles
from unireason.metrics import boxes as overlap
from unireason.rewards import outcome, spatial

Case = Mapping[str, Any]

_MAX_BYTES = 1 << 26
_MAX_VOXELS = 1 << 26
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ConformanceCheck:
    """How one key is checked."""

    compute: Callable[[Case], Mapping[str, Any]]
    expected: tuple[str, ...]
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came out for one key."""

    key: str
    passed: int
    total: int
    differences: tuple[str, ...]


def check_file(path: str | Path) -> tuple[Result, ...]:
    """Check every case of a file.

    Args:
        path: JSON file of cases, at most 64 MiB.

    Returns:
        One result a key, in the file's order.

    Raises:
        FormatError: If the file cannot be read, is not of this form, has an unknown key or holds no case at all.
    """
    name = Path(path).name
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise FormatError(f"{name} is larger than {_MAX_BYTES} bytes")
        data = json.loads(raw.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{name} cannot be read as JSON: {error}", "a file of conformance cases") from error
    return check(data)


def check(data: Any) -> tuple[Result, ...]:
    """Check every case of a decoded file; see ``check_file``."""
    if not isinstance(data, dict) or not all(isinstance(cases, list) for cases in data.values()):
        raise FormatError("the file holds something else", "one object whose keys hold lists of cases")
    unknown = sorted(set(data) - set(CHECKS))
    if unknown:
        raise FormatError(f"unknown key: {', '.join(unknown)}", f"some of: {', '.join(CHECKS)}")
    if not any(data.values()):
        raise FormatError("the file holds no case")
    return tuple(_check_key(key, cases) for key, cases in data.items())


def _check_key(key: str, cases: list[Any]) -> Result:
    passed = 0
    shown: list[str] = []
    for index, case in enumerate(cases):
        found = _check_case(key, index, case)
        passed += found is None
        if found is not None and len(shown) < _SHOWN:
            shown.append(f"{key}[{index}]{found}")
    return Result(key, passed, len(cases), tuple(shown))


def _check_case(key: str, index: int, case: Any) -> str | None:
    """The first difference of a case, or None; our own error is a difference, a malformed case is not our answer."""
    rule = CHECKS[key]
    if not isinstance(case, dict) or not set(rule.expected) <= set(case):
        raise FormatError(f"{key}[{index}] is not a whole case", f"an object with {', '.join(rule.expected)} and its input")
    try:
        got = rule.compute(case)
    except UniReasonError as error:
        return f": raised {type(error).__name__}: {error}"
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FormatError(f"the input of {key}[{index}] is malformed: {error!r}") from error
    return next((d for name in rule.expected for d in _differences(got[name], case[name], f".{name}", rule.tolerance)), None)


def _differences(got: Any, expected: Any, place: str, tolerance: float) -> Iterator[str]:
    """Where two JSON values differ; numbers may differ by the tolerance, everything else must be equal."""
    if isinstance(got, Mapping) and isinstance(expected, Mapping) and set(got) == set(expected):
        for name in got:
            yield from _differences(got[name], expected[name], f"{place}.{name}", tolerance)
    elif isinstance(got, list | tuple) and isinstance(expected, list | tuple) and len(got) == len(expected):
        for i, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
            yield from _differences(ours, theirs, f"{place}[{i}]", tolerance)
    elif _is_number(got) and _is_number(expected):
        if not abs(got - expected) <= tolerance:
            yield f"{place}: expected {expected}, got {got}"
    elif type(got) is not type(expected) or got != expected:
        yield f"{place}: expected {str(expected)[:200]!r}, got {str(got)[:200]!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _box_parse(case: Case) -> dict[str, Any]:
    found = [f.box for f in grammar.parse(case["text"]).boxes]
    return {"boxes": [{"coords": list(box.coords), "is_3d": isinstance(box, Box3D)} for box in found]}


def _crop_2d(case: Case) -> dict[str, Any]:
    return {"crop": list(crop.crop_rect(Box2D(*case["box"]), case["width"], case["height"]))}


def _crop_3d(case: Case) -> dict[str, Any]:
    first, stop = crop.slice_range(case["z1"], case["z2"], case["depth"])
    return {"first": first, "last_exclusive": stop}


def _smart_resize(case: Case) -> dict[str, Any]:
    limits = {name: case[name] for name in ("factor", "min_pixels", "max_pixels")}
    return {"resized": list(crop.smart_resize(case["height"], case["width"], **limits))}


def _umrg_reward(case: Case) -> dict[str, Any]:
    gold = spatial.read_gold(case["ground_truth"])
    return {"reward": spatial.umrg_reward(case["solution"], gold, mode=case["mode"], published=True)}


def _metrics(case: Case) -> dict[str, Any]:
    box_a, box_b = Box2D(*case["box_a"]), Box2D(*case["box_b"])
    return {
        "iou": overlap.box_iou(box_a, box_b, eps=overlap.PUBLISHED_EPS),
        "pdice": circles.pdice_released(case["points_a"], case["points_b"]),
    }


def _published_choice(case: Case) -> dict[str, Any]:
    response = case["response"]
    return {
        "inference_choice": answers.published_inference_choice(response),
        "reward_choice": answers.published_reward_choice(response),
    }


def _published_mcq_reward(case: Case) -> dict[str, Any]:
    return {"reward": outcome.published_outcome(case["solution"], case["ground_truth"])}


def _published_serialize(case: Case) -> dict[str, Any]:
    import numpy as np

    from unireason.imaging.present import published_serialize

    if math.prod(case["target_dhw"]) > _MAX_VOXELS:
        raise ValueError(f"target_dhw {case['target_dhw']} asks for more than {_MAX_VOXELS} voxels")
    volume = np.asarray(case["volume"], dtype=np.float32).reshape(case["shape"])
    return {"slices_uint8": published_serialize(volume, tuple(case["target_dhw"]), case["normalize"]).tolist()}


def _answer_choice(case: Case) -> dict[str, Any]:
    return {"choice": answers.answer_choice(case["response"], case["letters"])}


CHECKS: Mapping[str, ConformanceCheck] = {
    "box_parse": ConformanceCheck(_box_parse, ("boxes",)),
    "crop_2d": ConformanceCheck(_crop_2d, ("crop",)),
    "crop_3d_slice_range": ConformanceCheck(_crop_3d, ("first", "last_exclusive")),
    "smart_resize": ConformanceCheck(_smart_resize, ("resized",)),
    "umrg_reward": ConformanceCheck(_umrg_reward, ("reward",), 1e-6),
    "metrics": ConformanceCheck(_metrics, ("iou", "pdice"), 1e-6),
    "published_choice": ConformanceCheck(_published_choice, ("inference_choice", "reward_choice")),
    "published_mcq_reward": ConformanceCheck(_published_mcq_reward, ("reward",), 1e-6),
    "published_serialize": ConformanceCheck(_published_serialize, ("slices_uint8",), 1.0),
    "answer_choice": ConformanceCheck(_answer_choice, ("choice",)),
}
