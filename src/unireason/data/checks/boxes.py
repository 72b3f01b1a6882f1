"""Check "boxes": what the response says about boxes is well-formed, inside the frame, and stands in the case.

It reads the response as a trainer would, by the one grammar, and holds it against the looks and the structures of the records. Whether
the structures themselves are right is the matter of check "masks".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unireason.data.frames import FrameRule
from unireason.data.records import CaseRecord, SampleRecord
from unireason.data.scene import Structure
from unireason.errors import FormatError
from unireason.grounding import grammar, umrg
from unireason.metrics.overlap import box_iou
from unireason.types import Box, Box2D, Frame, Look

from .findings import Findings

CHECK = "boxes"
MOST_LOOKS = 3
"""Looks of a question with options, as annotators promise."""
LEAST_IOU = 0.75
"""Least overlap of a published box with the tight box of its mask: one drawn with some margin has it, one on another scale has not."""
LOOSE = 2
"""Pixels by which each side may be off besides, as where the last pixel is counted in or out."""


def check_frame(case: CaseRecord, rule: FrameRule, found: Findings) -> None:
    """Check that the frame of a case is the one that the data set's rule gives, and that pictures of its size are fed as they are.

    Args:
        case: The case.
        rule: Frame rule of the data set.
        found: Takes what is wrong.
    """
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


def check_boxes(case: CaseRecord, sample: SampleRecord, found: Findings) -> None:
    """Check the boxes of one sample.

    Args:
        case: Its case.
        sample: The sample.
        found: Takes what is wrong.
    """
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
        elif look.seen and structure is not None and look.box not in _boxes(structure):
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
    reading = umrg.read(sample.response, way="strict")
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
    x1, y1, x2, y2 = sample.box.coords
    for x, y in sample.points:
        if not (x1 <= x < x2 and y1 <= y < y2):
            yield f"the point ({x}, {y}) lies outside the box {_text(sample.box)}"
    if sample.points[0] == sample.points[1]:
        yield "the two points are one"


def off_mask(box: Box2D, mask: NDArray[np.bool_]) -> str:
    """What parts a box from its mask, as the rest of a sentence; "" if they agree.

    Args:
        box: In pixels of the mask.
        mask: (Y, X), at least one pixel True.
    """
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


def _boxes(structure: Structure) -> list[Box]:
    """Boxes that a look at a structure may have: the whole, or one of its parts."""
    return [structure.box_model, *(p.box_model for p in structure.parts)]


def _size(frame: Frame) -> str:
    return " x ".join(str(n) for n in (frame.width, frame.height, frame.depth)[: 2 if frame.kind == "image" else 3])


def _text(box: Box) -> str:
    return f"[{','.join(f'{v:g}' for v in box.coords)}]"
