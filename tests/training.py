"""What tests of training start from: a small checkpoint folder, a small data set of phantoms, and run settings that fit both.

A session builds them once (fixtures ``start`` and ``phantoms`` in conftest.py); runs write into folders of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import datasets
from recipes.phantom.network import NetworkShape, make_network, make_tokenizer
from unireason.core.types import Look
from unireason.data.dataset import Dataset
from unireason.data.frames import rule
from unireason.data.records import SampleRecord
from unireason.grounding.profile import load_profile
from unireason.model import files
from unireason.model.checkpoint import assemble
from unireason.model.files import make_processor
from unireason.model.save import save
from unireason.model.vocabulary import frequent_phrases
from unireason.train import grpo as grpo_loop
from unireason.train.cases import Cases, CaseSamples
from unireason.train.config import Data, Grpo, Lora, Model, Optim, PolicySettings, Rollout, Run, Sft
from unireason.train.context import TrainContext
from unireason.train.features import DiskCache
from unireason.train.groups import Batch, RolloutGroup, pack_groups
from unireason.train.log import TrainWatcher, read
from unireason.train.rollout import Outliner
from unireason.train.sft import train

SHAPE = NetworkShape(width=64, layers=2, heads=4, kv_heads=2, mlp=128, vision_width=32, vision_layers=1, vision_heads=2)


def make_phantoms(folder: Path) -> Dataset:
    """Eight volumes and an axial image of each, in the frame of the built-in checkpoint."""
    return datasets.built(folder, patients=8, frame=rule("phantom"))


def make_start(folder: Path, dataset: Dataset, *, phrases: int = 200) -> Path:
    """A random network with the tokenizer, profile and pixel limits that suit a data set of phantoms, as a checkpoint folder."""
    samples = list(dataset.samples())
    texts = [t for s in samples for t in (s.question.text, *s.question.options, s.response)]
    tokenizer = make_tokenizer(frequent_phrases(texts, phrases, names={o for s in samples for o in s.question.options}, least=3))
    frame = rule("phantom")
    processor = make_processor({"min_pixels": frame.min_pixels, "max_pixels": frame.max_pixels})
    network = make_network(SHAPE, tokenizer, seed=0)
    made = assemble(network, tokenizer, processor, profile=load_profile(files.locate("phantom")), name="tiny")
    return save(folder, made, dtype="fp32")


def sft(start: Path, dataset: Dataset, **tables: Mapping[str, Any]) -> Sft:
    """Settings of a short fine-tuning in float32 on one core; tables change fields of theirs, plain values fields of the run."""
    base = Sft(
        model=Model(init_from=str(start), precision="fp32"),
        data=Data(folders=(str(dataset.folder),)),
        optim=Optim(lr=3e-3, warmup=0.0),
        run=Run(steps=4, save_every=2, eval_samples=4, max_tokens_per_microbatch=4096, threads=1, device="cpu"),
        batch_size=4,
    )
    return changed(base, tables)


def grpo(start: Path, dataset: Dataset, **tables: Mapping[str, Any]) -> Grpo:
    """Settings of a short optimisation in float32 on one core; see :func:`sft`."""
    base = Grpo(
        model=Model(init_from=str(start), precision="fp32"),
        data=Data(folders=(str(dataset.folder),)),
        optim=Optim(lr=1e-3, warmup=0.0, schedule="constant"),
        run=Run(steps=2, save_every=1, eval_samples=2, max_tokens_per_microbatch=4096, threads=1, device="cpu"),
        rollout=Rollout(prompts_per_step=2, num_generations=4, max_new_tokens=24, rollout_batch_size=8),
        policy=PolicySettings(),
        traces_every=0,
    )
    return changed(base, tables)


def changed(settings: Any, tables: Mapping[str, Any]) -> Any:
    """Settings with other values: a mapping changes fields of the table of that name."""
    values = {
        name: changed(getattr(settings, name), value) if isinstance(value, Mapping) else value for name, value in tables.items()
    }
    return replace(settings, **values)


class GrpoPhases:
    """A policy optimisation that is ready for its first step, to be taken phase by phase."""

    def __init__(self, settings: Grpo, folder: Path) -> None:
        self.settings, self.context = settings, TrainContext(settings, folder, TrainWatcher())
        self.plan = grpo_loop.batch_plan(self.context, settings)
        self.outliner = Outliner(self.context.cases, settings.mask_expert) if settings.reward.mask else None
        self.head = grpo_loop.log_prob_head(self.context, settings.rollout.temperature)

    def rollouts(self, number: int = 1) -> list[RolloutGroup]:
        """The groups of a step, not yet scored."""
        return grpo_loop.sample_groups(self.context, self.settings, self.plan.step(number - 1), number)

    def score(self, groups: list[RolloutGroup], number: int = 1) -> list[RolloutGroup]:
        """Fill in scores; returns the groups that are left."""
        return grpo_loop.score_groups(self.context, self.settings, groups, number, self.outliner)

    def batches(self, groups: list[RolloutGroup]) -> list[Batch]:
        """The groups as one mini-batch."""
        return pack_groups(self.context, self.settings, groups)

    def update(self, groups: list[RolloutGroup], number: int = 1) -> dict[str, float]:
        """Step the policy on the groups."""
        with self.context.training_mode():
            return grpo_loop.update(self.context, self.settings, groups, number, 10)


LORA = Lora(rank=4, alpha=8.0)


def opened(start: Path, dataset: Dataset, **settings: Any) -> Cases:
    """The cases of a data set without a cache."""
    return Cases(Data(folders=(str(dataset.folder),), **settings), rule(str(start)), DiskCache(None, 0))


def shown(start: Path, dataset: Dataset, split: str = "train") -> list[tuple[CaseSamples, list[NDArray[np.uint8]]]]:
    """The cases of a split with their pictures, in the order of the data set."""
    cases = opened(start, dataset)
    return [(case, cases.pictures(case)) for case in cases.cases(split)]


def make_lessons(folder: Path, dataset: Dataset, *, count: int = 20, undecided: bool = False) -> Dataset:
    """A copy with so many short training samples, half of them on images: one look, then the answer. Validation has two of each.

    Undecided lessons teach the form and not the answer: of every question one sample is right and one is wrong.
    """
    shutil.copytree(dataset.folder, folder)
    kept = []
    for split, most in (("train", count // 2), ("validation", 2)):
        for kind in ("image", "volume"):
            fitting = [s for s in dataset.samples(split) if s.kind == kind and s.task == "vqa"]
            fitting.sort(key=lambda s: len(s.question.options))
            pairs = [s for s in fitting if len(s.question.options) == 2]
            fitting = pairs[:: len(pairs) // most] if len(pairs) > most else fitting
            kept += [replace(s, reasoning=_shortened(s)) for s in fitting[:most]]
    if undecided:
        kept += [
            replace(s, id=f"{s.id}-wrong", question=replace(s.question, answer=(s.question.answer + 1) % len(s.question.options)))
            for s in kept
            if s.split == "train"
        ]
    cases = {s.case for s in kept}
    return datasets.rewritten(Dataset.open(folder), [c for c in dataset.cases() if c.scene.case in cases], kept)


def _shortened(sample: SampleRecord) -> tuple[str | Look, ...]:
    look = next(part for part in sample.reasoning if not isinstance(part, str))
    return ("Look at", look, ".")


def log_of(run: Path) -> list[dict[str, Any]]:
    """The log of a run without what differs from run to run: moments and durations."""
    return [{k: v for k, v in line.items() if k != "time" and not k.startswith("seconds_")} for line in read(run)]


def warmed_up(folder: Path, start: Path, dataset: Dataset) -> Path:
    """The start after it has learned the form of four short lessons by heart, and that both options of each may be right."""
    undecided = make_lessons(folder / "data", dataset, count=4, undecided=True)
    settings = sft(
        start,
        undecided,
        optim={"lr": 1e-2, "optimizer": "muon", "min_lr_ratio": 0.1},
        run={"steps": 60, "save_every": 100, "eval_samples": 0},
        batch_size=8,
    )
    return train(settings, folder / "run")
