"""A frozen network as an expert: cases become pictures, prompts the network's coordinates, logits masks on the case's grid.

Prompts on one picture are answered in one call of the network's light half; its heavy half sees each picture once. In a volume the
pictures are canonical slices under the window that any reader of the case gets.

A network with a memory (SAM 2) is prompted on a key slice and follows the structure both ways: inside a cuboid only, or, from a place on
one slice or points in a volume, until it was not seen for three slices. A network without is asked on every slice of a cuboid with its
x-y rectangle; from a place on one slice ``segment.propagate`` goes on with the box around what was found last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from unireason.errors import ModelError
from unireason.imaging import window as windows
from unireason.segment.expert import Prompt, Segmentation, checked, finished, largest
from unireason.segment.propagate import follow
from unireason.types import Box2D, Box3D, Case

from .features import FeatureCache, Features
from .recipe import Placement, Recipe, place, prepare
from .sam import Ask, Found

_AT_ONCE = 32  # prompts of one call: their intermediate grids take some ten megabytes each
_PATIENCE = 3  # slices without the structure after which it is no longer followed


class Network(Protocol):
    """What an expert needs of a network."""

    size: int
    model: Any

    def encode(self, pixels: torch.Tensor) -> Features:
        """Features of a picture (3, size, size)."""
        ...

    def decode(self, features: Features, ask: Ask) -> Found:
        """Masks of prompts on it."""
        ...


class NetworkExpert:
    """A frozen expert around a network.

    Args:
        name: "sam", "medsam", "sam2", "medsam2" or "sam-med2d".
        network: Its weights are frozen here.
        recipe: How its pictures are made.
        limit_bytes: Most bytes of features kept for later prompts.
    """

    def __init__(self, name: str, network: Network, recipe: Recipe, *, limit_bytes: int = 512 << 20) -> None:
        self.name, self.network, self.recipe = name, network, recipe
        self.cache = FeatureCache(limit_bytes)
        network.model.eval().requires_grad_(False)

    @torch.inference_mode()
    def segment(self, case: Case, prompts: Sequence[Prompt]) -> list[Segmentation]:
        """One mask a prompt, in order; no prompts give none.

        Args:
            case: Image or volume.
            prompts: Places on it, see :class:`unireason.segment.expert.Prompt`.

        Returns:
            Masks on the canonical grid. The score is the network's own prediction of the overlap, cut to [0, 1]: of the slice of a flat
            prompt, of the key slice of a followed one, the mean over the slices where the network was asked slice by slice.

        Raises:
            FormatError: If a prompt does not fit the case.
            ModelError: If the network answers with numbers that are not finite.
        """
        return self.answers(case, prompts, windows.choose(case)) if prompts else []

    def answers(self, case: Case, prompts: Sequence[Prompt], window: windows.Window) -> list[Segmentation]:
        """The same under a window of your own; to be called in torch's inference mode."""
        asked = [checked(case, prompt) for prompt in prompts]
        view = _View(self, case, window)
        flat: dict[int, list[int]] = defaultdict(list)
        for number, prompt in enumerate(asked):
            if case.kind == "image" or (prompt.slice is not None and not prompt.propagate):
                flat[prompt.slice or 0].append(number)
        found: dict[int, Segmentation] = {}
        for index, numbers in flat.items():
            answers = view.decide(index, [asked[n] for n in numbers])
            for number, (mask, score) in zip(numbers, answers, strict=True):
                found[number] = finished(mask if case.kind == "image" else view.raised({index: mask}), score)
        return [found[n] if n in found else view.solid(asked[n]) for n in range(len(asked))]


class _View:
    """One case as one network sees it."""

    def __init__(self, expert: NetworkExpert, case: Case, window: windows.Window) -> None:
        self.expert, self.case, self.window = expert, case, window
        height, width = case.geometry.shape[-2:]
        self.place: Placement = place(height, width, size=expert.network.size, recipe=expert.recipe)

    def features(self, index: int) -> Features:
        """Of a slice, made once."""
        pixels = self.case.pixels if self.case.kind == "image" else self.case.pixels[index]
        recipe, network = self.expert.recipe, self.expert.network

        def make() -> Features:
            return self.sound(network.encode(prepare(windows.apply(pixels, self.window), self.place, recipe)))

        return self.expert.cache.get(pixels, self.window, make)

    def sound(self, made: Features) -> Features:
        """What the network made, if it is a finite number everywhere: a comparison with NaN would read as "nothing is there".

        Raises:
            ModelError: If it is not.
        """
        if not all(bool(tensor.isfinite().all()) for tensor in made):
            raise ModelError(
                f"the expert '{self.expert.name}' answers with numbers that are not finite",
                "finite numbers",
                "its weights are damaged: download or convert them again",
            )
        return made

    def decide(self, index: int, prompts: Sequence[Prompt]) -> list[tuple[NDArray[np.bool_], float]]:
        """Mask (Y, X) and score of flat prompts on one slice.

        Prompts of different kinds go in different calls: filling up with empty points would change the answers.
        """
        kinds: dict[tuple[bool, int], list[int]] = defaultdict(list)
        for number, prompt in enumerate(prompts):
            kinds[prompt.box is not None, len(prompt.points)].append(number)
        answers: dict[int, tuple[NDArray[np.bool_], float]] = {}
        for numbers in kinds.values():
            for some in _parts(numbers):
                found = self.expert.network.decode(self.features(index), self.ask([prompts[n] for n in some]))
                self.sound((found.logits, found.scores))
                for number, logits, score in zip(some, found.logits, found.scores.tolist(), strict=True):
                    answers[number] = self.place.mask(logits), min(max(score, 0.0), 1.0)
        return [answers[n] for n in range(len(prompts))]

    def ask(self, prompts: Sequence[Prompt]) -> Ask:
        """Flat prompts of one kind in the network's coordinates."""
        count, boxed, points = len(prompts), prompts[0].box is not None, len(prompts[0].points)
        corners = [corner for p in prompts if p.box for corner in (p.box.coords[:2], p.box.coords[2:])]
        inside = [point for p in prompts for point in p.points]
        return Ask(
            boxes=self.place.coordinates(corners).view(count, 4) if boxed else None,
            points=self.place.coordinates(inside).view(count, points, 2) if points else None,
            best=self.expert.recipe.takes_best(boxed=boxed, points=points),
        )

    def raised(self, masks: dict[int, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """A volume with these masks on these slices."""
        volume = np.zeros(self.case.geometry.shape, bool)
        for index, mask in masks.items():
            volume[index] = mask
        return volume

    def solid(self, prompt: Prompt) -> Segmentation:
        """The answer to a prompt that asks for a structure in a volume."""
        if hasattr(self.expert.network, "follow"):
            return self._followed(prompt)
        if isinstance(prompt.box, Box3D):
            return self._slice_by_slice(prompt, prompt.box)
        depth = self.case.geometry.shape[0]
        key, flat, notes = _key(prompt, range(depth), depth)
        windowed = _Windowed(self.expert, self.window)  # slices alone would choose their own
        found = follow(windowed, self.case, replace(flat, slice=key, propagate=True))
        return replace(found, notes=(*notes, *found.notes))

    def _slice_by_slice(self, prompt: Prompt, box: Box3D) -> Segmentation:
        masks: dict[int, NDArray[np.bool_]] = {}
        scores: list[float] = []
        depth = self.case.geometry.shape[0]
        for index in _slices(box, depth):
            flat = Prompt(_rectangle(box), tuple(p[:2] for p in prompt.points if _slice_of(p, depth) == index))
            ((masks[index], score),) = self.decide(index, [flat])
            scores.append(score)
        return largest(self.raised(masks), float(np.mean(scores)))

    def _followed(self, prompt: Prompt) -> Segmentation:
        depth = self.case.geometry.shape[0]
        inside = _slices(prompt.box, depth) if isinstance(prompt.box, Box3D) else range(depth)
        key, flat, notes = _key(prompt, inside, depth)
        ask = self.ask([flat])
        masks: dict[int, NDArray[np.bool_]] = {}
        ways = (range(key, inside.stop), range(key, inside.start - 1, -1))
        for order in ways if key > inside.start else ways[:1]:
            patience = _PATIENCE if not isinstance(prompt.box, Box3D) else len(inside)
            masks.update(self._stream(order, depth, ask, patience))  # both ways agree on the key slice
        ((_, score),) = self.decide(key, [flat])
        return largest(self.raised(masks), score, notes)

    def _stream(self, order: range, depth: int, ask: Ask, patience: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Masks along slices until the structure was not seen for a while."""
        unseen = 0
        network: Any = self.expert.network
        for index, logits in zip(order, network.follow(self.features, order, frames=depth, ask=ask), strict=False):
            self.sound((logits,))
            mask = self.place.mask(logits)
            yield index, mask
            unseen = 0 if mask.any() else unseen + 1
            if unseen >= patience:
                return


class _Windowed:
    """The expert under one window, whatever the case."""

    def __init__(self, expert: NetworkExpert, window: windows.Window) -> None:
        self.name, self.expert, self.window = expert.name, expert, window

    def segment(self, case: Case, prompts: Sequence[Prompt]) -> list[Segmentation]:
        return self.expert.answers(case, prompts, self.window)


def _parts(numbers: Sequence[int]) -> Iterator[list[int]]:
    left = iter(numbers)
    while some := list(islice(left, _AT_ONCE)):
        yield some


def _slices(box: Box3D, depth: int) -> range:
    """Slices whose middle lies in a cuboid; the nearest one if there is none."""
    first, last = (int(np.ceil(z - 0.5)) for z in (box.z1, box.z2))
    first = min(max(first, 0), depth - 1)
    return range(first, max(min(last, depth), first + 1))


def _rectangle(box: Box3D) -> Box2D:
    return Box2D(box.x1, box.y1, box.x2, box.y2)


def _slice_of(point: tuple[float, ...], depth: int) -> int:
    """The slice in which (x, y, z) lies; the far border of the volume belongs to its last slice."""
    return min(int(point[2]), depth - 1)


def _key(prompt: Prompt, inside: range, depth: int) -> tuple[int, Prompt, tuple[str, ...]]:
    """The slice to prompt, the flat prompt on it, and what is to be said of it."""
    if prompt.slice is not None:
        return prompt.slice, Prompt(prompt.box, prompt.points), ()
    rectangle = _rectangle(prompt.box) if isinstance(prompt.box, Box3D) else None
    lie = [_slice_of(point, depth) for point in prompt.points]
    held = [index for index in lie if index in inside]
    key = max(held, key=held.count) if held else (inside.start + inside.stop - 1) // 2
    points = tuple(point[:2] for point, index in zip(prompt.points, lie, strict=True) if index == key)
    left = len(prompt.points) - len(points)
    notes = (f"{left} points off the key slice {key} were not used",) if left else ()
    return key, Prompt(rectangle, points), notes
