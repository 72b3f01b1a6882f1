"""Fine-tuning with visual features of a frozen tower kept, against the tower run each time.

The same steps three times, each in a fresh process: without a cache, with an empty one (a first epoch), and with a full one on disk (a
later epoch, or a run on data that another run has seen). ``phantom`` is the built-in checkpoint on phantoms in its own frame, volumes and
images; ``volumes`` is a random network on volumes of 32 slices of 252 x 252, whose tower has the same share of the operations as that of
Qwen2.5-VL-3B: 4 x its weights a visual token against 3 x those of the language model (forward and backward pass).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine import Size, make_checkpoint
from benchmarks.training.process import Log, child
from benchmarks.training.sizes import SIZES
from unireason.data.build_store import BuildConfig
from unireason.data.frames import rule
from unireason.data.pipeline import build
from unireason.data.rationale.template import TemplateAnnotator
from unireason.model.save import save
from unireason.train.config import Cache, Data, Model, Run, Sft
from unireason.train.context import TrainContext
from unireason.train.log import TrainWatcher
from unireason.train.sampler import BatchPlan
from unireason.train.sft import loss_head, train_step

TURNS = ("off", "cold", "warm")
_SHARED = {"depth": 6, "hidden_size": 192, "intermediate_size": 512, "num_heads": 4, "fullatt_block_indexes": [2, 5]}


@dataclass(frozen=True, slots=True)
class Case:
    """What is trained on what.

    Attributes:
        size: Sizes of a random network; None for the built-in checkpoint.
        patients: Phantoms of the data set.
        slices: Images of each.
        samples: Samples a step.
    """

    size: Size | None
    patients: int
    slices: int
    samples: int


CASES = {
    "phantom": Case(None, patients=24, slices=1, samples=32),
    "volumes": Case(Size(_SHARED, SIZES["small"].text, depth=32, side=256, free=0), patients=6, slices=0, samples=4),
    "tiny": Case(None, patients=4, slices=1, samples=8),
}


def make(folder: Path, case: Case) -> None:
    """The data set with its pictures inside, and the checkpoint if it is a random one."""
    frame = rule("phantom")
    if case.size:
        save(folder / "start", make_checkpoint(case.size), dtype="fp32")
        frame = rule(str(folder / "start"))
    options = {"patients": str(case.patients)}
    config = BuildConfig("phantom", options=options, frame=frame, slices=case.slices, shares=(1.0, 0.0, 0.0), embed=True)
    build(config, folder / "data", annotator=TemplateAnnotator())


def train(folder: Path, case: Case, turn: str) -> dict[str, Any]:
    """The steps of an epoch."""
    start = str(folder / "start") if case.size else "phantom"
    chosen = Sft(
        model=Model(start, precision="fp32"),
        data=Data((str(folder / "data"),)),
        run=Run(threads=1, eval_samples=0, device="cpu"),
        cache=Cache("off" if turn == "off" else str(folder / "cache")),
        batch_size=case.samples,
    )
    with tempfile.TemporaryDirectory() as place:
        context = TrainContext(chosen, Path(place), TrainWatcher())
        plan = BatchPlan(context.training, samples=chosen.batch_size, together=chosen.max_questions_per_case, run=chosen.run)
        head, total = loss_head(context, 0.0), plan.steps
        if turn == "off":
            context.features = None
        begun = time.process_time()
        with context.training_mode():
            values = [train_step(context, plan.step(step - 1), head, step, total) for step in range(1, total + 1)]
        seconds = time.process_time() - begun
    network = context.checkpoint.network
    tower = sum(p.numel() for p in network.model.visual.parameters())
    found = context.features
    return {
        "seconds": seconds,
        "steps": len(values),
        "tokens": sum(v["tokens"] for v in values),
        "loss": values[-1]["loss"],
        "lists_of_pictures": {"found": found.hits, "computed": found.misses} if found else {},
        "parameters": {"tower": tower, "language": sum(p.numel() for p in network.parameters()) - tower},
    }


def measure(*, quick: bool, runs: int, log: Log) -> dict[str, Any]:
    """Both cases."""
    return {name: compare(name, runs=runs, log=log) for name in (["tiny"] if quick else ["phantom", "volumes"])}


def compare(name: str, *, runs: int, log: Log) -> dict[str, Any]:
    """One case; the turns follow each other, the cache is new in each round."""
    found: dict[str, list[dict[str, Any]]] = {turn: [] for turn in TURNS}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as place:
            child("features", "make", place, name)
            for turn in TURNS:
                found[turn].append(child("features", turn, place, name))
                log(f"features, {name}, {turn}: {found[turn][-1]['seconds']:.1f} s")
    seconds = {turn: round(statistics.median(r["seconds"] for r in results), 2) for turn, results in found.items()}
    return {
        "ratios": {f"off : {turn}": round(seconds["off"] / seconds[turn], 2) for turn in ("cold", "warm")},
        "seconds": seconds,
        "loss": {turn: results[0]["loss"] for turn, results in found.items()},
        "lists_of_pictures": {turn: found[turn][0]["lists_of_pictures"] for turn in ("cold", "warm")},
        **{key: found["off"][0][key] for key in ("steps", "tokens", "parameters")},
    }


def main() -> None:
    """One turn in this process; prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("make", *TURNS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("case", choices=list(CASES))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    case = CASES[chosen.case]
    if chosen.what == "make":
        make(chosen.folder, case)
        print("{}")
    else:
        print(json.dumps(train(chosen.folder, case, chosen.what)))


if __name__ == "__main__":
    main()
