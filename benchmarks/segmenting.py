"""Masks of the expert without weights: how good, how fast, in how much memory.

    python -m benchmarks.segmenting [--quick] --json > benchmarks/results/segmenting.json

Dice: phantom patients of the examination stream, whom nothing was tuned on, every organ and lesion that a volume or one of its two
drawn slices shows. The prompt is the true box with each side moved by a random share of up to 15% of the box's length along that axis,
rounded to whole voxels, at least one. ``points`` gives the two key points of the data builder instead, ``both`` gives box and points.
The phantoms have sharp edges; ``blurred`` repeats the boxes on slices and volumes smoothed by a Gaussian of 0.8 pixels in plane, ``noisy``
with noise of 30 HU added (about as much again as they have at most). ``slices followed`` gives the box of one slice, the one with most
of the structure, and follows it through the volume. Intervals: bootstrap over patients, 95%.

``plain`` is what the method has to beat: the ellipse that touches the sides of the same box.

Time: seconds of this process with one thread, medians; a picture of 512 x 512 with boxes of three sizes, and a volume of 64 x 512 x 512
with a box whose region (the box and what is looked at around it) has 32 x 256 x 256 voxels, and with a box of that size itself. Memory:
peak of a process of its own, which segments a box of 40 x 80 x 100 in a volume of 700 x 512 x 512 int16, above what it held before.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from unireason.core.types import Box2D, Box3D, Case, Geometry, Source
from unireason.data.measure import key_points
from unireason.data.sources.phantom import EXAM_STREAM, SLICE_NAMES, Patient, busy_slices, generate, image_case
from unireason.metrics.boxes import mask_dice
from unireason.metrics.statistics import bootstrap_mean
from unireason.segment.expert import Prompt, make_expert

SEED, JITTER = 2026, 0.15
PATIENTS = {False: 150, True: 4}
FEWER = {False: 40, True: 2}  # for the variants
RUNS = {False: 9, True: 2}
BLUR, NOISE = 0.8, 30.0
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Target:
    """One structure to be found."""

    patient: int
    name: str
    case: Case
    mask: np.ndarray
    rng_key: tuple[int, ...]


def targets(kind: str, patients: int) -> Iterator[Target]:
    """All structures of volumes, or of two slices a patient."""
    for index in range(patients):
        patient = generate(SEED, index, stream=EXAM_STREAM)
        for place, case, labels in _views(kind, patient, index):
            for label, name in SLICE_NAMES.items():
                mask = labels == label
                if mask.any():
                    yield Target(index, name, case, mask, (SEED, index, place, label))


def _views(kind: str, patient: Patient, index: int) -> Iterator[tuple[int, Case, np.ndarray]]:
    if kind == "volume":
        yield -1 & 0xFFFF, patient.case(), patient.labels
        return
    for k in busy_slices(patient, np.random.default_rng([SEED, index]), 2):
        yield k, image_case(patient, k), patient.labels[k]


def jittered(mask: np.ndarray, rng: np.random.Generator) -> Box2D | Box3D:
    """The box around a mask with every side moved."""
    where = np.argwhere(mask)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    size, shape = high - low, np.array(mask.shape)
    first = np.clip(np.round(low + rng.uniform(-JITTER, JITTER, mask.ndim) * size), 0, shape - 1)
    last = np.clip(np.round(high + rng.uniform(-JITTER, JITTER, mask.ndim) * size), first + 1, shape)
    numbers = [float(v) for v in (*first[::-1], *last[::-1])]
    return Box2D(*numbers) if mask.ndim == 2 else Box3D(*numbers)


def pair(target: Target) -> tuple[tuple[float, ...], ...]:
    """The two key points, in the middles of their voxels."""
    spacing = target.case.geometry.spacing_mm or (1.0,) * target.mask.ndim
    found = key_points(target.mask, (0,) * target.mask.ndim, spacing)
    return tuple(tuple(v + 0.5 for v in point) for point in found)


def prompts(target: Target, how: str) -> Prompt:
    """The prompt of one kind."""
    rng = np.random.default_rng(target.rng_key)
    if how == "points":
        return Prompt(points=pair(target))
    if how == "both":
        return Prompt(jittered(target.mask, rng), pair(target))
    if how == "followed":
        key = int(target.mask.sum(axis=(1, 2)).argmax())
        return Prompt(jittered(target.mask[key], rng), slice=key, propagate=True)
    return Prompt(jittered(target.mask, rng))


def altered(target: Target, how: str) -> Case:
    """The case as it is, smoothed or with more noise."""
    pixels = target.case.pixels
    if how == "blurred":
        pixels = ndimage.gaussian_filter(pixels.astype(np.float32), [0.0] * (pixels.ndim - 2) + [BLUR, BLUR])
    elif how == "noisy":
        pixels = pixels + np.random.default_rng(target.rng_key).normal(0, NOISE, pixels.shape).astype(np.float32)
    return replace(target.case, pixels=pixels)


def ellipse(target: Target, box: Box2D | Box3D) -> np.ndarray:
    """The ellipse or ellipsoid that touches the sides of a box."""
    dims = target.mask.ndim
    low, high = np.array(box.coords[:dims])[::-1], np.array(box.coords[dims:])[::-1]
    axes = np.ogrid[tuple(slice(0, n) for n in target.mask.shape)]
    return sum(((a + 0.5 - (p + q) / 2) / ((q - p) / 2)) ** 2 for a, p, q in zip(axes, low, high, strict=True)) <= 1


def dice_of(kind: str, how: str, patients: int) -> dict[str, Any]:
    """Mean Dice, by structure and in all, and how well the score tells it."""
    expert = make_expert("classical")
    rows: list[tuple[int, str, float, float]] = []
    for target in targets(kind, patients):
        if how == "plain":
            box = prompts(target, "box").box
            assert box is not None
            rows.append((target.patient, target.name, mask_dice(ellipse(target, box), target.mask), 0.0))
            continue
        (found,) = expert.segment(altered(target, how), [prompts(target, how)])
        rows.append((target.patient, target.name, mask_dice(found.mask, target.mask), found.score))
    by: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for patient, name, dice, _ in rows:
        by[name].append((patient, dice))
    whole = _row([(patient, dice) for patient, _, dice, _ in rows])
    dice, score = np.array([r[2] for r in rows]), np.array([r[3] for r in rows])
    if score.std() > 0:
        whole["mean_score"] = round(float(score.mean()), 3)
        whole["correlation_of_score_and_dice"] = round(float(np.corrcoef(score, dice)[0, 1]), 2)
    return {**whole, "by_structure": {name: _row(by[name]) for name in SLICE_NAMES.values() if name in by}}


def _row(pairs: list[tuple[int, float]]) -> dict[str, Any]:
    values = [dice for _, dice in pairs]
    low, high = bootstrap_mean(values, seed=0, clusters=[patient for patient, _ in pairs])
    return {
        "n": len(values),
        "dice": round(float(np.mean(values)), 4),
        "ci95": [round(low, 4), round(high, 4)],
        "worst_twentieth": round(float(np.percentile(values, 5)), 3),
    }


def drawn(shape: tuple[int, ...], half: tuple[float, ...]) -> tuple[Case, np.ndarray]:
    """A bright ellipse or ellipsoid in the middle of noise, and its mask."""
    rng = np.random.default_rng(0)
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    mask = sum(((a + 0.5 - n / 2) / h) ** 2 for a, n, h in zip(axes, shape, half, strict=True)) <= 1
    pixels = rng.integers(0, 60, shape, dtype=np.int16)
    pixels[mask] += 60
    dims = len(shape)
    spacing = (0.8, 0.8, 2.0)[:dims]
    geometry = Geometry(shape, shape[::-1], tuple(range(dims)), (False,) * dims, spacing_mm=spacing)
    return Case(pixels, "image" if dims == 2 else "volume", geometry, "CT", Source("drawn", "array", "")), mask


def timed(case: Case, box: Box2D | Box3D, runs: int) -> float:
    """Median milliseconds of this process."""
    expert = make_expert("classical")
    seconds = []
    for _ in range(runs + 1):
        begun = time.process_time()
        expert.segment(case, [Prompt(box)])
        seconds.append(time.process_time() - begun)
    return round(1000 * statistics.median(seconds[1:]), 1)


def times(quick: bool) -> dict[str, float]:
    """Milliseconds of a picture and of a volume."""
    runs = RUNS[quick]
    picture, _ = drawn((512, 512), (120, 120))
    found = {
        "picture 512 x 512, box 240 x 240": timed(picture, Box2D(136, 136, 376, 376), runs),
        "picture 512 x 512, box 480 x 480": timed(picture, Box2D(16, 16, 496, 496), runs),
        "picture 512 x 512, box of all": timed(picture, Box2D(0, 0, 512, 512), runs),
    }
    if quick:
        return found
    small, _ = drawn((64, 512, 512), (8, 64, 64))
    found["volume 64 x 512 x 512, region 32 x 256 x 256"] = timed(small, Box3D(192, 192, 24, 320, 320, 40), runs)
    large, _ = drawn((64, 512, 512), (16, 128, 128))
    found["volume 64 x 512 x 512, box 32 x 256 x 256"] = timed(large, Box3D(128, 128, 16, 384, 384, 48), runs)
    return found


def memory() -> dict[str, float]:
    """Peak above what was held, of one box in a volume of 700 slices."""
    shape = (700, 512, 512)
    pixels = np.zeros(shape, np.int16)
    pixels[330:370, 200:280, 200:300] = 100
    geometry = Geometry(shape, shape[::-1], (0, 1, 2), (False,) * 3, spacing_mm=(0.7, 0.7, 1.0))
    case = Case(pixels, "volume", geometry, "CT", Source("drawn", "array", ""))
    make_expert("classical")
    held = _held_mb()
    make_expert("classical").segment(case, [Prompt(Box3D(200, 200, 330, 300, 280, 370))])
    return {
        "peak_mb_above_volume": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - held, 1),
        "held_mb": round(held, 1),
    }


def _held_mb() -> float:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


PARTS: dict[str, tuple[str, str]] = {
    "2d": ("slice", "box"),
    "3d": ("volume", "box"),
    "2d, ellipse alone": ("slice", "plain"),
    "3d, ellipse alone": ("volume", "plain"),
    "2d, box and points": ("slice", "both"),
    "3d, box and points": ("volume", "both"),
    "2d, points alone": ("slice", "points"),
    "3d, points alone": ("volume", "points"),
    "2d, blurred": ("slice", "blurred"),
    "3d, blurred": ("volume", "blurred"),
    "2d, noisy": ("slice", "noisy"),
    "3d, noisy": ("volume", "noisy"),
    "3d, slices followed": ("volume", "followed"),
}


def child(part: str, quick: bool) -> dict[str, Any]:
    """One measured part."""
    other: dict[str, Callable[[], dict[str, Any]]] = {"times": lambda: times(quick), "memory": memory}
    if part in other:
        return other[part]()
    kind, how = PARTS[part]
    return dice_of(kind, how, (PATIENTS if how in ("box", "plain") else FEWER)[quick])


def call(part: str, quick: bool) -> dict[str, Any]:
    """Run a part in a process of its own with one thread."""
    command = [sys.executable, "-m", "benchmarks.segmenting", "--child", part, *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **THREADS})
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few patients and runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--child", metavar="PART", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.quick)))
        return
    from benchmarks.machine import describe as machine

    dice = {part: call(part, options.quick) for part in PARTS}
    result = {
        "benchmark": "segmenting",
        "command": f"python -m benchmarks.segmenting{' --quick' if options.quick else ''} --json",
        "seed": SEED,
        "jitter": JITTER,
        "targets": {"2d": 0.90, "3d": 0.88, "milliseconds 2d": 20, "milliseconds 3d": 500},
        "dice": dice,
        "milliseconds": call("times", options.quick),
        "memory": call("memory", options.quick),
        "machine": machine("numpy", "scipy"),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for part, row in dice.items():
        print(f"{part:24} n {row['n']:5}  dice {row['dice']:.4f}  95% {row['ci95'][0]:.4f} to {row['ci95'][1]:.4f}")
    print(result["milliseconds"], result["memory"])


if __name__ == "__main__":
    main()
