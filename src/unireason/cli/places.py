"""Places as people type them, in voxels, in the model frame or in millimetres, made into the prompt of an expert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

from unireason.errors import FormatError, GeometryError

if TYPE_CHECKING:
    from unireason.segment.expert import Prompt
    from unireason.types import Case, Frame

Space = Literal["voxel", "model", "world"]
SPACES: tuple[Space, ...] = ("voxel", "model", "world")
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed.

    Attributes:
        box: Lower corner, then upper corner; None if only points were given.
        points: A tuple each.
        space: In which all of them, and the slice, are meant: the file's own index order (voxel ``n`` covers ``[n, n + 1)``), the model
            frame, or LPS millimetres.
        slice: On which slice of a volume they lie; None if they have a z of their own.
        propagate: Follow what is found on the slice through the volume.
    """

    box: Numbers | None
    points: tuple[Numbers, ...]
    space: Space
    slice: int | None = None
    propagate: bool = False


def numbers(text: str, what: str) -> Numbers:
    """Numbers with commas between them.

    Raises:
        FormatError: If they are none, or not finite.
    """
    from math import isfinite

    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(isfinite(v) for v in found):
        raise FormatError(f"the {what} is {text!r}", "numbers with commas between them")
    return found


def prompt_of(case: Case, typed: Typed, *, frame: Frame) -> Prompt:
    """The prompt that a case's expert understands.

    A box in millimetres becomes the smallest box of voxels that holds its eight corners. The model slice of a rectangle stands for the
    canonical slice in its middle.

    Args:
        case: Image or volume.
        typed: What was typed.
        frame: The model frame of the case.

    Raises:
        FormatError: If the number of numbers fits neither the case nor the slice, or a box is inverted.
        GeometryError: If the case has no patient coordinates, or slices of the file are not slices of the patient.
    """
    from unireason.segment.expert import Prompt
    from unireason.types import Box2D, Box3D

    flat = case.kind == "image" or typed.slice is not None
    _check(case, typed, flat)
    on = () if typed.slice is None else (typed.slice + 0.5,)
    half = len(typed.box or ()) // 2
    boxes = [] if typed.box is None else [(typed.box[:half] + on, typed.box[half:] + on)]
    corners = [_mapped(low, high, typed.space, case, frame) for low, high in boxes]
    points = [_mapped(p + on, p + on, typed.space, case, frame)[0] for p in typed.points]
    index = None if typed.slice is None else _slice(typed.slice, typed.space, case, frame)
    dims = 2 if flat else 3
    shape = Box2D if dims == 2 else Box3D
    box = shape(*(*corners[0][0][:dims], *corners[0][1][:dims])) if corners else None
    return Prompt(box, tuple(p[:dims] for p in points), index, typed.propagate)


def _check(case: Case, typed: Typed, flat: bool) -> None:
    if typed.slice is not None and (case.kind == "image" or typed.space == "world"):
        came = "an image" if case.kind == "image" else "places in millimetres"
        raise FormatError(
            f"{came} with --slice", "none", "give a cuboid, or the rectangle in voxels" if case.kind != "image" else ""
        )
    if typed.propagate and typed.slice is None:
        raise FormatError("--propagate without --slice", "the slice on which the box lies")
    dims = 3 if typed.space == "world" or not flat else 2
    hint = "give --slice for a rectangle" if case.kind == "volume" and not flat and typed.space != "world" else ""
    if typed.box is not None and len(typed.box) != 2 * dims:
        raise FormatError(f"a box of {len(typed.box)} numbers", f"{2 * dims}", hint)
    wrong = [p for p in typed.points if len(p) != dims]
    if wrong:
        raise FormatError(f"a point of {len(wrong[0])} numbers", f"{dims}", hint)
    if typed.box is not None and any(b <= a for a, b in zip(typed.box[:dims], typed.box[dims:], strict=True)):
        raise FormatError(f"the box {list(typed.box)}", "the lower corner first, then the upper one")


def _mapped(low: Numbers, high: Numbers, space: Space, case: Case, frame: Frame) -> tuple[Numbers, Numbers]:
    """Canonical bounds of what lies between two corners."""
    from unireason.imaging import geometry as maps

    def canonical(corner: Sequence[float]) -> Numbers:
        if space == "model":
            return maps.model_to_canonical(corner, frame, case.geometry)
        voxel = maps.world_to_voxel(corner, case.geometry) if space == "world" else corner
        return maps.voxel_to_canonical(voxel, case.geometry)

    corners = [canonical(corner) for corner in product(*zip(low, high, strict=True))]
    return tuple(map(min, zip(*corners, strict=True))), tuple(map(max, zip(*corners, strict=True)))


def _slice(typed: int, space: Space, case: Case, frame: Frame) -> int:
    """The canonical slice of a typed one."""
    depth = case.geometry.shape[0]
    count = frame.depth if space == "model" else depth
    if not 0 <= typed < count:
        raise FormatError(f"{space} slice {typed}", f"0 to {count - 1}")
    if space == "model":
        return int((typed + 0.5) * depth / frame.depth)
    if case.geometry.order[2] != 2:
        raise GeometryError(
            "slices of this file do not run from the feet to the head", "axial slices", "give a cuboid, or --space model"
        )
    return depth - 1 - typed if case.geometry.flips[2] else typed
