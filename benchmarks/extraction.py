"""From masks to boxes, and to whole scenes, for a 512 x 512 x 200 volume with 100 labels.

    python -m benchmarks.extraction [--quick] --json

Boxes: one pass over the label map (``data.extract.boxes.find``) against the loop that most data builders have, one ``numpy.where`` a
label with its least and largest indices. Both run in one process on the same array, alternating; medians of processor seconds (one
thread) are compared, and the boxes must be equal. Two volumes: ``organs`` has 100 ellipsoids of the size of organs, vessels and
vertebrae, which touch and cut into each other; in ``packed`` every voxel belongs to a structure, the worst case for both.

Scenes: ``describe`` as a whole (boxes, sizes, components, neighbours, contrast, key points), in a process of its own. Memory is the
peak resident size, beside that of the same process with labels and pixels loaded and nothing described.

Pictures: a scene of a 512 x 512 colour picture with three structures, beside decoding that picture and its three masks from PNG.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {False: (200, 512, 512), True: (40, 128, 128)}  # (Z, Y, X), full and quick
RUNS = {False: 3, True: 2}
PICTURES = {False: 40, True: 5}
LABELS = 100
SPACING_MM = (0.7, 0.7, 1.5)
VOLUMES = ("organs", "packed")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def organs(shape: tuple[int, int, int]) -> np.ndarray:
    """100 ellipsoids with semi-axes of 3 to 12% of the volume."""
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint8)
    for value in range(1, LABELS + 1):
        centre = [rng.uniform(0.15, 0.85) * n for n in shape]
        radii = [max(2.0, rng.uniform(0.03, 0.12) * n) for n in shape]
        block = tuple(slice(max(0, int(c - r)), min(n, int(c + r) + 2)) for c, r, n in zip(centre, radii, shape, strict=True))
        square = sum((a - c) ** 2 / r**2 for a, c, r in zip(np.ogrid[block], centre, radii, strict=True))
        labels[block][square <= 1] = value
    return labels


def packed(shape: tuple[int, int, int]) -> np.ndarray:
    """100 cells, each voxel in the cell of the nearest seed."""
    rng = np.random.default_rng(0)
    coarse = tuple(n // 4 for n in shape)
    nearest, labels = np.full(coarse, np.inf), np.zeros(coarse, np.uint8)
    axes = np.ogrid[tuple(slice(0, n) for n in coarse)]
    for value in range(1, LABELS + 1):
        square = sum((a - s * n) ** 2 for a, s, n in zip(axes, rng.random(3), coarse, strict=True))
        labels[square < nearest] = value
        nearest = np.minimum(nearest, square)
    return labels.repeat(4, 0).repeat(4, 1).repeat(4, 2)


def loop(labels: np.ndarray) -> dict[str, tuple[int, ...]]:
    """The usual loop: one search of the whole volume a label; boxes as (x1, y1, z1, x2, y2, z2)."""
    boxes = {}
    for value in range(1, LABELS + 1):
        z, y, x = np.where(labels == value)
        if len(z):
            low, high = (x.min(), y.min(), z.min()), (x.max() + 1, y.max() + 1, z.max() + 1)
            boxes[f"s{value}"] = tuple(int(v) for v in (*low, *high))
    return boxes


def one_pass(labels: np.ndarray) -> dict[str, tuple[int, ...]]:
    """The package's own way."""
    from unireason.data.item import Layer
    from unireason.data.regions import find

    found = find([Layer(labels, {v: f"s{v}" for v in range(1, LABELS + 1)})])
    return {f.name: (*f.corners[0], *f.corners[1]) for f in found}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of this process, which other work on the machine disturbs least, and the result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def child_boxes(path: Path, runs: int) -> dict[str, Any]:
    """Alternating runs of both ways on one array."""
    labels = np.load(path, allow_pickle=False)
    seconds: dict[str, list[float]] = {"ours": [], "loop": []}
    one_pass(labels[:1])  # imports
    for _ in range(runs):
        took, ours = timed(lambda: one_pass(labels))
        seconds["ours"].append(took)
        took, theirs = timed(lambda: loop(labels))
        seconds["loop"].append(took)
        if ours != theirs:
            raise SystemExit("the boxes differ")
    return {"boxes": len(ours), **{who: statistics.median(values) for who, values in seconds.items()}}


def loaded(labels: np.ndarray, pixels: np.ndarray, spacing: tuple[float, ...], layers: Any = None) -> Any:
    """An item in memory."""
    from unireason.core.types import Case, Geometry, Source
    from unireason.data.item import Item, Layer, Loaded

    n = labels.ndim
    names = {v: f"s{v}" for v in range(1, int(labels.max(initial=0)) + 1)}
    geometry = Geometry(labels.shape, labels.shape[::-1], tuple(range(n)), (False,) * n, None, spacing)
    kind = "volume" if n == 3 else "image"
    case = Case(pixels, kind, geometry, "CT" if n == 3 else "", Source("drawn", "drawn", ""))
    return Loaded(Item("i", "p", kind, "drawn", (), tuple(names.values())), case, layers or (Layer(labels, names),))


def child_scene(path: Path, what: str) -> dict[str, float]:
    """One scene of a volume, or, for "nothing", only its arrays in memory."""
    from benchmarks.reading import peak_mb
    from unireason.data.frames import rule
    from unireason.data.measure import describe

    labels = np.load(path, allow_pickle=False)
    pixels = np.multiply(labels, 7, dtype=np.int16)
    np.remainder(pixels, 300, out=pixels)
    if what == "nothing":
        return {"peak_mb": peak_mb()}
    item = loaded(labels, pixels, SPACING_MM)
    began = time.perf_counter()
    cpu, scene = timed(lambda: describe(item, rule("published"), case="c"))
    wall = time.perf_counter() - began
    return {"seconds": wall, "cpu_seconds": cpu, "structures": len(scene.structures), "peak_mb": peak_mb()}


def child_pictures(count: int) -> dict[str, float]:
    """Median milliseconds for a scene of a picture, and for decoding its PNG files."""
    import scipy.ndimage as ndimage

    from unireason.data.frames import from_png, png, rule
    from unireason.data.item import Layer
    from unireason.data.measure import describe

    rng = np.random.default_rng(0)
    y, x = np.ogrid[:512, :512]
    masks = [(((x - a) / 60) ** 2 + ((y - b) / 40) ** 2 <= 1).astype(np.uint8) for a, b in ((150, 150), (300, 200), (260, 380))]
    smooth = ndimage.gaussian_filter(rng.normal(size=(512, 512, 3)), (2, 2, 0)) * 800 + 100 + 40 * sum(masks)[..., None]
    picture = np.clip(smooth, 0, 255).astype(np.uint8)
    layers = tuple(Layer(mask, {1: f"s{n}"}) for n, mask in enumerate(masks))
    item, frame = loaded(masks[0], picture, (1.0, 1.0), layers), rule("published")
    files = [png(picture), *(png(mask * 255) for mask in masks)]
    describe(item, frame, case="c")
    scenes = [timed(lambda: describe(item, frame, case="c"))[0] for _ in range(count)]
    decoding = [timed(lambda: [from_png(f) for f in files])[0] for _ in range(count)]
    return {"scene_ms": 1000 * statistics.median(scenes), "png_ms": 1000 * statistics.median(decoding)}


def call(*arguments: str) -> dict[str, Any]:
    """Run a part of this module in a process of its own with one thread."""
    command = [sys.executable, "-m", "benchmarks.extraction", "--child", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **THREADS})
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(folder: Path, quick: bool) -> tuple[dict[str, Any], dict[str, float]]:
    """All figures, and the ratios loop : ours and scene : decoding."""
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for name in VOLUMES:
        path = folder / f"{name}.npy"
        np.save(path, {"organs": organs, "packed": packed}[name](SIZES[quick]))
        boxes = call("boxes", str(path), str(RUNS[quick]))
        scenes = [call("scene", str(path), name) for _ in range(RUNS[quick])]
        figures[f"{name} boxes"] = {key: round(value, 4) for key, value in boxes.items()}
        figures[f"{name} scene"] = {
            "structures": scenes[0]["structures"],
            "seconds": round(statistics.median(s["seconds"] for s in scenes), 3),
            "cpu_seconds": round(statistics.median(s["cpu_seconds"] for s in scenes), 3),
            "peak_mb": round(max(s["peak_mb"] for s in scenes), 1),
            "peak_mb_arrays_alone": round(call("scene", str(path), "nothing")["peak_mb"], 1),
        }
        ratios[f"{name} boxes, loop : ours"] = round(boxes["loop"] / boxes["ours"], 1)
    pictures = call("pictures", str(PICTURES[quick]))
    figures["picture of 512 x 512, three structures"] = {key: round(value, 2) for key, value in pictures.items()}
    ratios["picture, scene : PNG decoding"] = round(pictures["scene_ms"] / pictures["png_ms"], 2)
    return figures, ratios


def child(part: str, *arguments: str) -> dict[str, Any]:
    """One measured part."""
    if part == "boxes":
        return child_boxes(Path(arguments[0]), int(arguments[1]))
    if part == "scene":
        return child_scene(Path(arguments[0]), arguments[1])
    return child_pictures(int(arguments[0]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller volume and fewer runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--child", nargs="+", metavar="PART", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    from benchmarks.machine import describe as machine

    with tempfile.TemporaryDirectory() as place:
        figures, ratios = measure(Path(place), options.quick)
    result = {
        "benchmark": "extraction",
        "command": f"python -m benchmarks.extraction{' --quick' if options.quick else ''} --json",
        "shape_zyx": SIZES[options.quick],
        "labels": LABELS,
        "runs": RUNS[options.quick],
        "ratios": ratios,
        "figures": figures,
        "machine": machine("numpy", "scipy", "pillow"),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for key, values in (*figures.items(), ("ratios", ratios)):
        print(key, *(f"{name} {value}" for name, value in values.items()), sep="\n  ")


if __name__ == "__main__":
    main()
