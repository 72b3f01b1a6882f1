"""The making of the base model: cohort, vision tower, option drill, joint 2D and 3D grounded SFT, all together.

Every step draws from a random generator made of (seed, stage, step), so that a run that was cut off continues from its last saved
state to the very weights of an uninterrupted one. It knows nothing of evaluation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from unireason.core.config import resolved
from unireason.core.errors import FormatError, Interrupted, postponed
from unireason.core.store import json_text, write_bytes
from unireason.model import vision
from unireason.model.checkpoint import assemble
from unireason.model.files import PHANTOM_SCOPE, make_processor
from unireason.model.save import save
from unireason.model.vocabulary import number_ids
from unireason.train import optim, run_state
from unireason.train.config import Optim
from unireason.train.features import DiskCache, Features
from unireason.train.log import MetricsLog, TrainWatcher
from unireason.train.loss import NumberSmoothing
from unireason.train.packing import Pack, PrefixTree, pack, packed_attention
from unireason.train.policy import Encoder, Patches, Policy
from unireason.train.run_folder import RUN, STATES, STOPPING

from .cohort import View, views
from .lessons import drill_tree, phrases, view_tree
from .network import make_network, make_tokenizer
from .questions import LESION
from .recipe import MAX_PIXELS, MIN_PIXELS, PROFILE, Base
from .tower import TowerTrainer

_READ = 600  # views whose words make the vocabulary
_DRILL_WARM, _WARM, _TOGETHER_WARM = 30, 100, 20  # steps in which the rate rises
_FLOOR = 0.05  # last rate of SFT as a share of the peak

Parameters = dict[str, nn.Parameter]
Optimizers = list[torch.optim.Optimizer]


def train(settings: Base, out: Path, watch: TrainWatcher) -> Path:
    """Run all stages, continuing where an earlier call stopped.

    Args:
        settings: What to do.
        out: Run folder: settings, states, log and the finished checkpoint.
        watch: Who is told.

    Returns:
        The checkpoint folder.

    Raises:
        FormatError: If the folder holds a run of other settings.
        UniReasonError: If it cannot be read or written, or a gradient is not finite.
    """
    torch.set_num_threads(1)  # tiny tensors: a second thread costs more than it brings
    making = Making(settings, out, watch)
    making.tower()
    making.language()
    making.together()
    return making.finish()


class Making:
    """One run in its folder; its stages are called in order."""

    def __init__(self, settings: Base, out: Path, watch: TrainWatcher) -> None:
        """Make the cohort and an untrained network."""
        self.settings, self.out, self.watch = settings, out, watch
        self._hash = _begin(settings, out)
        cohort = list(views(settings.seed, range(settings.patients), rounds=settings.rounds))
        self._volumes = [v for v in cohort if v.frame.kind == "volume" and v.scene.regions]
        self._images = [v for v in cohort if v.frame.kind == "image" and v.scene.regions]
        tokenizer = make_tokenizer(phrases(cohort[:_READ]))
        network = make_network(settings.shape, tokenizer, seed=settings.seed)
        processor = make_processor({"min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS})
        self.checkpoint = assemble(network, tokenizer, processor, profile=PROFILE, scope=PHANTOM_SCOPE)
        self._policy, self._encoder = Policy(network, autocast=True), Encoder.of(self.checkpoint)
        numbers = number_ids(tokenizer)
        self._smoothing = NumberSmoothing(numbers, network.config.text_config.vocab_size, sigma=settings.sigma)

    def tower(self) -> None:
        """Stage 1: dense-mask pre-training of the vision tower, which is frozen then."""
        settings, network = self.settings, self.checkpoint.network
        dense = TowerTrainer(network, self._volumes, self._images, seed=settings.seed, rate=settings.tower_rate)
        total = settings.tower_steps

        def step(number: int) -> dict[str, float]:
            return dense.step(number, total, np.random.default_rng([settings.seed, 1, number]))

        self._go("tower", total, step, dense.parameters, dense.optimizers)
        # The last gradient must not leak into the stage in which the tower learns again.
        network.model.visual.requires_grad_(False).zero_grad(set_to_none=True)

    def language(self) -> None:
        """Stages 2 and 3: option drill, then joint grounded SFT of the language model with the tower frozen."""
        settings, parameters = self.settings, self._language()
        optimizers = optim.make_optimizers(parameters, self._optim())
        # The tower computes in bfloat16, so that keeping its features so loses nothing.
        features = Features(self.checkpoint, DiskCache(None, 1), precision="bf16")

        def look(packed: Pack) -> torch.Tensor:
            return torch.cat([f for pictures in features.of_many(packed.pictures) for f in pictures])

        def step(number: int) -> dict[str, float]:
            shown = self._gradients(list(self._trees(number)), look)
            optim.advance(optimizers, rate=self._rate(number), clip=1.0)
            return shown

        with packed_attention(self.checkpoint.network):
            self._go("language", settings.drill_steps + settings.steps, step, parameters, optimizers)

    def together(self) -> None:
        """Stage 4: SFT with the tower learning along, held to its masks by the dense head; lesions weigh more."""
        settings, network, total = self.settings, self.checkpoint.network, self.settings.together_steps
        network.model.visual.requires_grad_(True)
        ill = [v for v in self._volumes if LESION in v.scene.regions]
        dense = TowerTrainer(network, ill, self._images, seed=settings.seed, rate=settings.tower_rate, lesion_weight=8.0)
        self._restore("tower", dense.parameters, [])
        parameters = self._language()
        optimizers = [*optim.make_optimizers(parameters, self._optim()), *dense.optimizers]

        def step(number: int) -> dict[str, float]:
            shown = self._gradients(list(self._trees(settings.drill_steps + settings.steps + number)), _patches)
            loss, parts = dense.losses(dense.pictures(np.random.default_rng([settings.seed, 3, number])))
            torch.autograd.backward(loss)
            rate = settings.together_rate * min(1.0, number / _TOGETHER_WARM) * (1 - (number - 1) / total)
            optim.advance(optimizers, rate=rate, clip=1.0)
            return shown | parts

        with packed_attention(network):
            self._go("together", total, step, parameters | dense.parameters, optimizers)

    def finish(self) -> Path:
        """Write the checkpoint folder and tell the watcher."""
        target = save(self.out / "checkpoint", self.checkpoint)
        self.watch.done(target)
        return target

    def _go(
        self,
        stage: str,
        total: int,
        step: Callable[[int], dict[str, float]],
        parameters: Parameters,
        optimizers: Optimizers,
    ) -> None:
        """All steps of a stage that are not yet done, each logged and told, with a saved state now and then."""
        done = self._restore(stage, parameters, optimizers)
        if done:
            self.watch.resumed(stage, done, total, "")
        with MetricsLog(self.out, {stage: done}) as journal, postponed(STOPPING) as stop:
            for number in range(done + 1, total + 1):
                shown = step(number)
                journal.write(stage, number, shown)
                if stop.number or number % self.settings.save_every == 0 or number == total:
                    progress = run_state.Progress(number, self._hash)
                    saved = run_state.save(self.out / STATES / stage, progress, parameters, optimizers)
                self.watch.step(stage, number, total, shown)
                if stop.number:
                    kept = f"step {number} of {total} ({stage}) is saved in '{saved}'; the same command goes on from there"
                    raise Interrupted(stop.number, kept)

    def _restore(self, stage: str, parameters: Parameters, optimizers: Optimizers) -> int:
        """Load the newest state of a stage, if there is one, and return the steps done; no optimisers take the weights alone."""
        path = run_state.latest(self.out / STATES / stage)
        if path is None:
            return 0
        return run_state.restore(path, parameters, optimizers, settings=self._hash).step

    def _language(self) -> Parameters:
        """Everything but the tower, by name."""
        named: Mapping[str, nn.Parameter] = dict(self.checkpoint.network.named_parameters())
        return {name: parameter for name, parameter in named.items() if not name.startswith("model.visual.")}

    def _optim(self) -> Optim:
        """Muon for the matrices of the layers, AdamW for embeddings, norms and biases."""
        return Optim(lr=self.settings.rate, optimizer="muon", betas=(0.9, 0.98))

    def _rate(self, step: int) -> float:
        """Share of the peak learning rate: short warm-ups of drill and SFT, then a cosine down to a twentieth."""
        settings = self.settings
        if step <= settings.drill_steps:
            return min(1.0, step / _DRILL_WARM)
        done = step - settings.drill_steps
        return min(1.0, done / _WARM) * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * done / settings.steps)))

    def _trees(self, step: int) -> Iterator[PrefixTree]:
        """What one SFT step is made of."""
        settings, rng = self.settings, np.random.default_rng([self.settings.seed, 2, step])
        if step <= settings.drill_steps:
            yield from (drill_tree(self._encoder, rng) for _ in range(4))
            return
        kinds: tuple[tuple[list[View], int, int], ...] = (
            (self._volumes, settings.volumes, settings.volume_questions),
            (self._images, settings.images, settings.image_questions),
        )
        for group, count, most in kinds:
            for i in rng.integers(len(group), size=count):
                yield view_tree(self._encoder, group[int(i)], rng, most=most)
        if step % settings.drill_every == 0:
            yield drill_tree(self._encoder, rng, rows=8)

    def _gradients(self, trees: Sequence[PrefixTree], look: Callable[[Pack], torch.Tensor | Patches]) -> dict[str, float]:
        """Gradients of one SFT step, one tree through the network at a time; returns the measured parts."""
        labels = sum(tree.labelled for tree in trees)
        loss, right = 0.0, 0.0
        for tree in trees:
            packed = pack([tree])
            marks = self._policy(packed, look(packed) if packed.pictures else None, self._marks)
            part = marks[:, 0].sum() / labels
            torch.autograd.backward(part)
            loss += part.item()
            right += marks[:, 1].sum().item()
        return {"loss": loss, "tokens_right": right / labels, "samples": float(sum(len(t.rows) for t in trees))}

    def _marks(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(n, 2): the loss at every target, and 1.0 where it is the most likely token."""
        return torch.stack([self._smoothing(logits, targets), (logits.argmax(-1) == targets).float()], dim=1)


def _begin(settings: Base, out: Path) -> str:
    """Note in the run folder what the run is, or check that it is the same; returns the hash of the settings."""
    table, path = {"settings": resolved(settings)}, out / RUN
    text = json_text(table, indent=2, sort_keys=True) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise FormatError(f"{out} holds a run with other settings", "the same settings", "take an empty folder")
    write_bytes(path, text.encode())
    return hashlib.sha256(text.encode()).hexdigest()


def _patches(packed: Pack) -> Patches:
    """The grey pictures of a packed sequence for a tower that learns."""
    shown = [picture for pictures in packed.pictures for picture in pictures]
    values = torch.cat([vision.patchify(picture[None]) for picture in shown])
    return Patches(values, torch.cat([vision.grid(1, *picture.shape) for picture in shown]))
