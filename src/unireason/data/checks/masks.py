"""Check "masks": the records are held against the source's masks, opened again and measured by plain slow code.

Every structure of every chosen case is measured anew (``facts.MaskFacts``), mapped to the model frame, and compared with what the record
says of it; every look and every key point of a sample is compared with the mask it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from unireason.core.errors import UniReasonError
from unireason.core.types import Look
from unireason.data.item import CaseSource, Item, Loaded
from unireason.data.names import counterpart, known, readable
from unireason.data.reader import CaseReader
from unireason.data.records import CaseRecord, SampleRecord
from unireason.data.scene import Scene, Structure
from unireason.metrics.boxes import box_iou

from .facts import CheckFindings, MaskFacts, rounded_like, to_model

CHECK = "masks"
LEAST_IOU = 0.99
"""Least overlap of a look with the recomputed box on whole model pixels."""
RELATIVE = 1e-6
"""Sizes and places may differ by rounding only."""
GREY = 1.0
"""Grey levels by which a contrast may differ."""
GIVE_UP = 20
"""Missing items after which the source is taken for another one."""

BORDERS = {
    "patient": (("right", "left"), ("anterior", "posterior"), ("inferior", "superior")),
    "picture": (("left", "right"), ("top", "bottom"), ("first slice", "last slice")),
}
"""Names of the borders at the lower and upper end of each axis."""

_FAR = 0.03  # of the width: how far a midline worked out again may lie from the record's
_MIDLINE = 0.02  # of the width: nearer to the middle a centre lies on neither side


class OpenedMasks:
    """A source read along with the cases: items are found in order, and an item that gives several cases is loaded once."""

    def __init__(self, source: CaseSource) -> None:
        self._source = source
        self._reader = CaseReader(source)
        self._loaded: Loaded | None = None
        self._failed = ""
        self._missing = 0

    def facts(self, case: CaseRecord, found: CheckFindings) -> MaskFacts | None:
        """The facts of a case from its masks; None if it cannot be loaded, which is then a problem."""
        if self._failed == case.item:
            return None
        if self._loaded is None or self._loaded.item.id != case.item:
            try:
                item = self._find(case.item)
            except LookupError:
                found.add(CHECK, f"the source has no usable item {case.item}", case=case.scene.case)
                self._failed = case.item
                return None
            try:
                self._loaded = self._source.load(item)
            except UniReasonError as error:
                found.add(CHECK, f"the item cannot be loaded: {error}", case=case.scene.case)
                self._failed, self._loaded = case.item, None
                return None
        facts = MaskFacts(self._loaded, case.slice, case.scene, window=case.window)
        for detail in _frame(case, facts, self._loaded):
            found.add(CHECK, detail, case=case.scene.case)
        return facts if facts.shape == case.scene.shape else None

    def _find(self, wanted: str) -> Item:
        """The item of an identifier, searched from where the last one was and once more from the beginning."""
        if self._missing >= GIVE_UP:
            raise UniReasonError(
                f"the source lacks {GIVE_UP} items of the data set", "the source that it was built from", "give --root"
            )
        item = self._reader.find(wanted)
        if item is None:
            self._missing += 1
            raise LookupError(wanted)
        return item


def _frame(case: CaseRecord, facts: MaskFacts, loaded: Loaded) -> Iterator[str]:
    """What is wrong with shape, spacing and file."""
    scene = case.scene
    if facts.shape != scene.shape:
        yield f"the source has the shape {facts.shape}, the record {scene.shape}"
        return
    if (facts.spacing is None) != (scene.spacing_mm is None) or not _close(facts.spacing or (), scene.spacing_mm or ()):
        yield f"the spacing is {scene.spacing_mm}, the source has {facts.spacing}"
    if _space(case, facts) != scene.space:
        yield f"directions are said to be of the {scene.space}, the source gives those of the {_space(case, facts)}"
    digest = loaded.case.source.sha256
    if case.sha256 != digest:
        yield f"the image file has the SHA-256 {digest[:12]}…, the record says {case.sha256[:12]}…"
    if loaded.item.patient != scene.patient:
        yield f"the source says patient {loaded.item.patient}, the record {scene.patient}"
    annotated = {readable(name) for name in loaded.item.annotated}
    there = facts.present()
    for name in sorted(annotated - there - set(scene.absent)):
        yield f"'{name}' is annotated and has no voxel, but is not listed as absent"
    for name in sorted(set(scene.absent)):
        if name in there:
            yield f"'{name}' is listed as absent, but its mask has {facts.where(name)[3]} voxels"
        elif name not in annotated:
            yield f"'{name}' is listed as absent, but the source does not annotate it"


def check_case(case: CaseRecord, facts: MaskFacts, found: CheckFindings) -> None:
    """Hold the structures of a case against their masks."""
    found.count(CHECK, "cases")
    scene = case.scene
    there = facts.present()
    for name in sorted(there - set(scene.structures) - set(scene.unclear)):
        found.add(CHECK, f"'{name}' has a mask, but is not in the record", case=scene.case)
    for name in sorted(set(scene.unclear) - there):
        found.add(CHECK, f"'{name}' is listed as unclear, but has no mask", case=scene.case)
    for detail in _midline(scene, facts):
        found.add(CHECK, detail, case=scene.case)
    for name, structure in scene.structures.items():
        found.count(CHECK, "structures")
        if name not in there:
            found.add(CHECK, f"'{name}' is in the record, but has no mask", case=scene.case)
            continue
        for detail in (*_places(structure, facts), *_shapes(structure, facts)):
            found.add(CHECK, f"'{name}': {detail}", case=scene.case)


def _places(structure: Structure, facts: MaskFacts) -> Iterator[str]:
    """What is wrong with boxes, slices, centre and side."""
    low, high, _, voxels = facts.where(structure.name)
    if structure.box_canonical != (*low, *high):
        yield f"the record has the voxel box {structure.box_canonical}, the mask {(*low, *high)}"
    overlap = box_iou(structure.box_model, rounded_like(facts.box(structure.name), facts.scene.frame, structure.box_model))
    if overlap < LEAST_IOU:
        yield f"its model box has an IoU of {overlap:.3f} with the mask's"
    if structure.voxels != voxels:
        yield f"the record has {structure.voxels} voxels, the mask {voxels}"
    if not _close((structure.measure,), (facts.measure(structure.name),)):
        yield f"the record has the size {structure.measure:g}, the mask {facts.measure(structure.name):g}"
    centre = facts.centre(structure.name)
    if not _close(structure.centre, centre, scale=max(facts.scene.extent)):
        yield f"the record has the centre {_short(structure.centre)}, the mask {_short(centre)}"
    side = _side(centre, facts)
    if side is not None and structure.side != side:
        yield f"the record says side '{structure.side}', the mask '{side}'"
    for point in structure.points:
        if not point_inside(point, structure.name, facts):
            yield f"the key point {point} lies outside the mask"


def _shapes(structure: Structure, facts: MaskFacts) -> Iterator[str]:
    """What is wrong with components, slices, borders and contrast."""
    sizes = facts.component_sizes(structure.name)
    if structure.part_count != facts.components(structure.name):
        yield f"the record has {structure.part_count} components, the mask {facts.components(structure.name)}"
    listed = [p.voxels for p in structure.parts]
    if listed != sizes[: len(listed)]:
        yield f"the record's components have {listed[:5]} voxels, the mask's {sizes[:5]}"
    if structure.slices != facts.slices(structure.name):
        yield f"the record has the slices {structure.slices}, the mask {facts.slices(structure.name)}"
    low, high, _, _ = facts.where(structure.name)
    ends = zip(BORDERS[facts.scene.space], low, high, facts.shape[::-1], strict=False)
    touched = [name for names, a, b, n in ends for name, hit in zip(names, (a == 0, b == n), strict=True) if hit]
    if set(structure.borders) != set(touched):
        yield f"the record has the borders {list(structure.borders)}, the mask touches {touched}"
    contrast = facts.contrast(structure.name)
    if abs(contrast - structure.contrast) > GREY:
        yield f"the record has the contrast {structure.contrast:g}, the pixels {contrast:.1f}"


def check_sample(case: CaseRecord, sample: SampleRecord, facts: MaskFacts, found: CheckFindings) -> None:
    """Hold the looks, and the box and points of a boxed answer, against the masks."""
    there = facts.present()
    for look in (p for p in sample.reasoning if isinstance(p, Look)):
        found.count(CHECK, "looks")
        if look.seen != (look.label in there):
            seen = "seen" if look.seen else "missing"
            found.add(
                CHECK,
                f"'{look.label}' is called {seen}, its mask has {np.count_nonzero(facts.mask(look.label))} voxels",
                sample=sample.id,
            )
        elif look.seen:
            overlap = _overlap(look, case, facts)
            if overlap < LEAST_IOU:
                found.add(CHECK, f"the look at '{look.label}' has an IoU of {overlap:.3f} with its mask's box", sample=sample.id)
    if sample.box is None or sample.points is None or sample.category not in there:
        return
    found.count(CHECK, "boxed answers")
    overlap = box_iou(sample.box, rounded_like(facts.box(sample.category), facts.scene.frame, sample.box))
    if overlap < LEAST_IOU:
        found.add(CHECK, f"the box of the answer has an IoU of {overlap:.3f} with the mask's box", sample=sample.id)
    for point in sample.points:
        if not point_inside(point, sample.category, facts):
            found.add(CHECK, f"the point {point} lies outside the mask of '{sample.category}'", sample=sample.id)


def _overlap(look: Look, case: CaseRecord, facts: MaskFacts) -> float:
    """IoU of a look with the structure's box, or with that of the component it is at."""
    frame = facts.scene.frame
    if len(look.box.coords) != 2 * facts.dimensions:
        return 0.0
    whole = box_iou(look.box, rounded_like(facts.box(look.label), frame, look.box))
    structure = case.scene.structures.get(look.label)
    parts = [p for p in structure.parts if p.box_model == look.box] if structure else []
    if whole >= LEAST_IOU or not parts:
        return whole
    labels, count = ndimage.label(facts.mask(look.label), np.ones((3,) * facts.dimensions))
    for number in range(1, count + 1):
        index = np.where(labels == number)[::-1]
        part = to_model([int(i.min()) for i in index], [int(i.max()) + 1 for i in index], facts.shape, frame)
        whole = max(whole, box_iou(look.box, rounded_like(part, frame, look.box)))
    return whole


def point_inside(point: tuple[int, ...], name: str, facts: MaskFacts) -> bool:
    """True if the model pixel of a point shows at least one voxel of a structure."""
    frame, sizes = facts.scene.frame, facts.shape[::-1]
    if len(point) != len(sizes):
        return False
    block = []
    for p, m, n in zip(point, (frame.width, frame.height, frame.depth), sizes, strict=False):
        if not 0 <= p < m:
            return False
        block.append(slice(int(p * n / m), max(int(np.ceil((p + 1) * n / m)), int(p * n / m) + 1)))
    return bool(facts.mask(name)[tuple(block[::-1])].any())


def _side(centre: tuple[float, ...], facts: MaskFacts) -> str | None:
    """Side of the midline in patient terms; None where the dead zone's edge is too near to tell."""
    if facts.scene.space == "picture":
        return ""
    if not facts.scene.midline.found:
        return ""
    edge, off = _MIDLINE * facts.shape[-1] * facts.steps[0], centre[0] - facts.scene.midline.offset
    if abs(abs(off) - edge) < 1e-6 * max(edge, 1.0):
        return None
    if abs(off) < edge:
        return "midline"
    return "left" if off > 0 else "right"


def _midline(scene: Scene, facts: MaskFacts) -> Iterator[str]:
    """What is wrong with the midline: it is that of the spine, or runs between organs that come in pairs, or at least within the body."""
    off, width = scene.midline.offset, scene.extent[0]
    if scene.midline.found == "spine":
        spine = [n for n, s in scene.structures.items() if known(n).midline and not {"left", "right"} & set(s.borders)]
        sizes = {n: facts.where(n)[3] for n in spine}
        middle = sum(facts.centre(n)[0] * size for n, size in sizes.items()) / max(sum(sizes.values()), 1)
        if not spine or abs(middle - off) > _FAR * width:
            yield f"the midline is said to be that of the spine at {off:.1f}, whose masks have {middle:.1f}"
    elif scene.midline.found == "paired organs":
        pairs = [(n, o) for n in scene.structures if (o := counterpart(n)) in scene.structures and n < o]
        if not any(min(a, b) < off < max(a, b) for a, b in ((facts.centre(n)[0], facts.centre(o)[0]) for n, o in pairs)):
            yield f"the midline at {off:.1f} runs between no two organs that come in a pair"
    elif scene.midline.found == "macula":
        maculas = [facts.centre(n)[0] for n in scene.structures if known(n).what == "macula"]
        if not any(abs(middle - off) <= _FAR * width for middle in maculas):
            yield f"the midline is said to be that of the macula at {off:.1f}, whose masks have {maculas}"
    elif abs(off) > width / 4:
        yield f"the midline lies {off:.1f} from the middle of a picture of {width:.1f}"


def _space(case: CaseRecord, facts: MaskFacts) -> str:
    """Whether x runs to the patient's left and y to the back ("patient"), as the affine tells."""
    if facts.world is None:
        return "picture"
    if case.scene.kind == "volume" or case.slice >= 0:
        return "patient"
    x, y = facts.world[:, 0], facts.world[:, 1]
    return "patient" if x[0] >= abs(x).max() and y[1] >= abs(y).max() else "picture"


def _close(a: tuple[float, ...], b: tuple[float, ...], scale: float = 0.0) -> bool:
    """Equal up to rounding; ``scale`` is the size of what is measured, for numbers that may be near zero."""
    return len(a) == len(b) and all(abs(x - y) <= RELATIVE * max(abs(x), abs(y), scale) for x, y in zip(a, b, strict=True))


def _short(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{v:.2f}' for v in values)})"
