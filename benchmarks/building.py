"""How fast a data set is built, and what of it is reading pictures.

    python -m benchmarks.building pictures [--images N] --json    SA-Med2D-like pictures on disk, one process
    python -m benchmarks.building phantoms [--most N] --json       phantom patients, two processes

``pictures`` makes a tree in the layout of SA-Med2D out of phantom slices enlarged to 512 x 512 (RGB pictures, one binary mask a
structure), decodes all its PNG files with Pillow alone, then builds a data set from it, stage by stage, in processes of one thread.
The share is the seconds of decoding alone over those of the whole build. Memory is the peak resident size of the building process, for a
tenth of the pictures and for all.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import describe

SIDE = 512
CLASSES = "SAMed2D_v1_class_mapping_id.json"
SLICES_A_PATIENT = 4


def make(folder: Path, images: int) -> None:
    """Write pictures and masks in the layout of SA-Med2D."""
    import numpy as np
    from PIL import Image

    from unireason.data.scene import readable
    from unireason.data.sources.phantom import SLICE_NAMES, generate

    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    index: dict[str, list[str]] = {}
    rng = np.random.default_rng(0)
    patient = 0
    while len(index) < images:
        made = generate(9, patient)
        shown = np.array([len(np.unique(plane)) for plane in made.labels])
        busy = np.flatnonzero(shown > 3)
        for k in np.sort(rng.choice(busy, min(SLICES_A_PATIENT, len(busy)), replace=False)):
            grey = np.clip((made.voxels[k].astype(np.float32) + 160) / 400 * 255, 0, 255).astype(np.uint8)
            picture = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")
            stem = f"ct_00--PHANTOM--p{patient:05d}--z_{k:04d}"
            picture.save(folder / "images" / f"{stem}.png", compress_level=3)
            labels = np.asarray(Image.fromarray(made.labels[k]).resize((SIDE, SIDE), Image.Resampling.NEAREST))
            masks = []
            for value in (v for v in np.unique(labels) if v in SLICE_NAMES):
                name = f"{stem}--{value:04d}_000.png"
                Image.fromarray((labels == value).astype(np.uint8) * 255).save(folder / "masks" / name, compress_level=3)
                masks.append(f"masks/{name}")
            index[f"images/{stem}.png"] = masks
        patient += 1
    index = dict(list(index.items())[:images])
    (folder / "SAMed2D_v1.json").write_text(json.dumps(index))
    classes = {"PHANTOM": {readable(name): value for value, name in SLICE_NAMES.items()}}
    (folder / CLASSES).write_text(json.dumps(classes))


def decode(folder: Path, images: int) -> dict[str, float]:
    """Seconds to decode all pictures and masks to arrays, nothing else."""
    import numpy as np
    from PIL import Image

    index: dict[str, list[str]] = json.loads((folder / "SAMed2D_v1.json").read_text())
    begun, files = time.process_time(), 0
    for name, masks in list(index.items())[:images]:
        for path in (name, *masks):
            with Image.open(folder / path) as image:
                np.asarray(image)
            files += 1
    return {"seconds": time.process_time() - begun, "files": files}


def build(folder: Path, out: Path, options: dict[str, str], **settings: Any) -> dict[str, Any]:
    """Build in this process; process seconds of every stage, counts and peak memory."""
    from unireason.data.build_store import BuildConfig
    from unireason.data.pipeline import Hands, LocalPool
    from unireason.data.pipeline import build as run
    from unireason.data.rationale.template import TemplateAnnotator

    stages: dict[str, float] = {}
    last = ["list", time.process_time()]

    def tell(stage: str, done: int, total: int) -> None:
        now = time.process_time()
        stages[str(last[0])] = stages.get(str(last[0]), 0.0) + now - float(last[1])
        last[:] = [stage, now]

    config = BuildConfig("sa-med2d", folder, options, **settings)
    manifest = run(config, out, annotator=TemplateAnnotator(), hands=Hands(LocalPool(1), None, tell))
    tell("end", 0, 0)
    counts = manifest["counts"]
    return {
        "seconds": {name: round(value, 2) for name, value in stages.items() if name != "end"},
        "samples": counts["samples"],
        "cases": counts["cases"],
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _child(what: str, *arguments: str) -> dict[str, Any]:
    """Run one part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.building", what, *arguments]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def pictures(images: int) -> dict[str, Any]:
    """Share of decoding, samples a second, memory."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "tree"
        make(folder, images)
        few = str(max(1, images // 10))
        index = json.loads((folder / "SAMed2D_v1.json").read_text())
        small = Path(place) / "small"
        small.mkdir()
        for name in ("images", "masks"):
            shutil.copytree(folder / name, small / name, copy_function=os.link)
        shutil.copy(folder / CLASSES, small)
        (small / "SAMed2D_v1.json").write_text(json.dumps(dict(list(index.items())[: int(few)])))
        found = {
            "few": _child("_build", str(small), str(Path(place) / "few")),
            "decoding": _child("_decode", str(folder), str(images)),
            "all": _child("_build", str(folder), str(Path(place) / "all")),
        }
    whole = sum(found["all"]["seconds"].values())
    return {
        **found,
        "ratios": {
            "decoding : whole build": round(found["decoding"]["seconds"] / whole, 3),
            "decoding : masks to scenes": round(found["decoding"]["seconds"] / found["all"]["seconds"]["draft"], 3),
            "peak memory all : a tenth": round(found["all"]["peak_mb"] / found["few"]["peak_mb"], 2),
        },
        "samples_a_second_and_core": round(found["all"]["samples"] / whole, 1),
        "targets": {"decoding : whole build": 0.8},
        "command": "python -m benchmarks.building pictures --json",
    }


def phantoms(most: int) -> dict[str, Any]:
    """Seconds of the command for ``most`` 2D and ``most`` 3D questions, and the same for its check."""
    patients = str(most * 52 // 100 + 20)
    with tempfile.TemporaryDirectory() as place:
        out = str(Path(place) / "set")
        shape = ["--patients", patients, "--most", str(most), "--slices", "1", "--implicit", "0", "--workers", "2"]
        command = ["data", "build", "phantom", *shape]
        begun = time.perf_counter()
        built = json.loads(_run(*command, "--out", out, "--json"))
        seconds = time.perf_counter() - begun
        begun = time.perf_counter()
        checked = json.loads(_run("data", "check", out, "--json"))
        check_seconds = time.perf_counter() - begun
    return {
        "command": "unireason " + " ".join(command) + " --out DIR --json",
        "seconds": round(seconds, 1),
        "samples_a_second": round(built["counts"]["samples"] / seconds, 1),
        "counts": {k: built["counts"][k] for k in ("cases", "samples", "by_kind", "by_family", "by_split")},
        "content_sha256": built["content_sha256"],
        "check_seconds": round(check_seconds, 1),
        "check_ok": checked["ok"],
        "shortcut": {
            family: {key: found[key] for key in ("accuracy", "chance", "ci95")} for family, found in checked["shortcut"].items()
        },
    }


def _run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "unireason", *arguments], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    return done.stdout


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pictures", "phantoms", "_build", "_decode"))
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--images", type=int, default=6700)
    parser.add_argument("--most", type=int, default=10000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.what == "_build":
        print(json.dumps(build(Path(args.arguments[0]), Path(args.arguments[1]), {})))
        return
    if args.what == "_decode":
        print(json.dumps(decode(Path(args.arguments[0]), int(args.arguments[1]))))
        return
    result = pictures(args.images) if args.what == "pictures" else phantoms(args.most)
    print(json.dumps({**result, "machine": describe("numpy", "scipy", "pillow", "pyarrow")}, indent=1))


if __name__ == "__main__":
    main()
