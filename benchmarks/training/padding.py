"""How much of what is computed holds no token, in packed rows and in padded batches of whole sequences.

``phantom`` is a set of phantoms in the frame of the built-in checkpoint, a volume and an image each; ``published`` has volumes of
32 slices of 252 x 252, and pictures of 200 to 1,000 pixels a side. Packed rows are those of the trainers; their padding lies inside
attention alone. Padded batches of 8 hold each sample with pictures of its own, in random order, or grouped by length as is usual: sorted
inside 50 batches.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.engine import make_checkpoint
from benchmarks.training.process import Log
from benchmarks.training.sizes import SIZES
from unireason.data.build_store import BuildConfig
from unireason.data.frames import FrameRule, rule
from unireason.data.pipeline import build
from unireason.data.rationale.template import TemplateAnnotator
from unireason.data.sources.phantom import SLICE_NAMES, generate
from unireason.model.checkpoint import Checkpoint, load
from unireason.train.cases import Cases
from unireason.train.config import Data, Model, Run, Sft
from unireason.train.features import DiskCache
from unireason.train.packing import PrefixTree, pack
from unireason.train.policy import Encoder
from unireason.train.sampler import BatchPlan, bins

TARGET = 0.10
BATCH, SORTED = 8, 50


def make_pictures(folder: Path, patients: int) -> Path:
    """A slice of each phantom with its labels, as pictures of many sizes."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for patient in range(patients):
        made = generate(5, patient)
        k = int(np.argmax([len(np.unique(plane)) for plane in made.labels]))
        width, height = (int(n) for n in random.integers(200, 1000, 2))
        grey = np.clip((made.voxels[k].astype(np.float32) + 160) / 400 * 255, 0, 255).astype(np.uint8)
        Image.fromarray(grey).resize((width, height)).save(folder / "images" / f"p{patient}.png")
        Image.fromarray(made.labels[k]).resize((width, height), Image.Resampling.NEAREST).save(
            folder / "masks" / f"p{patient}.png"
        )
    (folder / "labels.json").write_text(json.dumps({"0": "background"} | {str(v): name for v, name in SLICE_NAMES.items()}))
    return folder


def built(folder: Path, frame: FrameRule, source: str, root: Path | None, options: dict[str, str], slices: int) -> str:
    """A data set, all of it for training."""
    config = BuildConfig(source, root, options, frame=frame, slices=slices, shares=(1.0, 0.0, 0.0))
    build(config, folder, annotator=TemplateAnnotator())
    return str(folder)


def trees(checkpoint: Checkpoint, frame: FrameRule, folders: Sequence[str], settings: Sft) -> Iterator[list[list[PrefixTree]]]:
    """The trees of every unit of every step of an epoch; pictures are blank, only sizes matter."""
    cases, encoder = Cases(Data(tuple(folders)), frame, DiskCache(None, 0)), Encoder.of(checkpoint)
    plan = BatchPlan(
        cases.cases("train"), samples=settings.batch_size, together=settings.max_questions_per_case, run=Run(epochs=1.0)
    )
    for number in range(plan.steps):
        units = []
        for unit in plan.step(number):
            case, samples = cases.asked(unit)
            blank = np.broadcast_to(np.uint8(0), (case.frame.height, case.frame.width))
            units.append(encoder.trees(samples, case.frame, [blank] * case.frame.depth))
        yield units


def shares(steps: Sequence[list[list[PrefixTree]]], limit: int) -> dict[str, Any]:
    """Padding of packed rows and of padded batches."""
    tokens = slots = rows = 0
    for units in steps:
        for row in bins([sum(t.length for t in unit) for unit in units], limit):
            layout = pack([tree for i in row for tree in units[i]]).layout
            tokens, slots, rows = tokens + layout.length, slots + layout.slots, rows + 1
    whole = [len(t.prefix.ids) + len(r.ids) for units in steps for unit in units for t in unit for r in t.rows]
    order = np.random.default_rng(0).permutation(whole)
    chunks = [order[i : i + BATCH * SORTED] for i in range(0, len(order), BATCH * SORTED)]
    grouped = np.concatenate([np.sort(chunk)[::-1] for chunk in chunks])
    return {
        "padding": {
            "packed rows": round(1 - tokens / slots, 4),
            "batches grouped by length": round(_padding(grouped), 4),
            "batches in random order": round(_padding(order), 4),
        },
        "samples": len(whole),
        "tokens": {"packed rows": tokens, "whole sequences": int(order.sum())},
        "rows": rows,
        "shortest_and_longest": [int(order.min()), int(order.max())],
    }


def _padding(lengths: Any) -> float:
    batches = [lengths[i : i + BATCH] for i in range(0, len(lengths), BATCH)]
    return float(1 - lengths.sum() / sum(len(batch) * batch.max() for batch in batches))


def measure(*, quick: bool, runs: int, log: Log) -> dict[str, Any]:
    """Both sets; counted, not timed, so that one run is enough."""
    del runs
    patients, settings, out = 8 if quick else 120, Sft(Model("phantom"), Data(())), {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        count = {"patients": str(patients)}
        phantom = rule("phantom")
        sets = {
            "phantom": (load("phantom", device="cpu"), phantom, [built(folder / "phantom", phantom, "phantom", None, count, 1)])
        }
        published = rule("published")
        pictures = make_pictures(folder / "pictures", patients)
        sets["published"] = (
            make_checkpoint(SIZES["tiny"]),
            published,
            [
                built(folder / "volumes", published, "phantom", None, count, 0),
                built(folder / "images", published, "pair", pictures, {}, 0),
            ],
        )
        for name, (checkpoint, frame, folders) in sets.items():
            out[name] = shares(list(trees(checkpoint, frame, folders, settings)), settings.run.max_tokens_per_microbatch)
            log(f"padding, {name}: {out[name]}")
    return {
        "targets": {"packed rows": TARGET},
        "samples_a_step": settings.batch_size,
        "tokens_a_row": settings.run.max_tokens_per_microbatch,
        **out,
    }
