"""The lessons of the base model as a data set, about the patients of another one: mixed in, they keep what the base has learned.

A later stage that trains on new wordings alone forgets the old ones. The new data set has the cases of the given one, and the short
questions and answers of the base about them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from unireason.core.errors import FormatError
from unireason.core.store import json_text, sha256, write_bytes
from unireason.data.dataset import MANIFEST, ORIGIN, Dataset
from unireason.data.parquet import write_table
from unireason.data.records import SPLITS, CaseRecord, SampleRecord, sample_row
from unireason.data.sources.phantom import generate

from .questions import Balancer, draw_all, write
from .scene import image_scene, volume_scene

_ROWS = 4096
_ROUNDS = {"volume": 2, "image": 1}


def rehearse(dataset: Dataset, out: Path, *, seed: int = 0, progress: Callable[[int], None] | None = None) -> Dataset:
    """Write the lessons.

    Args:
        dataset: Phantom patients, built in the frame of the built-in checkpoint.
        out: Folder of the new data set.
        seed: Draws questions and wordings.
        progress: Called with the number of cases done.

    Returns:
        The new data set, opened.

    Raises:
        FormatError: If the data set does not hold phantoms.
    """
    if dataset.manifest.get("config", {}).get("source") != "phantom":
        raise FormatError("a data set of other images", "phantoms", "build one with: unireason data build phantom")
    stream = int(dataset.manifest["config"].get("options", {}).get("stream", 0))
    files: dict[str, str] = {}
    done = written = 0
    for split in SPLITS:
        for path in dataset.files("cases", split):
            target = out / "cases" / path.name
            write_bytes(target, path.read_bytes())
            files[f"cases/{path.name}"] = sha256(target)
        balance = {kind: Balancer() for kind in _ROUNDS}
        samples: list[SampleRecord] = []
        for record in dataset.cases(split):
            samples += _lessons(record, stream, seed, balance[record.scene.kind])
            done += 1
            if progress:
                progress(done)
        for number in range(0, len(samples), _ROWS):
            name = f"samples/{split}-{number // _ROWS:05d}.parquet"
            write_table(out / name, "samples", [sample_row(s) for s in samples[number : number + _ROWS]])
            files[name] = sha256(out / name)
        written += len(samples)
    return _finished(dataset, out, files, {"cases": done, "samples": written}, seed)


def _lessons(record: CaseRecord, stream: int, seed: int, balancer: Balancer) -> list[SampleRecord]:
    """Questions about one case in the base's words."""
    case, frame, kind = record.scene.case, record.scene.frame, record.scene.kind
    cohort, index = (int(n) for n in record.image.split("/"))
    patient = generate(cohort, index, stream=stream)
    scene = volume_scene(patient, frame) if kind == "volume" else image_scene(patient, record.slice, frame)
    rng = np.random.default_rng([seed, cohort, index, record.slice + 1])
    out = []
    for number, question in enumerate(draw_all(scene, rng, balancer, rounds=_ROUNDS[kind])):
        name = hashlib.sha256(f"{case} {number} {seed}".encode()).hexdigest()[:16]
        sample = write(question, scene)
        out.append(replace(sample, id=name, case=case, patient=patient.id, split=record.split, kind=kind))
    return out


def _finished(dataset: Dataset, out: Path, files: dict[str, str], counts: dict[str, int], seed: int) -> Dataset:
    content = hashlib.sha256(json_text(files, sort_keys=True).encode()).hexdigest()
    manifest = {
        **dataset.manifest,
        "title": "Lessons of the base model",
        "command": f"python -m recipes.phantom lessons DATA --seed {seed} --out DIR",
        "counts": counts,
        "files": files,
        "content_sha256": content,
        "of": dataset.manifest.get("content_sha256", ""),
    }
    origin = dataset.folder / ORIGIN
    if origin.exists():
        write_bytes(out / ORIGIN, origin.read_bytes())
    write_bytes(out / MANIFEST, (json_text(manifest, indent=2, sort_keys=True) + "\n").encode())
    return Dataset.open(out)
