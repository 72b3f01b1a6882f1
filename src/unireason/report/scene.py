"""What a page or a picture shows of a trace, worked out once: numbered looks, slices in view, maps to voxel and world.

It draws nothing and writes no HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError
from unireason.grounding.crop import extent
from unireason.imaging.geometry import model_to_voxel, voxel_to_world
from unireason.types import Case, Frame, Geometry, LookStep, Stack, Trace

TONES = ("#4cc2ff", "#ffb02e", "#5ddc86", "#ff7ab8", "#ffe14a", "#b59bff", "#ff7d5c", "#35dcc6")
"""Look colours, in order; they stand out on grey pictures and are told apart by colour-blind readers with the numbers."""

FAR = 20_000.0
"""Model pixels. A model writes any number; beyond every frame one place is as good as another, and can be drawn."""

_AXES = ("i", "j", "k")
_TOWARDS = (("L", "R"), ("P", "A"), ("H", "F"))


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One look as it is shown.

    Attributes:
        number: 1, 2, ... in the order of the text.
        tone: Index into :data:`TONES`.
        step: The look itself.
        box: What was executed, model frame; as written for a look that was not.
        rect: (x1, y1, x2, y2) of it, but at most :data:`FAR` from the origin.
        first: First model slice on which it is shown.
        last: One past its last slice; equal to ``first`` if it is shown nowhere.
        size_mm: Edge lengths along canonical x, y (and z); None without spacing.
    """

    number: int
    tone: int
    step: LookStep
    box: tuple[float, ...]
    rect: tuple[float, float, float, float]
    first: int
    last: int
    size_mm: tuple[float, ...] | None

    @property
    def home(self) -> int:
        """The slice to jump to: the middle one."""
        return (self.first + max(self.last - 1, self.first)) // 2


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A trace made ready to be shown.

    Attributes:
        frame: The model frame.
        looks: Numbered looks.
        aspect: Width over height of a slice in the patient, or in source pixels without spacing.
        to_voxel: (n, n + 1) affine from continuous model coordinates to continuous source indices; n = 2 or 3.
        to_world: (3, n + 1) affine from model coordinates to LPS millimetres; None if unknown.
        edges: Patient letters at the left, right, top and bottom edge; None if unknown.
        ends: Patient letters of the first and of the last slice; None if unknown.
        covered: For each model slice, the half-open range of source indices along ``slice_axis``.
        slice_axis: Name of the source axis that runs through the slices: "i", "j" or "k"; "" for an image.
        start: The slice shown first.
    """

    frame: Frame
    looks: tuple[Look, ...]
    aspect: float
    to_voxel: NDArray[np.float64]
    to_world: NDArray[np.float64] | None
    edges: tuple[str, str, str, str] | None
    ends: tuple[str, str] | None
    covered: tuple[tuple[int, int], ...]
    slice_axis: str
    start: int


def compose(trace: Trace, case: Case, stack: Stack) -> Scene:
    """Work out what is shown where.

    Args:
        trace: The trace; it may hold no looks.
        case: The image or volume it is about.
        stack: The slices that were shown to the model.

    Returns:
        The scene.

    Raises:
        FormatError: Trace, case and stack do not belong together.
    """
    _check(trace, case, stack)
    to_voxel = voxel_map(trace.frame, case.geometry)
    boxes = [executed(step) for step in trace.looks]
    sizes = [_size(box, to_voxel, case.geometry) for box in boxes]
    looks = tuple(_look(n + 1, step, trace.frame, boxes[n], sizes[n]) for n, step in enumerate(trace.looks))
    to_world = world_map(to_voxel, case.geometry)
    shown = [look for look in looks if look.last > look.first]
    volume = case.kind == "volume"
    return Scene(
        frame=trace.frame,
        looks=looks,
        aspect=aspect_of(case.geometry),
        to_voxel=to_voxel,
        to_world=to_world,
        edges=None if to_world is None else _edges(to_world),
        ends=None if to_world is None or not volume else (_letters(-to_world[:, 2]), _letters(to_world[:, 2])),
        covered=_covered(stack, case.geometry) if volume else (),
        slice_axis=_AXES[case.geometry.order[2]] if volume else "",
        start=shown[0].home if shown else trace.frame.depth // 2,
    )


def _check(trace: Trace, case: Case, stack: Stack) -> None:
    kinds = (trace.frame.kind, case.kind, stack.kind)
    if len(set(kinds)) > 1:
        raise FormatError(
            f"the trace is about a {kinds[0]}, the case is a {kinds[1]} and the stack a {kinds[2]}",
            "all three of one kind",
            "pass the case and the stack that the trace was made from",
        )
    if len(stack.slices) != trace.frame.depth:
        raise FormatError(
            f"the stack has {len(stack.slices)} slices and the frame of the trace {trace.frame.depth}",
            "the same number",
            "pass the stack that the trace was made from",
        )
    for step in trace.looks:
        if len(step.box_model) not in (4, 6) or not np.all(np.isfinite(step.box_model)):
            raise FormatError(f"a look has the box {list(step.box_model)}", "4 or 6 finite numbers")


def executed(step: LookStep) -> tuple[float, ...]:
    """The box of a look that was executed, model frame; as written for one that was not."""
    return extent(step.crops, "volume" if len(step.box_model) == 6 else "image").coords if step.crops else step.box_model


def _look(number: int, step: LookStep, frame: Frame, box: tuple[float, ...], size_mm: tuple[float, ...] | None) -> Look:
    half = len(box) // 2
    first, last = _slices(step, frame)
    x1, y1, x2, y2 = (float(np.clip(v, -FAR, FAR)) for v in (*box[:2], *box[half : half + 2]))
    return Look(number, (number - 1) % len(TONES), step, box, (x1, y1, x2, y2), first, last, size_mm)


def _size(box: tuple[float, ...], to_voxel: NDArray[np.float64], geometry: Geometry) -> tuple[float, ...] | None:
    """Edge lengths of a box in millimetres; None without spacing or where the box has another dimension than the case."""
    n = to_voxel.shape[0]
    if geometry.spacing_mm is None or len(box) != 2 * n:
        return None
    voxels = np.abs(to_voxel[:, :n]).sum(axis=0)  # one entry a column is not zero: axes are permuted, never mixed
    return tuple(float((box[n + a] - box[a]) * voxels[a] * geometry.spacing_mm[a]) for a in range(n))


def _slices(step: LookStep, frame: Frame) -> tuple[int, int]:
    """Half-open range of slices on which a look is drawn: those cut, or those its z numbers name."""
    if step.slices:
        first, last = min(step.slices), max(step.slices) + 1
    elif len(step.box_model) == 6:
        first, last = int(np.floor(step.box_model[2])), int(np.ceil(step.box_model[5]))
    else:
        first, last = 0, frame.depth
    first = min(max(first, 0), frame.depth)
    return first, min(max(last, first), frame.depth)


def aspect_of(geometry: Geometry) -> float:
    """Width over height of a slice in the patient, or in pixels without spacing; between 1/5 and 5, so that it can be drawn."""
    height, width = geometry.shape[-2:]
    along_x, along_y = geometry.spacing_mm[:2] if geometry.spacing_mm is not None else (1.0, 1.0)
    return float(np.clip(width * along_x / (height * along_y), 0.2, 5.0))


def voxel_map(frame: Frame, geometry: Geometry) -> NDArray[np.float64]:
    """The affine from model coordinates to source indices, (n, n + 1) with n = 2 for an image and 3 for a volume.

    Raises:
        GeometryError: Frame and geometry differ in dimension.
    """
    n = len(geometry.order)
    return _affine_of(lambda point: model_to_voxel((*point, *point), frame, geometry)[:n], n)


def world_map(to_voxel: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64] | None:
    """The affine from model coordinates to LPS millimetres, (3, n + 1); None without an affine."""
    if geometry.affine_lps is None:
        return None
    n = to_voxel.shape[0]
    return _affine_of(lambda point: voxel_to_world((to_voxel @ [*point, 1.0]).tolist(), geometry), n)


def _affine_of(mapping: Callable[[list[float]], Sequence[float]], n: int) -> NDArray[np.float64]:
    """The matrix of an affine map of ``n`` coordinates, read off at the origin and one step along each axis."""
    origin = np.asarray(mapping([0.0] * n), dtype=np.float64)
    steps = [np.asarray(mapping([float(a == axis) for a in range(n)])) - origin for axis in range(n)]
    return np.column_stack([*steps, origin])


def _letters(direction: NDArray[np.float64]) -> str:
    """The patient letters a direction points to: the strongest, and the next if the direction is clearly oblique."""
    unit = direction / np.linalg.norm(direction)
    strongest = sorted(range(3), key=lambda axis: -abs(unit[axis]))
    return "".join(_TOWARDS[a][0 if unit[a] > 0 else 1] for n, a in enumerate(strongest[:2]) if n == 0 or abs(unit[a]) > 0.38)


def _edges(to_world: NDArray[np.float64]) -> tuple[str, str, str, str]:
    right, down = to_world[:, 0], to_world[:, 1]
    return _letters(-right), _letters(right), _letters(-down), _letters(down)


def _covered(stack: Stack, geometry: Geometry) -> tuple[tuple[int, int], ...]:
    """Coverage in source indices: canonical slices counted against their axis run backwards."""
    depth = geometry.shape[0]
    if not geometry.flips[2]:
        return tuple((int(a), int(b)) for a, b in stack.coverage)
    return tuple((depth - int(b), depth - int(a)) for a, b in stack.coverage)
