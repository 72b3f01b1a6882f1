"""What long suites cost besides the model: opening one, finishing a run over it, putting runs side by side.

    python -m benchmarks.long_suites [--questions N] [--runs N] --json

A folder in the layout of OmniMedVQA (its size: some 80,000 questions, nine of ten pictures with one) over a few small pictures, and
finished runs over it, made up without a model: rows as `evaluate.benchmark` writes them, with a reasoning of two looks. Each step is a
process of its own, as a user starts it; its time and its greatest memory are those that the system reports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from unireason.core.types import AnswerStep, Crop, Frame, LookStep, Source, TextStep, Trace
from unireason.engine.reasoner import Reasoner, load
from unireason.evaluate.benchmark import RunSettings, make_line
from unireason.evaluate.store import MANIFEST, RESULTS, ROWS, choose, make_manifest
from unireason.evaluate.suites.base import Entry, Suite, open_suite

GB = 1 << 30
TARGETS = {
    "open": {"processor_seconds": 60, "gigabytes": 1.0},
    "finish": {"processor_seconds": 120, "gigabytes": 1.5},
    "compare": {"processor_seconds": 240, "gigabytes": 2.0},
}
FAMILIES = (
    "Modality Recognition",
    "Anatomy Identification",
    "Disease Diagnosis",
    "Lesion Grading",
    "Other Biological Attributes",
)
MODALITIES = (
    "CT(Computed Tomography)",
    "MR (Mag-netic Resonance Imaging)",
    "X-Ray",
    "ultrasound",
    "Dermoscopy",
    "Fundus Photography",
)
DATASETS = 42
OPTIONS = ("a benign change of the tissue", "a malignant tumour", "an inflammation", "no abnormality")
FILES = 8  # pictures that differ; a file has 65,000 names at most where names are links
SHARED = 10  # one of so many questions is about the picture of the one before
THOUGHT = (
    "The picture shows a section through the body at the level asked about. The borders are sharp and the contrast is that of the usual "
    "protocol, so that the structure in the question can be told from what lies around it. I compare both sides and look closer at the "
    "region that differs."
)


def write_suite(root: Path, count: int) -> None:
    """Questions in the layout of OmniMedVQA, their pictures names of a few small files."""
    rng = random.Random(0)
    index = root / "QA_information" / "Open-access"
    index.mkdir(parents=True)
    plates = _plates(root / "plates")
    rows: dict[int, list[dict[str, str]]] = {n: [] for n in range(DATASETS)}
    for n in range(count):
        own = n * DATASETS // count
        first = not rows[own] or n % SHARED
        place = f"Images/set{own:02d}/{n // 5000:03d}/image_{n:06d}.png" if first else rows[own][-1]["image_path"]
        if first:
            _link(plates[n % len(plates)], root / place)
        rows[own].append(_question(n, own, place, rng))
    for own, listed in rows.items():
        (index / f"set{own:02d}.json").write_text(json.dumps(listed))


def _question(n: int, own: int, place: str, rng: random.Random) -> dict[str, str]:
    options = rng.sample(OPTIONS, len(OPTIONS))
    return {
        **{"dataset": f"set{own:02d}", "question_id": f"set{own:02d}_{n:06d}", "image_path": place},
        **{"question_type": FAMILIES[n % 7 % 5], "modality_type": MODALITIES[own % len(MODALITIES)]},
        "question": f"What is most likely the diagnosis of the abnormality that this picture number {n} shows?",
        "gt_answer": rng.choice(options),
        **{f"option_{letter}": text for letter, text in zip("ABCD", options, strict=True)},
    }


def _plates(folder: Path) -> list[Path]:
    """Pictures of 256 x 256 pixels with some 30 kB, as a run draws them."""
    folder.mkdir()
    paths = [folder / f"{n}.png" for n in range(FILES)]
    for n, path in enumerate(paths):
        pixels = np.random.default_rng(n).integers(0, 12, (256, 256), np.uint8) + np.arange(256, dtype=np.uint8) // 2
        Image.fromarray(pixels).save(path)
    return paths


def _link(plate: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.link(plate, path)


def write_run(folder: Path, manifest: Mapping[str, Any], entries: Sequence[Entry], plates: Sequence[Path], *, seed: int) -> None:
    """A run whose questions are all answered and that was killed before its results were written."""
    folder.mkdir()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    rng = random.Random(seed)
    with (folder / ROWS).open("w") as stream:
        for place, entry in enumerate(entries):
            name = f"pictures/{place:04d}.png"
            _link(plates[place % len(plates)], folder / name)
            line = make_line(entry, [_trace(entry, manifest, rng)], votes=0, think_end=None)
            stream.write(json.dumps({**line, "picture": name, "seconds": 0.4}) + "\n")


def _trace(entry: Entry, manifest: Mapping[str, Any], rng: random.Random) -> Trace:
    """Two looks and an answer that is right three times of five."""
    letter = entry.letter if rng.random() < 0.6 else rng.choice("ABCD")
    answer = f"{letter}. {entry.options['ABCD'.index(letter)]}"
    looks = [_look(rng) for _ in range(2)]
    made = {key: manifest[key] for key in ("checkpoint", "profile", "sampling", "versions", "seed", "crop_source")}
    return Trace(
        entry.question,
        entry.options,
        (TextStep(THOUGHT), looks[0], TextStep(THOUGHT[:120]), looks[1], TextStep(THOUGHT[:60]), AnswerStep(answer, letter)),
        Frame(448, 448, 1, "image"),
        "end_of_turn",
        source=Source(Path(entry.case).name, "png", "ab" * 32),
        provenance={**made, "engine": "LocalEngine", "window": "as displayed", "seconds": {"generate": round(rng.random(), 3)}},
        raw_text=f"<think>{THOUGHT}{looks[0].text}{THOUGHT[:120]}{looks[1].text}{THOUGHT[:60]}</think>{answer}<|im_end|>",
    )


def _look(rng: random.Random) -> LookStep:
    x, y, side = rng.randrange(300), rng.randrange(300), rng.randrange(28, 140)
    box = (x, y, x + side, y + side)
    crop = Crop(box, 0, np.zeros((1, 1), np.uint8), (1, 4, 4))
    text = f"<|box_start|>[{','.join(map(str, box))}]<|box_end|>"
    return LookStep(text, tuple(map(float, box)), tuple(map(float, box)), None, (0,), (crop,), executed=True, label="lesion")


def measure(command: Sequence[str], out: Path) -> dict[str, float]:
    """Seconds and greatest memory in GiB of a process.

    Raises:
        SystemExit: If it fails.
    """
    begun = time.perf_counter()
    with out.open("w") as stream:
        child = subprocess.Popen([sys.executable, *command], stdout=stream)
        _, code, used = os.wait4(child.pid, 0)
    if code:
        raise SystemExit(f"{' '.join(command)} failed")
    found = {"seconds": time.perf_counter() - begun, "processor_seconds": used.ru_utime + used.ru_stime}
    return {key: round(value, 1) for key, value in found.items()} | {"gigabytes": round(used.ru_maxrss * 1024 / GB, 3)}


def open_only(root: Path) -> None:
    """What `unireason eval run` does before it asks: open the suite, choose, and say what is asked of what."""
    suite, reasoner = open_suite("omnimedvqa", root), load("phantom", threads=1)
    begin(suite, reasoner)


def begin(suite: Suite, reasoner: Reasoner) -> tuple[list[Entry], dict[str, Any]]:
    """All questions of a suite, and the manifest of a run over them."""
    entries = choose(suite, None, 0)
    told = {"data": "suite", "split": "open-access", "suite_options": {}}
    return entries, {**make_manifest("run", reasoner, suite, entries, seed=0), **RunSettings(opened=told).manifest()}


def prepare(folder: Path, questions: int, runs: int) -> None:
    """The suite and the runs."""
    write_suite(folder / "suite", questions)
    entries, manifest = begin(open_suite("omnimedvqa", folder / "suite"), load("phantom", threads=1))
    plates = sorted((folder / "suite" / "plates").iterdir())
    for n in range(runs):
        own = [folder / f"plates-{n}" / plate.name for plate in plates]
        for plate, copy in zip(plates, own, strict=True):
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(plate.read_bytes())
        write_run(folder / f"run-{n}", manifest, entries, own, seed=n)


def steps(folder: Path, runs: int, out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What every step costs, and what it writes."""
    yield "open", measure(["-m", "benchmarks.long_suites", "--open", str(folder / "suite")], out)
    ask = ["-m", "unireason", "eval", "run", "--suite", "omnimedvqa", "--data", str(folder / "suite"), "--threads", "1", "--json"]
    one = folder / "run-0"
    found = measure([*ask, "--out", str(one)], out)
    yield "finish", {**found, "page_bytes": (one / "report.html").stat().st_size, "rows_bytes": (one / ROWS).stat().st_size}
    for n in range(1, runs):  # the table of a run is made from its rows; results are read for what was asked of what
        (folder / f"run-{n}" / RESULTS).write_bytes((one / RESULTS).read_bytes())
    folders = [str(folder / f"run-{n}") for n in range(runs)]
    page = folder / "compare.html"
    found = measure(["-m", "unireason", "eval", "compare", *folders, "--json", "--out", str(page)], out)
    yield "compare", {**found, "page_bytes": page.stat().st_size}


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--questions", metavar="N", type=int, default=80_000, help="questions of the suite")
    parser.add_argument("--runs", metavar="N", type=int, default=4, help="runs put side by side")
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, help="where to make suite and runs, and keep them; used again if there"
    )
    for name in ("--prepare", "--open"):  # a process of its own: a child's memory counts from that of its parent on
        parser.add_argument(name, metavar="DIR", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print nothing but the result")
    chosen = parser.parse_args(argv)
    if chosen.prepare or chosen.open:
        prepare(chosen.prepare, chosen.questions, chosen.runs) if chosen.prepare else open_only(chosen.open)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        if not (folder / "suite").exists():
            sizes = ["--questions", str(chosen.questions), "--runs", str(chosen.runs)]
            measure(["-m", "benchmarks.long_suites", "--prepare", str(folder), *sizes], Path(scratch) / "out")
        found = dict(steps(folder, chosen.runs, Path(scratch) / "out"))
    out = {"benchmark": "long_suites", "questions": chosen.questions, "runs": chosen.runs, "targets": TARGETS, "steps": found}
    ratios = {step: {key: round(found[step][key] / most, 2) for key, most in own.items()} for step, own in TARGETS.items()}
    print(json.dumps(out | {"ratios": ratios, "machine": describe("numpy", "torch")}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
