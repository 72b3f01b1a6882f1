"""From what a trace points at to masks: the places of its boxes in every space, and a frozen expert that outlines them.

It knows experts by their contract only (``segment.expert``), and neither files nor pages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Case, Frame, Geometry, Trace
from unireason.grounding import answer, crop
from unireason.imaging import geometry as maps
from unireason.segment.expert import Expert, Point, Prompt, Segmentation


@dataclass(frozen=True, slots=True)
class GroundPlace:
    """A box and points in one space.

    Attributes:
        box: Half-open, lower corner first; None if there is no usable one.
        points: As many as lie in the picture; at most two.
    """

    box: tuple[float, ...] | None
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class GroundTarget:
    """What the answer of an implicit question points at.

    Attributes:
        model: As the model wrote it: (x1, y1, x2, y2) and (x, y), pixels of the model frame; of a volume (x1, y1, z1, x2, y2, z2) and
            (x, y, z), z in model slices.
        canonical: The part of it that lies in the picture, which is what an expert is asked about. Canonical continuous indices: 4 and 2
            numbers; for a volume 6 and 3, and for one slice of it too, the box one slice thick and the points in its middle. A point
            names a pixel of the model frame, and the middle of that pixel is meant.
        voxel: The file's own index space, as many numbers.
        world_mm: LPS millimetres: bounds (x1, y1, z1, x2, y2, z2) of the box, and points (x, y, z). None without patient coordinates.
        slice: Canonical slice of the volume that was asked about; None for a picture, and for a volume that was asked about whole.
    """

    model: GroundPlace
    canonical: GroundPlace
    voxel: GroundPlace
    world_mm: GroundPlace | None
    slice: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """One place of a trace, outlined.

    Attributes:
        look: Number of the look in the trace, from 1; 0 for the answer of an implicit question.
        label: The words that name the look; "answer" for the answer.
        prompt: What the expert was asked.
        segmentation: What it found.
    """

    look: int
    label: str
    prompt: Prompt
    segmentation: Segmentation


def target(trace: Trace, case: Case, *, slice: int | None = None) -> GroundTarget:
    """Read the answer of an implicit question (``Reasoner.ground``) and place it; ``slice`` names that of a volume that was asked about.

    Its box is None if the answer has none, or one that is empty or outside the picture; points outside are left out. Trace,
    case and slice that do not belong together are a FormatError.
    """
    _check(trace, case, slice)
    reading, geometry = answer.read(trace.raw_text, dims=2 if trace.frame.kind == "image" else 3), case.geometry
    box = reading.box if reading.box is not None and crop.inner(reading.box, trace.frame) else None
    sizes = (trace.frame.width, trace.frame.height, trace.frame.depth)
    points = tuple(p for p in reading.points or () if all(0 <= v <= n for v, n in zip(p, sizes, strict=False)))
    model = GroundPlace(None if box is None else box.coords, points)
    used = None if box is None else crop.inner(box, trace.frame)
    canonical = _canonical(GroundPlace(None if used is None else used.coords, points), trace.frame, geometry, slice)
    voxel = GroundPlace(
        None if canonical.box is None else maps.canonical_box_to_voxel(canonical.box, geometry),
        tuple(maps.canonical_to_voxel(p, geometry) for p in canonical.points),
    )
    world = None
    if geometry.affine_lps is not None:
        bounds = None if voxel.box is None else maps.voxel_to_world_bounds(voxel.box, geometry)
        world = GroundPlace(bounds, tuple(maps.voxel_to_world(p, geometry) for p in voxel.points))
    return GroundTarget(model, canonical, voxel, world, slice)


def masks_of(trace: Trace, case: Case, expert: Expert, *, slice: int | None = None, propagate: bool = False) -> list[Marked]:
    """Outline what a trace points at: the answer of an implicit question, then every look that was executed, in order.

    Masks lie on the canonical grid of ``case``, which is the volume where a ``slice`` was asked about; ``propagate`` follows
    what is found there into its neighbours. A look is outlined inside the region that was cut, which lies in the picture even
    where the numbers do not. The frozen expert sees all places at once.

    Raises:
        FormatError: If trace, case and slice do not belong together.
        ModelError: If the expert cannot take the case.
    """
    if propagate and slice is None:
        raise FormatError("a mask that is to be followed without the slice on which it lies", "the slice that was asked about")
    _check(trace, case, slice)
    regions = [(0, "answer", target(trace, case, slice=slice).canonical)] if _answers_by_place(trace) else []
    for n, look in enumerate(trace.looks, 1):
        if look.executed:
            cut = GroundPlace(crop.extent(look.crops, trace.frame.kind).coords, ())
            regions.append((n, look.label, _canonical(cut, trace.frame, case.geometry, slice)))
    asked = []
    for n, label, place in regions:
        if place.box is not None:
            box, points = place.box, place.points
            if slice is not None:  # in plane where a slice is named
                box, points = (*box[:2], *box[3:5]), tuple(p[:2] for p in points)
            asked.append((n, label, Prompt(Box2D(*box) if len(box) == 4 else Box3D(*box), points, slice, propagate)))
    found = expert.segment(case, [prompt for *_, prompt in asked]) if asked else []
    return [Marked(*place, segmentation) for place, segmentation in zip(asked, found, strict=True)]


def _answers_by_place(trace: Trace) -> bool:
    """Whether the answer may name a place: a trace about a volume is mostly one of a question that is answered in words."""
    return trace.frame.kind == "image" or answer.read(trace.raw_text, dims=3).is_object


def _check(trace: Trace, case: Case, slice: int | None) -> None:
    if trace.frame.kind == "volume" and not (case.kind == "volume" and slice is None):
        raise FormatError("a trace about a volume", "the volume, and no slice")
    if trace.frame.kind == "image" and (case.kind == "volume") != (slice is not None):
        came = "a volume without" if slice is None else "a picture with"
        raise FormatError(f"a trace about one picture, {came} a slice", "a picture alone, or a volume and its slice")
    if slice is not None and not 0 <= slice < case.geometry.shape[0]:
        raise FormatError(f"slice {slice}", f"0 to {case.geometry.shape[0] - 1}")


def _canonical(model: GroundPlace, frame: Frame, geometry: Geometry, slice: int | None) -> GroundPlace:
    """A place of the model frame as canonical indices; a rectangle on a slice of a volume becomes one slice thick."""
    ends: tuple[tuple[float, ...], ...] = ((), (), ())
    if slice is not None:
        frame = replace(frame, depth=geometry.shape[0])
        ends = ((slice,), (slice + 1,), (slice + 0.5,))
    box = None
    if model.box is not None:
        half = len(model.box) // 2
        corners = (*model.box[:half], *ends[0]), (*model.box[half:], *ends[1])
        box = tuple(v for corner in corners for v in maps.model_to_canonical(corner, frame, geometry))
    sizes = (frame.width, frame.height, frame.depth)
    middles = [tuple(min(v + 0.5, n) for v, n in zip(p, sizes, strict=False)) for p in model.points]
    return GroundPlace(box, tuple(maps.model_to_canonical((*p, *ends[2]), frame, geometry) for p in middles))
