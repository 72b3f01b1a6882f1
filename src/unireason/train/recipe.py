"""The recipe of the built-in checkpoint: cohort, vision tower, option drill, joint 2D and 3D grounded SFT, all together.

Every step draws from a random generator made of (seed, stage, step), so that a run that was cut off continues from its last saved
state to the very weights of an uninterrupted one. It knows nothing of evaluation; the command line measures what comes out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unireason.data.primer.questions import LESION
from unireason.errors import FormatError
from unireason.grounding.prompts import Profile
from unireason.model import scratch
from unireason.model.checkpoint import assemble
from unireason.model.processor import make_processor
from unireason.model.save import save as save_checkpoint

from . import shared_prefix
from .cohort import VOLUME, views
from .collate import Coder, Pack
from .lessons import drill_pack, phrases, view_pack
from .objective import NumberSmoothing
from .packed import labelled_logits
from .runs import state
from .tower import TowerTrainer

MIN_PIXELS, MAX_PIXELS = 784, 12544
PROFILE = Profile(
    name="phantom",
    system_2d="You read a medical image.",
    system_3d="You read a medical scan.",
    slice_label="{index}",
    volume_shape=(VOLUME.depth, VOLUME.height, VOLUME.width),
    max_rounds=6,
    max_new_tokens=160,
    max_round_tokens_2d=80,
    max_round_tokens_3d=80,
    chat="chatml",
)
Modules = dict[str, torch.nn.Module]
Report = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All choices of one run; a TOML file sets any of them.

    Attributes:
        seed: Seed of weights, cohort and batches.
        patients: Training patients.
        rounds: Questions of each family drawn a volume.
        shape: Sizes of the network.
        tower_steps: Steps of dense-mask pre-training.
        tower_rate: Its peak learning rate.
        drill_steps: Steps of option drill.
        steps: Steps of grounded SFT.
        rate: Peak learning rate of drill and SFT.
        together_steps: Steps of the last stage, in which the tower learns along.
        together_rate: Its learning rate at the start, as a share of ``rate``.
        volumes: Volume packs a step.
        images: Image packs a step.
        volume_questions: Questions at most a volume pack.
        image_questions: Questions at most an image pack.
        drill_every: A drill pack is added every so many SFT steps.
        sigma: Width of the number smoothing in pixels.
        save_every: Steps between saved states.
    """

    seed: int = 0
    patients: int = 4000
    rounds: int = 2
    shape: scratch.Shape = field(default_factory=lambda: scratch.Shape(width=256, layers=6, heads=8, kv_heads=4, mlp=768))
    tower_steps: int = 2400
    tower_rate: float = 2e-3
    drill_steps: int = 150
    steps: int = 4000
    rate: float = 1e-3
    together_steps: int = 400
    together_rate: float = 0.3
    volumes: int = 3
    images: int = 6
    volume_questions: int = 8
    image_questions: int = 6
    drill_every: int = 3
    sigma: float = 0.8
    save_every: int = 100


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe from TOML; keys left out keep their defaults.

    Raises:
        FormatError: If the file cannot be read, is not TOML, or has an unknown key.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(f"the recipe {path.name} cannot be read: {error}", "a TOML file") from error
    known = {f.name for f in dataclasses.fields(Recipe)}
    unknown = sorted(set(table) - known)
    sizes = table.get("shape", {})
    unknown += sorted(f"shape.{k}" for k in set(sizes) - {f.name for f in dataclasses.fields(scratch.Shape)})
    if unknown:
        raise FormatError(f"unknown key in the recipe: {', '.join(unknown)}", f"some of: {', '.join(sorted(known))}")
    values = {k: v for k, v in table.items() if k != "shape"}
    return Recipe(**values, shape=dataclasses.replace(Recipe().shape, **sizes)) if sizes else Recipe(**values)


def _optimizers(network: Any, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings, norms and biases.

    In one run of the option drill each, letters were right in 98% after 100 steps, against 78% with AdamW alone.
    """
    named = [(n, p) for n, p in network.named_parameters() if not n.startswith("model.visual.")]
    matrices = [p for n, p in named if p.ndim == 2 and ".layers." in n]
    others = [p for n, p in named if not (p.ndim == 2 and ".layers." in n)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=2 * rate, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    for group in (g for o in optimizers for g in o.param_groups):
        group["peak"] = group["lr"]
    return optimizers


def _tower_optimizer(dense: TowerTrainer, rate: float) -> torch.optim.Optimizer:
    """AdamW for the tower and its dense head, in the last stage."""
    optimizer = torch.optim.AdamW([*dense.tower.parameters(), *dense.head.parameters()], lr=rate, betas=(0.9, 0.98))
    for group in optimizer.param_groups:
        group["peak"] = rate
    return optimizer


def _parameters(modules: Modules) -> dict[str, torch.nn.Parameter]:
    """All weights of named modules, by name."""
    return {f"{name}.{key}": parameter for name, module in modules.items() for key, parameter in module.named_parameters()}


def _advance(optimizers: list[torch.optim.Optimizer], parameters: list[torch.Tensor], share: float) -> None:
    """One clipped step of all optimisers at a share of their peak rates."""
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


class Run:
    """One run of the recipe in a folder.

    Args:
        recipe: What to do.
        folder: Keeps the resolved recipe, states, log and the finished checkpoint.
        report: Called after every step with stage, step, steps in all and measured values.

    Raises:
        FormatError: If the folder holds a run of another recipe.
    """

    def __init__(self, recipe: Recipe, folder: Path, report: Report) -> None:
        self.recipe, self.folder, self.report = recipe, folder, report
        folder.mkdir(parents=True, exist_ok=True)
        resolved = json.dumps(dataclasses.asdict(recipe), indent=2, sort_keys=True) + "\n"
        kept = folder / "recipe.json"
        if not kept.exists():
            kept.with_suffix(".partial").write_text(resolved)
            os.replace(kept.with_suffix(".partial"), kept)
        elif kept.read_text() != resolved:
            raise FormatError(f"{folder} holds a run of another recipe", "the same recipe, or an empty folder")
        self.settings = hashlib.sha256(resolved.encode()).hexdigest()
        self.cohort = list(views(recipe.seed, range(recipe.patients), rounds=recipe.rounds))
        self.volumes = [v for v in self.cohort if v.frame.kind == "volume" and v.scene.regions]
        self.images = [v for v in self.cohort if v.frame.kind == "image" and v.scene.regions]
        tokenizer = scratch.make_tokenizer(phrases(self.cohort[:600]))
        self.coder = Coder(tokenizer, PROFILE, MIN_PIXELS, MAX_PIXELS)
        self.network = scratch.make_network(recipe.shape, tokenizer, seed=recipe.seed)

    def log(self, stage: str, step: int, total: int, values: dict[str, float]) -> None:
        """Appends one line to ``log.jsonl`` and calls the reporter."""
        line = {"stage": stage, "step": step, "time": round(time.time(), 1), **{k: round(v, 4) for k, v in values.items()}}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.report(stage, step, total, values)

    def _save(self, stage: str, step: int, modules: Modules, optimizers: list[torch.optim.Optimizer]) -> None:
        progress = state.Progress(step, self.settings)
        state.save(self.folder / "state" / stage, progress, _parameters(modules), optimizers)

    def _restore(self, stage: str, modules: Modules, optimizers: list[torch.optim.Optimizer]) -> int:
        """Loads the newest state of a stage, if there is one, and returns the steps done; no optimisers take the weights alone."""
        path = state.latest(self.folder / "state" / stage)
        if path is None:
            return 0
        return state.restore(path, _parameters(modules), optimizers, settings=self.settings).step

    def tower(self) -> None:
        """Stage 1: dense-mask pre-training of the vision tower."""
        recipe = self.recipe
        trainer = TowerTrainer(
            self.network, self.volumes, self.images, seed=recipe.seed, steps=recipe.tower_steps, rate=recipe.tower_rate
        )
        modules = {"tower": trainer.tower, "head": trainer.head}
        for step in range(self._restore("tower", modules, [trainer.optimizer]) + 1, recipe.tower_steps + 1):
            trainer.rng = np.random.default_rng([recipe.seed, 1, step])
            shown = trainer.step(step)
            self.log("tower", step, recipe.tower_steps, shown)
            if step % recipe.save_every == 0 or step == recipe.tower_steps:
                self._save("tower", step, modules, [trainer.optimizer])
        # The last gradient must not leak into the stage in which the tower learns again.
        self.network.model.visual.requires_grad_(False).zero_grad(set_to_none=True)

    def _packs(self, step: int) -> Iterator[Pack]:
        """What one SFT step is made of."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, 2, step])
        if step <= recipe.drill_steps:
            yield from (drill_pack(self.coder, rng) for _ in range(4))
            return
        for group, count, most in (
            (self.volumes, recipe.volumes, recipe.volume_questions),
            (self.images, recipe.images, recipe.image_questions),
        ):
            for i in rng.integers(len(group), size=count):
                yield view_pack(self.coder, group[int(i)], rng, most=most)
        if step % recipe.drill_every == 0:
            yield drill_pack(self.coder, rng, rows=8)

    def _rate(self, step: int) -> float:
        """Share of the peak learning rate: short warm-ups of drill and SFT, then a cosine down to a twentieth."""
        recipe = self.recipe
        if step <= recipe.drill_steps:
            return min(1.0, step / 30)
        done = (step - recipe.drill_steps) / recipe.steps
        return min(1.0, done * recipe.steps / 100) * (0.05 + 0.475 * (1 + math.cos(math.pi * done)))

    def _sft(self, packs: list[Pack], objective: NumberSmoothing, *, learn_tower: bool = False) -> dict[str, float]:
        """Gradients of one SFT step, summed over its packs; returns the measured parts."""
        image_token = self.coder.token("<|image_pad|>")
        labels = sum(int(p.labels.sum()) for p in packs)
        loss, right = 0.0, 0
        for pack in packs:
            logits, targets, _ = labelled_logits(self.network, pack, image_token, learn_tower=learn_tower)
            part = objective(logits, targets).sum() / labels
            torch.autograd.backward(part)
            loss += part.item()
            right += int((logits.argmax(-1) == targets).sum())
        return {"loss": loss, "tokens_right": right / labels, "samples": sum(len(p.lengths) for p in packs)}

    def _objective(self) -> NumberSmoothing:
        numbers = scratch.number_ids(self.coder.tokenizer)
        return NumberSmoothing(numbers, self.network.config.text_config.vocab_size, sigma=self.recipe.sigma)

    def language(self) -> None:
        """Stages 2 and 3: option drill, then joint grounded SFT of the language model with the tower frozen."""
        recipe, network = self.recipe, self.network
        shared_prefix.register(network)
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizers, objective = _optimizers(network, recipe.rate), self._objective()
        modules = {"language": network.model.language_model, "head": network.lm_head}
        total = recipe.drill_steps + recipe.steps
        for step in range(self._restore("language", modules, optimizers) + 1, total + 1):
            shown = self._sft(list(self._packs(step)), objective)
            _advance(optimizers, parameters, self._rate(step))
            self.log("language", step, total, shown)
            if step % recipe.save_every == 0 or step == total:
                self._save("language", step, modules, optimizers)
        shared_prefix.unregister(network)

    def together(self) -> None:
        """Stage 4: SFT with the tower learning along, held to its masks by the dense head; lesions weigh more.

        Slices of volumes show a lesion in a handful of pixels. The tower alone does not find them well enough, and the questions tell
        it what to look for.
        """
        recipe, network = self.recipe, self.network
        shared_prefix.register(network)
        network.model.visual.requires_grad_(True)
        ill = [v for v in self.volumes if LESION in v.scene.regions]
        dense = TowerTrainer(network, ill, self.images, seed=recipe.seed, steps=1, lesion_weight=8.0)
        self._restore("tower", {"head": dense.head}, [])
        optimizers, objective = (
            [*_optimizers(network, recipe.rate), _tower_optimizer(dense, recipe.tower_rate)],
            self._objective(),
        )
        parameters = [p for o in optimizers for g in o.param_groups for p in g["params"]]
        modules = {"tower": dense.tower, "dense": dense.head, "language": network.model.language_model, "head": network.lm_head}
        for step in range(self._restore("together", modules, optimizers) + 1, recipe.together_steps + 1):
            shown = self._sft(list(self._packs(recipe.drill_steps + recipe.steps + step)), objective, learn_tower=True)
            dense.rng = np.random.default_rng([recipe.seed, 3, step])
            loss, parts = dense.losses(dense.pictures())
            torch.autograd.backward(loss)
            _advance(
                optimizers, parameters, recipe.together_rate * min(1.0, step / 20) * (1 - (step - 1) / recipe.together_steps)
            )
            self.log("together", step, recipe.together_steps, shown | parts)
            if step % recipe.save_every == 0 or step == recipe.together_steps:
                self._save("together", step, modules, optimizers)
        shared_prefix.unregister(network)

    def export(self) -> Path:
        """Writes the checkpoint folder (weights, tokenizer, image processor, profile) and returns it."""
        processor = make_processor({"min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS})
        return save_checkpoint(
            self.folder / "checkpoint", assemble(self.network, self.coder.tokenizer, processor, profile=PROFILE)
        )


def train(recipe: Recipe, folder: Path, report: Report) -> Path:
    """Runs all stages, continuing where an earlier call stopped.

    Args:
        recipe: What to do.
        folder: Run folder.
        report: Progress callback: stage, step, steps in all, measured values.

    Returns:
        The checkpoint folder.

    Raises:
        FormatError: If the folder holds a run of another recipe.
    """
    torch.set_num_threads(1)  # tiny tensors: a second thread costs more than it brings
    run = Run(recipe, folder, report)
    run.tower()
    run.language()
    run.together()
    return run.export()
