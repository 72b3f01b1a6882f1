"""What training waits for: pictures of cases from source, disk and memory, and features from the tower, disk and memory.

    python -m benchmarks.feeding [--quick] --json

Processor seconds of one thread on phantoms and the built-in checkpoint. Each part runs after the other over the same units, those of one
epoch of supervised fine-tuning; forward and backward pass of that epoch stand beside it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.machine import describe
from unireason.data.build_store import BuildConfig
from unireason.data.frames import rule
from unireason.data.pipeline import build
from unireason.data.rationale.template import TemplateAnnotator
from unireason.model import vision
from unireason.model.checkpoint import Checkpoint, load
from unireason.train.cases import Cases
from unireason.train.config import Data
from unireason.train.features import DiskCache, Features
from unireason.train.packing import PrefixTree, pack, packed_attention, use_packed_attention
from unireason.train.policy import Encoder, Policy
from unireason.train.sampler import BatchPlan, bins

OFF = DiskCache(None, 0)
AT_ONCE, TOKENS = 48, 8192  # lists of pictures asked for together; tokens of a packed row


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def made(folder: Path, patients: int, *, embed: bool) -> Path:
    """A data set of phantoms: a volume and one slice of each patient."""
    options = {"patients": str(patients), "seed": "3"}
    config = BuildConfig("phantom", options=options, frame=rule("phantom"), seed=3, slices=1, embed=embed)
    build(config, folder, annotator=TemplateAnnotator())
    return folder


def reading(plain: Path, embedded: Path, cache: Path) -> dict[str, float]:
    """Milliseconds a case, pictures of all training cases in turn."""

    def all_of(folder: Path, disk: DiskCache, memory: int = 0) -> Callable[[], float]:
        cases = Cases(Data((str(folder),)), rule("phantom"), disk, memory_bytes=memory)
        listed = cases.cases("train")
        return lambda: 1000 * seconds(lambda: [cases.pictures(case) for case in listed]) / len(listed)

    disk = DiskCache(cache, 1 << 30)
    recent = all_of(plain, disk, 1 << 30)
    found = {"source, kept on disk on the way": recent(), "memory": recent(), "disk": all_of(plain, disk)()}
    stored = all_of(embedded, OFF)
    stored()  # the index of the rows is built once
    return found | {"embedded": stored()}


def looking(checkpoint: Checkpoint, trees: list[PrefixTree], cache: Path) -> dict[str, float]:
    """Seconds for the features of all pictures of an epoch."""
    lists = [run.pictures for tree in trees for run in (tree.prefix, *tree.rows) if run.pictures]

    def through(features: Features) -> float:
        return seconds(lambda: [features.of_many(lists[i : i + AT_ONCE]) for i in range(0, len(lists), AT_ONCE)])

    disk = DiskCache(cache, 1 << 30)
    recent = Features(checkpoint, disk)
    return {
        "pictures": float(sum(map(len, lists))),
        "list by list, image processor and tower": seconds(
            lambda: [vision.encode(checkpoint, vision.prepare(checkpoint, some)) for some in lists]
        ),
        "together, tower": through(Features(checkpoint, OFF, memory_bytes=0)),
        "together, tower, kept on the way": through(recent),
        "disk": through(Features(checkpoint, disk, memory_bytes=0)),
        "memory": through(recent),
    }


def learning(checkpoint: Checkpoint, trees: list[PrefixTree], cache: Path) -> float:
    """Seconds of forward and backward passes over an epoch, features from memory."""
    features = Features(checkpoint, DiskCache(cache, 1 << 30))
    policy = Policy(checkpoint.network, autocast=True)
    use_packed_attention(checkpoint.network)
    packs = [pack([trees[i] for i in row]) for row in bins([t.length for t in trees], TOKENS)]
    seen = [torch.cat([f for some in features.of_many(p.pictures) for f in some]) for p in packs]

    def head(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, targets, reduction="none")

    def passes() -> None:
        for packed, visual in zip(packs, seen, strict=True):
            torch.autograd.backward(policy(packed, visual, head).mean())

    with packed_attention(checkpoint.network):
        return seconds(passes)


def measure(patients: int) -> dict[str, dict[str, float]]:
    """All parts."""
    torch.set_num_threads(1)
    checkpoint = load("phantom", device="cpu")
    checkpoint.network.model.visual.requires_grad_(False)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plain, embedded = made(folder / "plain", patients, embed=False), made(folder / "embedded", patients, embed=True)
        found = {"milliseconds a case": reading(plain, embedded, folder / "pictures")}
        cases = Cases(Data((str(plain),)), rule("phantom"), DiskCache(folder / "pictures", 1 << 30))
        plan, encoder = BatchPlan(cases.cases("train"), samples=32, together=4), Encoder.of(checkpoint)
        asked = [cases.asked(unit) for n in range(plan.steps) for unit in plan.step(n)]
        trees = [tree for case, samples in asked for tree in encoder.trees(samples, case.frame, cases.pictures(case))]
        look = looking(checkpoint, trees, folder / "features")
        look["forward and backward pass"] = learning(checkpoint, trees, folder / "features")
    return found | {"seconds an epoch": look}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    patients = 12 if parser.parse_args().quick else 60
    found = measure(patients)
    look = found["seconds an epoch"]
    passes = look["forward and backward pass"]
    ratios = {
        "features, tower : disk": look["together, tower"] / look["disk"],
        "features, tower : memory": look["together, tower"] / look["memory"],
        "features, list by list : together": look["list by list, image processor and tower"] / look["together, tower"],
        "epoch without cache : with disk cache": (passes + look["together, tower"]) / (passes + look["disk"]),
    }
    result = {
        "patients": patients,
        **{name: {k: round(v, 3) for k, v in table.items()} for name, table in found.items()},
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
        "machine": describe("unireason", "torch", "transformers"),
        "command": "python -m benchmarks.feeding --json",
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
