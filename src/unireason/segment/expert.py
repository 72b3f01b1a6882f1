"""What every segmentation expert is given and gives back. An expert is frozen: it turns a box and points into a mask and never learns.

All places are canonical continuous indices (``unireason.core.types``): element ``n`` covers ``[n, n + 1)``,
x before y before z. Masks lie on the canonical grid of the case; ``imaging.geometry.to_source`` lays them on the file's own.
It knows nothing of models that reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Box, Box2D, Box3D, Case

Point = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Where to look: a box, points inside, or both.

    Attributes:
        box: Half-open, canonical. A cuboid asks for a structure in a volume, a rectangle in an image or on one slice of a volume.
        points: Places inside the structure, canonical: (x, y), or (x, y, z) in a volume that is asked as a whole.
        slice: Canonical slice on which a rectangle and points (x, y) lie; None for an image or a volume that is asked as a whole.
        propagate: True follows what was found on ``slice`` into its neighbours, both ways.
    """

    box: Box | None = None
    points: tuple[Point, ...] = ()
    slice: int | None = None
    propagate: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """A mask and what is known of it.

    Attributes:
        mask: bool, of the case's ``geometry.shape``: (Z, Y, X) or (Y, X). All False if nothing was found.
        score: How sure the expert is, in [0, 1].
        gaps: Canonical slices without a voxel between slices with some.
        notes: Remarks for people, such as "2 smaller components were left out".
    """

    mask: NDArray[np.bool_]
    score: float
    gaps: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


class Expert(Protocol):
    """A frozen expert. What it makes of a case once (an image embedding) is kept for the last cases it saw."""

    name: str

    def segment(self, case: Case, prompts: Sequence[Prompt]) -> list[Segmentation]:
        """One mask a prompt, in order; no prompts give none.

        Raises:
            FormatError: If a prompt does not fit the case (see :func:`checked`).
            ModelError: If the network cannot take the case, or answers with numbers that are not finite.
        """
        ...


def checked(case: Case, prompt: Prompt) -> Prompt:
    """A prompt that fits its case, its box clipped to the grid.

    Raises:
        FormatError: If there is neither box nor point, numbers are not finite, a box is empty or outside, a point lies outside, a slice
            is named for an image, misses for a rectangle on a volume, or does not exist.
    """
    shape = case.geometry.shape
    flat = case.kind == "image" or prompt.slice is not None
    if prompt.box is None and not prompt.points:
        raise FormatError("a prompt without box and points", "at least one of them")
    if prompt.slice is not None and (case.kind == "image" or not 0 <= prompt.slice < shape[0]):
        expected = "none" if case.kind == "image" else f"0 to {shape[0] - 1}"
        raise FormatError(f"slice {prompt.slice} of a case of shape {shape}", expected)
    if prompt.propagate and prompt.slice is None:
        raise FormatError("a prompt that is to be followed without the slice on which it lies", "slice = 0, 1, ...")
    dims, wanted = (2, Box2D) if flat else (3, Box3D)
    sizes = tuple(reversed(shape[-dims:]))
    if any(len(p) != dims or not all(0 <= v <= n for v, n in zip(p, sizes, strict=False)) for p in prompt.points):
        raise FormatError(f"the points {list(prompt.points)}", f"{dims} numbers each, inside {sizes}")
    if prompt.box is None:
        return prompt
    if not isinstance(prompt.box, wanted):
        hint = "give the slice on which a rectangle lies" if case.kind == "volume" else "leave z out"
        raise FormatError(f"the box {list(prompt.box.coords)}", f"{2 * dims} numbers", hint)
    low, high = prompt.box.coords[:dims], prompt.box.coords[dims:]
    if not all(np.isfinite(prompt.box.coords)) or any(b <= a for a, b in zip(low, high, strict=True)):
        raise FormatError(f"the box {list(prompt.box.coords)}", "finite numbers, each upper end above its lower end")
    if any(b <= 0 or a >= n for a, b, n in zip(low, high, sizes, strict=True)):
        raise FormatError(f"the box {list(prompt.box.coords)} lies outside", f"inside {sizes}")
    held: Any = [min(max(v, 0.0), float(n)) for v, n in zip((*low, *high), sizes * 2, strict=True)]
    return Prompt(wanted(*held), prompt.points, prompt.slice, prompt.propagate)


def finished(mask: NDArray[np.bool_], score: float, notes: Sequence[str] = ()) -> Segmentation:
    """A segmentation with its gaps told and its score clipped to [0, 1]; ModelError if the score is not finite."""
    if not math.isfinite(score):
        raise ModelError(f"a segmentation expert gives the score {score}", "a finite number", "look for damaged weights")
    gaps: tuple[int, ...] = ()
    if mask.ndim == 3 and mask.any():
        filled = mask.reshape(len(mask), -1).max(axis=1)
        first, last = (int(v) for v in np.flatnonzero(filled)[[0, -1]])
        gaps = tuple(z for z in range(first, last) if not filled[z])
    said = (*notes, f"no voxel on {len(gaps)} slices in between") if gaps else tuple(notes)
    return Segmentation(mask, float(min(max(score, 0.0), 1.0)), gaps, said)


def parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected parts of a mask, numbered from 1, and how many: faces, edges and corners connect, in the plane as in space.

    With faces alone a thin structure that runs askew would be a part a pixel.
    """
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return labels, count


def largest(mask: NDArray[np.bool_], score: float, notes: Sequence[str] = ()) -> Segmentation:
    """The part of most voxels, of equals the first, as a segmentation; what is left out is told."""
    found = finished(mask, score, notes)
    if not mask.any():
        return found
    block = ndimage.find_objects(mask.view(np.uint8))[0]
    labels, count = parts(mask[block])
    if count == 1:
        return found
    kept = np.zeros_like(mask)
    kept[block] = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    return finished(kept, score, (*found.notes, f"{count - 1} smaller components were left out"))


# --- Experts by name. Nothing heavy is imported before a network is asked for.


DEFAULT = "classical"
EXPERTS = (DEFAULT, "medsam", "sam", "sam2", "medsam2", "sam-med2d")
"""Names that `make_expert` knows; all but the first need weights."""


def make_expert(name: str, *, weights: str | Path | None = None, device: Any = None) -> Expert:
    """An expert by one of the names in `EXPERTS`, of weights in a folder or under a hub id; "classical" takes none.

    ``device`` is a torch device; None takes CUDA where there is one. What cannot be used is a ModelError.
    """
    if name not in EXPERTS:
        raise ModelError(f"there is no expert '{name}'", f"one of {', '.join(EXPERTS)}")
    if name != DEFAULT:
        return make_network_expert(name, weights=weights, device=device)
    if weights is not None:
        raise ModelError(f"the expert '{name}' was given the weights '{weights}'", "none: it has learned nothing")
    from .classical import Classical

    return Classical()


# --- Experts with learned weights by name. Nothing heavy is imported before one is made.


WHERE: dict[str, str] = {
    "sam": "facebook/sam-vit-base",
    "medsam": "wanglab/medsam-vit-base",
    "sam2": "facebook/sam2.1-hiera-tiny",
    "medsam2": "MedSAM2_latest.pt of wanglab/MedSAM2, converted by: unireason weights convert --kind medsam2",
    "sam-med2d": "sam-med2d_b.pth of OpenGVLab/SAM-Med2D, converted by: unireason weights convert --kind sam-med2d",
}
"""Names of the experts, and for each a hub id, or the original file and how it is converted."""


def make_network_expert(name: str, *, weights: str | Path | None, device: Any = None) -> Expert:
    """A frozen expert with learned weights."""
    if name not in WHERE:
        raise ModelError(f"there is no expert '{name}'", f"one of {', '.join(WHERE)}")
    if weights is None:
        raise ModelError(f"the expert '{name}' has no weights", "a folder or a hub id", f"take {WHERE[name]}")
    from .networks import NetworkExpert, Recipe, load_network

    recipes = {
        "sam": Recipe("pad", "bilinear", "imagenet", "point"),
        "medsam": Recipe("squash", "bicubic", "minmax", "never"),
        "sam2": Recipe("squash", "bilinear", "imagenet", "point"),
        "medsam2": Recipe("squash", "bicubic", "imagenet", "point"),
        "sam-med2d": Recipe("squash", "nearest", "imagenet", "always"),
    }
    kinds = {"medsam": "sam", "medsam2": "sam2"}
    return NetworkExpert(name, load_network(weights, kinds.get(name, name), device), recipes[name])
