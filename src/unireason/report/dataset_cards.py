"""Sample cards of the data-set page: pictures with their boxes, question, options, grounded reasoning.

Which samples are shown depends on the data set alone: those that a check names, then some of every family and kind, those whose
identifiers hash lowest.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unireason.data.checks.run import Report
from unireason.data.dataset import Dataset
from unireason.data.extract.slices import axial
from unireason.data.frames import FrameRule
from unireason.data.item import Skipped, Source
from unireason.data.pictures import from_png, model_pictures
from unireason.data.question import LETTERS
from unireason.data.records import CaseRecord, SampleRecord
from unireason.errors import UniReasonError
from unireason.types import Box, Look

from .marks import mark
from .markup import escape, numbers
from .pixels import addresses, fit

MOST_FLAGGED = 6
"""Samples shown because a check names them."""
MOST = 24
"""Samples shown in all."""
_TONES = 8
_PICTURES = 3  # slices of a volume on one card
_LONGEST = 420  # pixels of the longer side
_BYTES = 90_000  # of the pictures of one card

Pictures = Mapping[int, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One sample of the page.

    Attributes:
        sample: The sample.
        case: Its case.
        problems: What checks say about it.
        pictures: Model slice to its picture; empty if none is at hand.
    """

    sample: SampleRecord
    case: CaseRecord
    problems: tuple[str, ...]
    pictures: Pictures


def choose(dataset: Dataset, source: Source | None, report: Report) -> list[Shown]:
    """The samples to show with all that belongs to them.

    Args:
        dataset: The data set; one that cannot be read gives no sample.
        source: Where pictures are read from if the data set does not embed them; None does without.
        report: What the checks found.
    """
    said: dict[str, list[str]] = {}
    for problem in report.problems:
        if problem.about == "sample":
            said.setdefault(problem.id, []).append(f"{problem.check}: {problem.detail}")
    try:
        samples = _samples(dataset, list(said)[:MOST_FLAGGED])
        wanted = {s.case for s in samples}
        cases = {c.scene.case: c for c in dataset.cases() if c.scene.case in wanted}
    except UniReasonError:
        return []
    samples = [s for s in samples if s.case in cases]
    slices: dict[str, set[int]] = {}
    for sample in samples:
        slices.setdefault(sample.case, set()).update(_slices(sample, cases[sample.case]))
    pictures = _pictures(dataset, source, cases, slices)
    return [
        Shown(
            s,
            cases[s.case],
            tuple(said.get(s.id, ())),
            {z: pictures[s.case, z] for z in _slices(s, cases[s.case]) if (s.case, z) in pictures},
        )
        for s in samples
    ]


def _samples(dataset: Dataset, flagged: Sequence[str]) -> list[SampleRecord]:
    """Flagged samples first, then every family and kind in turn."""
    named: dict[str, SampleRecord] = {}
    strata: dict[tuple[str, str], list[tuple[int, int, SampleRecord]]] = {}
    for number, sample in enumerate(dataset.samples()):
        if sample.id in flagged:
            named.setdefault(sample.id, sample)
            continue
        heap = strata.setdefault((sample.question.family, sample.kind), [])
        item = (-int(hashlib.sha256(sample.id.encode()).hexdigest()[:12], 16), number, sample)
        if len(heap) < 2:
            heapq.heappush(heap, item)
        elif item[:2] > heap[0][:2]:
            heapq.heapreplace(heap, item)
    ordered = [sorted(strata[key], key=lambda i: i[:2], reverse=True) for key in sorted(strata)]
    rest = [heap[turn][2] for turn in range(2) for heap in ordered if turn < len(heap)]
    chosen = rest[: max(0, MOST - len(named))]
    return [*named.values(), *sorted(chosen, key=lambda s: (s.question.family, s.kind, s.id))]


def _boxes(sample: SampleRecord) -> list[tuple[str, Box]]:
    """Boxes of a sample, each once, with their labels, in the order of the reasoning."""
    found = {look.box: look.label for look in reversed([p for p in sample.reasoning if isinstance(p, Look)])}
    boxes = [(label, box) for box, label in reversed(found.items())]
    if sample.box is not None and sample.box not in found:
        boxes.append((sample.category, sample.box))
    return boxes


def _slices(sample: SampleRecord, case: CaseRecord) -> list[int]:
    """Model slices that show every box, in the middle of a box each; the middle of the stack if there is no box."""
    depth = case.scene.frame.depth
    if case.scene.kind == "image":
        return [0]
    chosen: list[int] = []
    for _, box in _boxes(sample):
        first, last = _range(box, depth)
        if not any(first <= z < last for z in chosen):
            chosen.append((first + last - 1) // 2)
    return sorted(chosen[:_PICTURES]) or [depth // 2]


def _range(box: Box, depth: int) -> tuple[int, int]:
    """Model slices of a box, inside the stack; broken boxes are cut to it."""
    if len(box.coords) == 4:
        return 0, depth
    first = min(max(int(box.coords[2]), 0), depth - 1)
    return first, min(max(int(box.coords[5]), first + 1), depth)


def _pictures(
    dataset: Dataset, source: Source | None, cases: Mapping[str, CaseRecord], slices: Mapping[str, Iterable[int]]
) -> dict[tuple[str, int], NDArray[np.uint8]]:
    """Pictures by case and model slice: embedded ones, else from the source; cases that cannot be read have none."""
    found: dict[tuple[str, int], NDArray[np.uint8]] = {}
    wanted = {(case, z) for case, own in slices.items() for z in own}
    try:
        for image in dataset.images():
            if (image.case, image.slice) in wanted:
                found[image.case, image.slice] = from_png(image.png)
        if source is None or wanted <= set(found):
            return found
        missing = {c for c, _ in wanted - set(found)}
        for name, pictures in _loaded(source, dataset, [cases[c] for c in sorted(missing)]):
            found |= {(name, z): pictures[z] for z in slices[name] if z < len(pictures)}
    except (UniReasonError, OSError):
        return found
    return found


def _loaded(source: Source, dataset: Dataset, cases: Sequence[CaseRecord]) -> Iterator[tuple[str, Sequence[NDArray[np.uint8]]]]:
    """Model pictures of cases, read from the source; items that cannot be read are passed over."""
    rule = FrameRule.from_json(dataset.manifest.get("config", {}).get("frame"))
    waiting: dict[str, list[CaseRecord]] = {}
    for case in cases:
        waiting.setdefault(case.item, []).append(case)
    for item in source.items():
        if not waiting:
            return
        if isinstance(item, Skipped) or item.id not in waiting:
            continue
        own = waiting.pop(item.id)
        try:
            loaded = source.load(item)
            for case in own:
                yield case.scene.case, model_pictures((axial(loaded, case.slice) if case.slice >= 0 else loaded).case, rule)
        except UniReasonError:
            continue


def card(number: int, shown: Shown) -> str:
    """One sample as HTML."""
    sample, question = shown.sample, shown.sample.question
    kind = "3D" if sample.kind == "volume" else "2D"
    known = (kind, question.family.replace("_", " "), question.ask.replace("_", " "), sample.split)
    words = " · ".join(escape(word) for word in known if word)
    flaws = "".join(f'<li class="flaw">{escape(p)}</li>' for p in shown.problems)
    return (
        f'<li class="card sample {"volume" if kind == "3D" else "image"}{" flawed" if flaws else ""}"><div class="shots">'
        f'{_shots(shown)}</div><div class="text"><p class="kind">{words}</p><h3 id="sample-{number}">{escape(question.text)}</h3>'
        f"{_options(sample)}{_reasoning(sample)}{_answer(sample)}"
        f"{f'<ul>{flaws}</ul>' if flaws else ''}"
        f'<p class="origin">{escape(sample.id)} · {escape(sample.case)}</p></div></li>'
    )


def _options(sample: SampleRecord) -> str:
    question = sample.question
    rows = [
        f"<li{' class=right' if n == question.answer else ''}><b>{LETTERS[n] if n < len(LETTERS) else n}</b>{escape(option)}</li>"
        for n, option in enumerate(question.options)
    ]
    return f'<ul class="choices">{"".join(rows)}</ul>' if rows else ""


def _reasoning(sample: SampleRecord) -> str:
    """Text with its looks as numbered badges in the tone of their boxes."""
    order = {box: n for n, (_, box) in enumerate(_boxes(sample))}
    parts = []
    for part in sample.reasoning:
        if isinstance(part, str):
            parts.append(escape(part))
            continue
        n = order[part.box]
        gone = "" if part.seen else " gone"
        parts.append(f'<span class="look tone-{n % _TONES}{gone}"><b>{n + 1}</b>[{numbers(part.box.coords)}]</span>')
    return f'<p class="thought">{"".join(parts)}</p>'


def _answer(sample: SampleRecord) -> str:
    if sample.box is None:
        return f'<p class="reply"><b>{escape(sample.question.letter)}</b> {escape(sample.question.right)}</p>'
    points = " and ".join(f"({x}, {y})" for x, y in sample.points or ())
    return f'<p class="reply"><b>{escape(sample.category)}</b> [{numbers(sample.box.coords)}], points {points}</p>'


def _shots(shown: Shown) -> str:
    if not shown.pictures:
        return '<p class="none">no picture at hand</p>'
    order = sorted(shown.pictures)
    links = addresses([fit(shown.pictures[z], _LONGEST) for z in order], budget=_BYTES)
    return "".join(_shot(shown, z, link) for z, link in zip(order, links, strict=True))


def _shot(shown: Shown, z: int, link: str) -> str:
    """One picture in true proportions with its boxes and points; corners and sizes in pixels of the model frame."""
    scene = shown.case.scene
    width, height = scene.frame.width, scene.frame.height
    # The model frame may be squeezed: one of its pixels is so many times as high as wide.
    tall = (scene.extent[1] / height) / (scene.extent[0] / width) if min(scene.extent) > 0 else 1.0
    scale = 100 / max(width, height * tall)
    marks = []
    for n, (label, box) in enumerate(_boxes(shown.sample)):
        first, last = _range(box, scene.frame.depth)
        if first <= z < last:
            half = len(box.coords) // 2
            corners = (*box.coords[:2], *box.coords[half : half + 2])
            marks.append(mark(n + 1, label, corners, (scale, scale * tall), tone=n % _TONES))
    for x, y in shown.sample.points or ():
        place = f'cx="{(x + 0.5) * scale:.2f}" cy="{(y + 0.5) * scale * tall:.2f}"'
        marks.append(f'<circle class="pointhalo" {place} r="1.9"/><circle class="point" {place} r="1.3"/>')
    size = f'width="{width * scale:.2f}" height="{height * scale * tall:.2f}"'
    caption = f"<figcaption>slice {z} of {scene.frame.depth}</figcaption>" if scene.kind == "volume" else ""
    return (
        f'<figure><svg viewBox="0 0 {width * scale:.2f} {height * scale * tall:.2f}" role="img" aria-label="picture with boxes">'
        f'<image href="{link}" {size} preserveAspectRatio="none"/>{"".join(marks)}</svg>{caption}</figure>'
    )
