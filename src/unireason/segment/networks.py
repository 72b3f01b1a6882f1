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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import interpolate, pad

from unireason.core.errors import ModelError
from unireason.core.store import hub_folder, is_hub_id, no_folder, read_json, unloadable
from unireason.core.types import Box3D, Case
from unireason.imaging import present as windows
from unireason.metrics.boxes import projection

from .expert import Prompt, Segmentation, checked, finished, largest
from .propagate import follow
from .sam import FeatureCache, Features, Sam2Network, SamMasks, SamMed2DModel, SamNetwork, SamPrompt, without_bars

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # of ImageNet, colours in [0, 1]
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a network expects of a picture and what its several masks mean."""

    fit: Literal["pad", "squash"]
    resize: Literal["bilinear", "bicubic", "nearest"]
    intensity: Literal["imagenet", "minmax"]
    several: Literal["point", "always", "never"]

    def takes_best(self, *, boxed: bool, points: int) -> bool:
        """Whether the best of several masks is taken for a prompt with or without a box and with so many points."""
        return self.several == "always" or (self.several == "point" and not boxed and points == 1)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in the network's square."""

    height: int
    width: int
    inner_height: int
    inner_width: int
    size: int

    def coordinates(self, places: Sequence[tuple[float, ...]]) -> Tensor:
        """Places (x, y) of the picture as the network's prompt encoder wants them."""
        scale = torch.tensor([self.inner_width / self.width, self.inner_height / self.height], dtype=torch.float64)
        return (torch.tensor(places, dtype=torch.float64).reshape(-1, 2) * scale - 0.5).float()

    def mask(self, logits: Tensor) -> NDArray[np.bool_]:
        """The mask of a network on the pixels of the picture: resized to the square, freed of its padding, resized and cut at 0.

        Source: the post-processing of Segment Anything (arXiv 2304.02643).
        """
        square = interpolate(logits[None, None].float(), size=(self.size, self.size), mode="bilinear", align_corners=False)
        inner = square[..., : self.inner_height, : self.inner_width]
        whole = interpolate(inner, size=(self.height, self.width), mode="bilinear", align_corners=False)
        found: NDArray[np.bool_] = (whole[0, 0] > 0).cpu().numpy()
        return found


def place(height: int, width: int, *, size: int, recipe: Recipe) -> Placement:
    """Where a picture of (height, width) pixels goes in a square of ``size`` pixels a side."""
    if recipe.fit == "squash":
        return Placement(height, width, size, size, size)
    scale = size / max(height, width)
    return Placement(height, width, max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)), size)


def prepare(picture: NDArray[np.uint8], placement: Placement, recipe: Recipe) -> Tensor:
    """The picture as the network's input."""
    grey = torch.from_numpy(np.ascontiguousarray(picture)).float()
    colour = (grey if grey.ndim == 3 else grey[..., None].expand(-1, -1, 3)).permute(2, 0, 1)
    inner = (placement.inner_height, placement.inner_width)
    if recipe.resize == "nearest":
        resized = interpolate(colour[None], size=inner, mode="nearest")[0]
    else:
        resized = interpolate(colour[None], size=inner, mode=recipe.resize, align_corners=False, antialias=True)[0].clamp(0, 255)
    if recipe.intensity == "minmax":
        low, high = resized.min(), resized.max()
        ready = (resized - low) / (high - low).clamp(min=1e-8)
    else:
        ready = (resized / 255 - _MEAN) / _DEVIATION
    return pad(ready, (0, placement.size - inner[1], 0, placement.size - inner[0]))


# --- A frozen network as an expert: cases become pictures, prompts the network's coordinates, logits masks on the case's grid.


_AT_ONCE = 32  # prompts of one call: their intermediate grids take some ten megabytes each
_PATIENCE = 3  # slices without the structure after which it is no longer followed


class Network(Protocol):
    """What an expert needs of a network."""

    size: int
    model: Any

    def encode(self, pixels: torch.Tensor) -> Features:
        """Features of a picture (3, size, size)."""
        ...

    def decode(self, features: Features, ask: SamPrompt) -> SamMasks:
        """Masks of prompts on it."""
        ...


class NetworkExpert:
    """A frozen expert around a network."""

    def __init__(self, name: str, network: Network, recipe: Recipe, *, limit_bytes: int = 512 << 20) -> None:
        self.name, self.network, self.recipe = name, network, recipe
        self.cache = FeatureCache(limit_bytes)
        network.model.eval().requires_grad_(False)

    @torch.inference_mode()
    def segment(self, case: Case, prompts: Sequence[Prompt]) -> list[Segmentation]:
        """One mask a prompt, in order; no prompts give none."""
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
        """What the network made, if it is a finite number everywhere: a comparison with NaN would read as "nothing is there"."""
        if not all(bool(tensor.isfinite().all()) for tensor in made):
            raise ModelError(
                f"the expert '{self.expert.name}' answers with numbers that are not finite",
                "finite numbers",
                "its weights are damaged: download or convert them again",
            )
        return made

    def decide(self, index: int, prompts: Sequence[Prompt]) -> list[tuple[NDArray[np.bool_], float]]:
        """Mask (Y, X) and score of flat prompts on one slice."""
        kinds: dict[tuple[bool, int], list[int]] = defaultdict(list)
        for number, prompt in enumerate(prompts):
            kinds[prompt.box is not None, len(prompt.points)].append(number)
        answers: dict[int, tuple[NDArray[np.bool_], float]] = {}
        for numbers in kinds.values():
            for some in (numbers[at : at + _AT_ONCE] for at in range(0, len(numbers), _AT_ONCE)):
                found = self.expert.network.decode(self.features(index), self.ask([prompts[n] for n in some]))
                self.sound((found.logits, found.scores))
                for number, logits, score in zip(some, found.logits, found.scores.tolist(), strict=True):
                    answers[number] = self.place.mask(logits), min(max(score, 0.0), 1.0)
        return [answers[n] for n in range(len(prompts))]

    def ask(self, prompts: Sequence[Prompt]) -> SamPrompt:
        """Flat prompts of one kind in the network's coordinates."""
        count, boxed, points = len(prompts), prompts[0].box is not None, len(prompts[0].points)
        corners = [corner for p in prompts if p.box for corner in (p.box.coords[:2], p.box.coords[2:])]
        inside = [point for p in prompts for point in p.points]
        return SamPrompt(
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
            flat = Prompt(projection(box), tuple(p[:2] for p in prompt.points if _slice_of(p, depth) == index))
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

    def _stream(self, order: range, depth: int, ask: SamPrompt, patience: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
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


def _slices(box: Box3D, depth: int) -> range:
    """Slices whose middle lies in a cuboid; the nearest one if there is none."""
    first, last = (int(np.ceil(z - 0.5)) for z in (box.z1, box.z2))
    first = min(max(first, 0), depth - 1)
    return range(first, max(min(last, depth), first + 1))


def _slice_of(point: tuple[float, ...], depth: int) -> int:
    """The slice in which (x, y, z) lies; the far border of the volume belongs to its last slice."""
    return min(int(point[2]), depth - 1)


def _key(prompt: Prompt, inside: range, depth: int) -> tuple[int, Prompt, tuple[str, ...]]:
    """The slice to prompt, the flat prompt on it, and what is to be said of it."""
    if prompt.slice is not None:
        return prompt.slice, Prompt(prompt.box, prompt.points), ()
    rectangle = projection(prompt.box) if isinstance(prompt.box, Box3D) else None
    lie = [_slice_of(point, depth) for point in prompt.points]
    held = [index for index in lie if index in inside]
    key = max(held, key=held.count) if held else (inside.start + inside.stop - 1) // 2
    points = tuple(point[:2] for point, index in zip(prompt.points, lie, strict=True) if index == key)
    left = len(prompt.points) - len(points)
    notes = (f"{left} points off the key slice {key} were not used",) if left else ()
    return key, Prompt(rectangle, points), notes


# --- Networks from a folder or a hub repository: safetensors only, no code of a checkpoint is ever run.


_WANTED = ("*.safetensors", "*.json")


def folder_of(weights: str | Path) -> Path:
    """The folder of a network's weights: a folder, or a hub id such as "owner/name"; an existing folder wins.

    Of a hub repository only safetensors and JSON files are fetched.
    """
    path = Path(weights).expanduser()
    if not path.exists():
        if not is_hub_id(weights):
            raise no_folder(weights, "a folder with config.json and model.safetensors, or a hub id such as owner/name")
        path = hub_folder(str(weights), _WANTED)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"'{weights}' holds no network",
            "a folder with config.json and model.safetensors, or a hub id such as owner/name",
            "an original .pt or .pth file is converted by: unireason weights convert",
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"'{weights}' holds no safetensors file; pickled weights are not opened, for they can run any code",
            "model.safetensors",
            "convert it with: unireason weights convert",
        )
    return path


def load_network(weights: str | Path, kind: str, device: Any = None) -> SamNetwork | Sam2Network:
    """Load a network; :class:`.expert.NetworkExpert` freezes it."""
    folder = folder_of(weights)
    found = read_json(folder / "config.json").get("model_type")
    classes: dict[Any, Any] = {
        "sam": {"sam": transformers.SamModel},
        "sam-med2d": {"sam": SamMed2DModel},
        "sam2": {"sam2_video": transformers.Sam2VideoModel, "sam2": transformers.Sam2Model},
    }[kind]
    if found not in classes:
        raise ModelError(f"the weights '{weights}' are of model type {found!r}", " or ".join(repr(c) for c in classes))
    model = _loaded(folder, classes[found])
    target = device if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(target)
    return Sam2Network(model) if kind == "sam2" else SamNetwork(model)


def _loaded(folder: Path, kind: Any) -> Any:
    try:
        with without_bars():
            model, report = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, SafetensorError) as error:
        raise unloadable(f"'{folder.name}'", error, read_json(folder / "config.json")) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{len(missing)} tensors are missing from the weights in '{folder.name}', first {missing[0]}",
            f"all of {kind.__name__}",
        )
    return model
