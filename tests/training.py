"""What tests of training start from: a small checkpoint folder, a small data set of phantoms, and run settings that fit both.

A session builds them once (fixtures ``start`` and ``phantoms`` in conftest.py); runs write into folders of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import datasets
from unireason.data.dataset import Dataset
from unireason.data.frames import rule
from unireason.grounding.prompts import load_profile
from unireason.model import files
from unireason.model.checkpoint import assemble
from unireason.model.processor import make_processor
from unireason.model.save import save
from unireason.model.scratch import Shape, make_network, make_tokenizer
from unireason.model.vocabulary import frequent_phrases
from unireason.train.feed.cases import Cases, CaseSamples
from unireason.train.feed.disk import DiskCache
from unireason.train.settings.grpo import Grpo, Policy, Rollout
from unireason.train.settings.sft import Sft
from unireason.train.settings.shared import Data, Lora, Model, Optim, Run

SHAPE = Shape(width=64, layers=2, heads=4, kv_heads=2, mlp=128, vision_width=32, vision_layers=1, vision_heads=2)


def make_phantoms(folder: Path) -> Dataset:
    """Eight volumes and an axial image of each, in the frame of the built-in checkpoint."""
    return datasets.built(folder, patients=8, frame=rule("phantom"))


def make_start(folder: Path, dataset: Dataset) -> Path:
    """A random network with the tokenizer, profile and pixel limits that suit a data set of phantoms, as a checkpoint folder."""
    samples = list(dataset.samples())
    texts = [t for s in samples for t in (s.question.text, *s.question.options, s.response)]
    tokenizer = make_tokenizer(frequent_phrases(texts, 200, names={o for s in samples for o in s.question.options}, least=3))
    frame = rule("phantom")
    processor = make_processor({"min_pixels": frame.min_pixels, "max_pixels": frame.max_pixels})
    network = make_network(SHAPE, tokenizer, seed=0)
    made = assemble(network, tokenizer, processor, profile=load_profile(files.locate("phantom")), name="tiny")
    return save(folder, made, dtype="fp32")


def sft(start: Path, dataset: Dataset, **tables: Mapping[str, Any]) -> Sft:
    """Settings of a short fine-tuning in float32 on one core; tables change fields of theirs, plain values fields of the run."""
    base = Sft(
        model=Model(start=str(start), precision="fp32"),
        data=Data(folders=(str(dataset.folder),)),
        optim=Optim(rate=3e-3, warmup=0.0),
        run=Run(steps=4, save_every=2, eval_samples=4, tokens=4096, threads=1, device="cpu"),
        samples=4,
    )
    return changed(base, tables)


def grpo(start: Path, dataset: Dataset, **tables: Mapping[str, Any]) -> Grpo:
    """Settings of a short optimisation in float32 on one core; see :func:`sft`."""
    base = Grpo(
        model=Model(start=str(start), precision="fp32"),
        data=Data(folders=(str(dataset.folder),)),
        optim=Optim(rate=1e-3, warmup=0.0, schedule="constant"),
        run=Run(steps=2, save_every=1, eval_samples=2, tokens=4096, threads=1, device="cpu"),
        rollout=Rollout(prompts=2, samples=4, max_new_tokens=24, rows=8),
        policy=Policy(),
        traces_every=0,
    )
    return changed(base, tables)


def changed(settings: Any, tables: Mapping[str, Any]) -> Any:
    """Settings with other values: a mapping changes fields of the table of that name."""
    values = {
        name: changed(getattr(settings, name), value) if isinstance(value, Mapping) else value for name, value in tables.items()
    }
    return replace(settings, **values)


LORA = Lora(rank=4, alpha=8.0)


def shown(start: Path, dataset: Dataset, split: str = "train") -> list[tuple[CaseSamples, list[NDArray[np.uint8]]]]:
    """The cases of a split with their pictures, in the order of the data set."""
    cases = Cases(Data(folders=(str(dataset.folder),)), rule(str(start)), DiskCache(None, 0))
    return [(case, cases.pictures(case)) for case in cases.cases(split)]
