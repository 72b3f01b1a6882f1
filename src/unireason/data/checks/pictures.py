"""Checks "boxes", "leakage" and "pictures".

Check "boxes": what the response says about boxes is well-formed, inside the frame, and stands in the case. It reads the response as a
trainer would, by the one grammar, and holds it against the looks and the structures of the records. Whether the structures themselves
are right is the matter of check "masks".
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError, ImageReadError
from unireason.core.types import Box, Box2D, Frame, Look
from unireason.data.frames import FrameRule, from_png
from unireason.data.records import SPLITS, CaseRecord, ImageRecord, SampleRecord
from unireason.data.select import near_pairs
from unireason.grounding import answer, grammar
from unireason.metrics.boxes import box_iou

from .facts import LUMA, CheckFindings, MaskFacts

CHECK = "boxes"
MOST_LOOKS = 6
"""Looks of a question with options, as annotators promise."""
LEAST_IOU = 0.75
"""Least overlap of a published box with the tight box of its mask: one drawn with some margin has it, one on another scale has not."""
LOOSE = 2
"""Pixels by which each side may be off besides, as where the last pixel is counted in or out."""


def check_frame(case: CaseRecord, rule: FrameRule, found: CheckFindings) -> None:
    """Check that the frame of a case is the one that the data set's rule gives, and that pictures of its size are fed as they are."""
    scene = case.scene
    found.count(CHECK, "frames")
    try:
        right = rule.frame(scene.shape)
        held = rule.holds(scene.frame)
    except FormatError as error:
        found.add(CHECK, f"the picture fits no model frame: {error}", case=scene.case)
        return
    if right != scene.frame:
        found.add(CHECK, f"the frame is {_size(scene.frame)}, the configuration gives {_size(right)}", case=scene.case)
    if not held:
        found.add(CHECK, f"pictures of the frame {_size(scene.frame)} would be resized before they are fed", case=scene.case)


def check_boxes(case: CaseRecord, sample: SampleRecord, found: CheckFindings) -> None:
    """Check the boxes of one sample."""
    found.start(CHECK)
    looks = [p for p in sample.reasoning if isinstance(p, Look)]
    found.count(CHECK, "looks", len(looks))
    for detail in (*_response(case, sample, looks), *_looks(case, sample, looks), *_target(case, sample)):
        found.add(CHECK, detail, sample=sample.id)


def _response(case: CaseRecord, sample: SampleRecord, looks: list[Look]) -> Iterator[str]:
    """What is wrong with the response as text; there is none to a question without reasoning."""
    response = sample.response
    if not sample.annotator:
        return
    parsed = grammar.parse(response)
    for problem in (*parsed.problems, *grammar.tag_problems(response)):
        yield f"the response cannot be read: {problem.code} {problem.text[:60]!r}"
    read = [b.box.coords for b in parsed.boxes]
    if read != [tuple(map(float, look.box.coords)) for look in looks]:
        yield f"the response holds {len(read)} boxes that are not the {len(looks)} looks of the reasoning"
    if sample.task == "vqa" and case.scene.described and not 1 <= len(looks) <= MOST_LOOKS:
        yield f"{len(looks)} looks, expected 1 to {MOST_LOOKS}"


def _looks(case: CaseRecord, sample: SampleRecord, looks: list[Look]) -> Iterator[str]:
    """What is wrong with the looks against frame and structures."""
    scene = case.scene
    for look in looks:
        fault = box_fault(look.box, scene.frame)
        if fault:
            yield f"the box of '{look.label}' {fault}"
        if not scene.described:
            continue
        structure = scene.structures.get(look.label)
        if look.seen and structure is None:
            yield f"the look at '{look.label}' is at no structure of the case"
        elif (
            look.seen and structure is not None and look.box not in (structure.box_model, *(p.box_model for p in structure.parts))
        ):
            yield f"the look at '{look.label}' has {_text(look.box)}, the case has {_text(structure.box_model)}"
        elif not look.seen and structure is not None:
            yield f"'{look.label}' is called missing, but the case holds it"
    for name in sample.question.needs if scene.described else ():
        if name not in scene.structures:
            yield f"the answer needs '{name}', which is no structure of the case"


def _target(case: CaseRecord, sample: SampleRecord) -> Iterator[str]:
    """What is wrong with the box and the points of a boxed answer."""
    if sample.task != "umrg" or sample.box is None or sample.points is None:
        if sample.task == "umrg":
            yield "the boxed answer lacks its box or its points"
        return
    dims: Literal[2, 3] = 2 if sample.kind == "image" else 3
    if len(sample.box.coords) != 2 * dims or {len(point) for point in sample.points} != {dims}:
        yield f"the boxed answer has {len(sample.box.coords)} numbers and points of {[len(p) for p in sample.points]}"
        return
    reading = answer.read(sample.response, dims=dims, way="strict")
    if sample.annotator and (reading.box != sample.box or reading.points != sample.points):
        yield "the answer as written is not the box and the points of the record"
    fault = box_fault(sample.box, case.scene.frame)
    if fault:
        yield f"the box of the answer {fault}"
    structure = case.scene.structures.get(sample.category)
    if case.scene.described and structure is None:
        yield f"the target '{sample.category}' is no structure of the case"
    elif structure is not None and sample.box != structure.box_model:
        yield f"the answer has {_text(sample.box)}, '{sample.category}' has {_text(structure.box_model)}"
    low, high = sample.box.coords[:dims], sample.box.coords[dims:]
    for point in sample.points:
        if not all(a <= value < b for a, value, b in zip(low, point, high, strict=True)):
            yield f"the point {point} lies outside the box {_text(sample.box)}"
    if sample.points[0] == sample.points[1]:
        yield "the two points are one"


def off_mask(box: Box, mask: NDArray[np.bool_]) -> str:
    """What parts a box from its mask, as the rest of a sentence; "" if they agree."""
    rows, columns = np.nonzero(mask)
    tight = Box2D(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    near = all(abs(a - b) <= LOOSE for a, b in zip(box.coords, tight.coords, strict=True))
    overlap = box_iou(box, tight)
    return "" if near or overlap >= LEAST_IOU else f"is {_text(box)}, its mask fills {_text(tight)}: IoU {overlap:.2f}"


def box_fault(box: Box, frame: Frame) -> str:
    """What is wrong with a box in a frame, as the rest of a sentence; "" if it is whole, not empty, inside and of the right kind."""
    sizes = (frame.width, frame.height) if isinstance(box, Box2D) else (frame.width, frame.height, frame.depth)
    if isinstance(box, Box2D) != (frame.kind == "image"):
        return f"{_text(box)} does not fit the {frame.kind}"
    half = len(sizes)
    if any(v != int(v) for v in box.coords):
        return f"{_text(box)} is not made of whole numbers"
    if any(high <= low for low, high in zip(box.coords[:half], box.coords[half:], strict=True)):
        return f"{_text(box)} is empty or inverted"
    if min(box.coords[:half]) < 0 or any(v > size for v, size in zip(box.coords[half:], sizes, strict=True)):
        return f"{_text(box)} leaves the frame of {' x '.join(map(str, sizes))}"
    return ""


def _size(frame: Frame) -> str:
    return " x ".join(str(n) for n in (frame.width, frame.height, frame.depth)[: 2 if frame.kind == "image" else 3])


def _text(box: Box) -> str:
    return f"[{','.join(f'{v:g}' for v in box.coords)}]"


# --- Check "leakage": nothing of a patient, a case or a picture stands in two splits, and no question is asked twice.

LEAKAGE = "leakage"
NEAR = 12
"""Distance in bits up to which two pictures count as one, unless the manifest's configuration names another."""
REPEATS = 5
"""A whole response, boxes included, may come so many times, or in one percent of the samples."""


@dataclass(slots=True)
class Register:
    """Who stands where; a few dozen bytes a case and sixteen a sample."""

    patients: dict[str, str] = field(default_factory=dict)
    cases: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    strangers: int = 0
    _questions: array[int] = field(default_factory=lambda: array("Q"))
    _responses: array[int] = field(default_factory=lambda: array("Q"))

    def add_case(self, case: CaseRecord, found: CheckFindings) -> None:
        """Take one case in, and report a patient or a case that was in another split before."""
        scene, split = case.scene, case.split
        found.count(LEAKAGE, "cases")
        before = self.patients.setdefault(scene.patient, split) if scene.patient else split
        self.strangers += not scene.patient
        if before != split:
            found.add(LEAKAGE, f"the patient {scene.patient} is in {before} and in {split}", case=scene.case)
        if scene.case in self.cases:
            found.add(LEAKAGE, f"the case stands in {self.cases[scene.case]} and again in {split}", case=scene.case)
        self.cases[scene.case] = split
        if case.phash:
            self.hashes.setdefault(case.phash, {}).setdefault(split, scene.case)

    def add_sample(self, sample: SampleRecord, found: CheckFindings) -> None:
        """Take one sample in, and report one whose patient or case is in another split."""
        found.count(LEAKAGE, "samples")
        if self.cases.get(sample.case, sample.split) != sample.split:
            found.add(LEAKAGE, f"the sample is in {sample.split}, its case in {self.cases[sample.case]}", sample=sample.id)
        if self.patients.get(sample.patient, sample.split) != sample.split:
            where = self.patients[sample.patient]
            found.add(LEAKAGE, f"the sample is in {sample.split}, its patient {sample.patient} in {where}", sample=sample.id)
        question = sample.question
        self._questions.append(_number(sample.case, question.text, *sorted(question.options)))
        if sample.response:
            self._responses.append(_number(sample.response))

    def repeats(self, found: CheckFindings) -> None:
        """Report questions asked twice of one case and responses that come suspiciously often."""
        again = _counts(self._questions)
        if (again > 1).any():
            found.add(LEAKAGE, f"{int((again[again > 1] - 1).sum())} questions are asked again of the same case")
        most = int(_counts(self._responses).max(initial=0))
        if most > max(REPEATS, len(self._responses) // 100):
            found.add(LEAKAGE, f"one response, boxes included, comes {most} times in {len(self._responses)} samples")


def check_pictures(register: Register, near: int, found: CheckFindings) -> None:
    """Report pictures that are the same to the eye and stand in different splits."""
    found.start(LEAKAGE)
    for size in sorted({len(h) for h in register.hashes}):
        texts = sorted(h for h in register.hashes if len(h) == size)
        found.count(LEAKAGE, "pictures compared", len(texts))
        held = {text: {s: case for s, case in register.hashes[text].items() if s in SPLITS} for text in texts}
        places = [own for own in held.values() if own]
        for own in places:
            if len(own) > 1:
                _report(own, own, 0, found)
        try:
            codes = np.stack([np.frombuffer(bytes.fromhex(text), np.uint8) for text, own in held.items() if own])
        except ValueError:
            continue
        # Hashes of one and the same split cannot leak: they have one owner. One that is seen in several has an owner of its own.
        owners = np.array([SPLITS.index(next(iter(own))) if len(own) == 1 else len(SPLITS) + n for n, own in enumerate(places)])
        for a, b in sorted(set(near_pairs(codes, owners, near=near))):
            apart = int(np.unpackbits(codes[a] ^ codes[b]).sum())
            _report(places[a], places[b], apart, found)


def _report(first: dict[str, str], second: dict[str, str], apart: int, found: CheckFindings) -> None:
    """One finding for a pair of pictures: the earliest pair of different splits."""
    one, other = next((a, b) for a in SPLITS for b in SPLITS if a in first and b in second and a != b)
    detail = f"looks like {second[other]} of {other}, and is in {one}: {apart} bits apart"
    found.add(LEAKAGE, detail, case=first[one])


def _number(*texts: str) -> int:
    """64 bits that stand for a list of texts, the same on every machine."""
    return int.from_bytes(hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest(), "big")


def _counts(numbers: array[int]) -> NDArray[np.intp]:
    """How often each number comes."""
    values = np.sort(np.frombuffer(numbers, np.uint64)) if numbers else np.zeros(0, np.uint64)
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    return np.diff(np.concatenate(([0], edges, [len(values)]))).astype(np.intp) if len(values) else np.zeros(0, np.intp)


# --- Check "pictures": embedded pictures are whole, as large as the model frame, and their masks are those of the structures.

PICTURES = "pictures"
LEAST_DUPLICATE_IOU = 0.99
"""Least overlap of an embedded mask with the source's mask at the centres of the model pixels."""
MOST_APART = 10.0
"""Grey levels by which a picture may differ from the source on average: resizing may be done in several ways, but another picture lies
further away."""
_CELLS, _CELL_SIDE = 16, 4  # cells along an axis at most, and pixels along a cell at least


def check_picture_files(
    case: CaseRecord,
    images: Sequence[ImageRecord],
    samples: Sequence[SampleRecord],
    facts: MaskFacts | None,
    found: CheckFindings,
) -> None:
    """Check the embedded pictures of one case."""
    found.count(PICTURES, "pictures", len(images))
    frame = case.scene.frame
    if [i.slice for i in images] != list(range(frame.depth)):
        found.add(PICTURES, f"{len(images)} pictures, expected one for each of {frame.depth} model slices", case=case.scene.case)
    for image in images:
        for detail in _faults(case, image, facts):
            found.add(PICTURES, detail, case=case.scene.case)
        for sample in samples:
            mask = _read(dict(zip(image.mask_names, image.masks, strict=False)).get(sample.target, b""))
            if sample.box is not None and mask is not None and mask.ndim == 2 and mask.any():
                found.count(PICTURES, "boxed answers")
                apart = off_mask(sample.box, mask > 0)
                if apart:
                    found.add(PICTURES, f"the box of the answer {apart}", sample=sample.id)


def _faults(case: CaseRecord, image: ImageRecord, facts: MaskFacts | None) -> Iterator[str]:
    size = (case.scene.frame.height, case.scene.frame.width)
    picture = _read(image.png)
    if picture is None or picture.shape[:2] != size:
        what = "cannot be read" if picture is None else f"is {picture.shape[1]} x {picture.shape[0]}"
        yield f"the picture of slice {image.slice} {what}, expected {size[1]} x {size[0]}"
    elif facts is not None and image.slice == case.scene.frame.depth // 2:
        apart = _apart(picture, image.slice, facts)
        if apart > MOST_APART:
            yield f"the picture of slice {image.slice} differs from the source by {apart:.0f} grey levels on average"
    names = tuple(case.scene.structures) if case.scene.kind == "image" else ()
    if not case.scene.described:
        names = image.mask_names
    if image.mask_names != names or len(image.masks) != len(names):
        yield f"the masks are those of {list(image.mask_names)}, the structures are {list(names)}"
        return
    for name, data in zip(names, image.masks, strict=True):
        mask = _read(data)
        if mask is None or mask.shape != size or not set(np.unique(mask).tolist()) <= {0, 255}:
            yield f"the mask of '{name}' is no picture of 0 and 255 of the frame's size"
            continue
        if case.scene.described:
            yield from _against(case, name, mask > 0, facts)
        elif not mask.any():
            yield f"the mask of '{name}' is empty"


def _apart(picture: NDArray[np.uint8], z: int, facts: MaskFacts) -> float:
    """Mean difference in grey levels of a picture from the source, both averaged over a coarse grid."""
    if facts.dimensions == 3:
        depth, planes = facts.scene.frame.depth, facts.shape[0]
        # The planes that model slice z touches.
        covered = slice(z * planes // depth, max(-(-(z + 1) * planes // depth), z * planes // depth + 1))
        truth = facts.grey(covered).mean(axis=0)
    else:
        truth = facts.grey()
    shown = picture.astype(float) @ np.array(LUMA) if picture.ndim == 3 else picture.astype(float)
    cells = [max(min(pair) // _CELL_SIDE, 1) for pair in zip(shown.shape, truth.shape, strict=True)]
    return float(np.abs(_coarse(shown, cells) - _coarse(truth, cells)).mean())


def _coarse(grey: NDArray[np.float64], cells: Sequence[int]) -> NDArray[np.float64]:
    """Means over a grid of cells, at most 16 along an axis; a pixel counts in each by its share of it."""
    for n, wanted in zip(grey.shape, cells, strict=True):
        ends, pixel = np.linspace(0, n, min(wanted, _CELLS) + 1), np.arange(n)
        share = np.minimum(ends[1:, None], pixel + 1) - np.maximum(ends[:-1, None], pixel)
        grey = (np.clip(share, 0, None) @ grey / ends[1]).T
    return grey


def _against(case: CaseRecord, name: str, mask: NDArray[np.bool_], facts: MaskFacts | None) -> Iterator[str]:
    """What is wrong with a mask against the record's box and the source's mask."""
    index = np.where(mask)[::-1]
    box = case.scene.structures[name].box_model.coords
    if len(index[0]) == 0:
        yield f"the mask of '{name}' is empty"
        return
    ends = (*(int(i.min()) for i in index), *(int(i.max()) + 1 for i in index))
    if any(abs(a - b) > 1 for a, b in zip(ends, box, strict=True)):
        yield f"the mask of '{name}' fills {list(ends)}, its box is {[int(v) for v in box]}"
    if facts is None or name not in facts.present():
        return
    rows, columns = ([int((p + 0.5) * n / m) for p in range(m)] for n, m in zip(facts.shape, mask.shape, strict=True))
    truth = facts.mask(name)[rows][:, columns]
    overlap = int(np.count_nonzero(truth & mask)) / max(int(np.count_nonzero(truth | mask)), 1)
    if overlap < LEAST_DUPLICATE_IOU:
        yield f"the mask of '{name}' has an IoU of {overlap:.3f} with the source's"


def _read(data: bytes) -> NDArray[np.uint8] | None:
    try:
        return from_png(data)
    except ImageReadError:
        return None
