"""The page of a checked data set: the verdict, what each check saw, the text-only audit, how the data are spread, and samples to look at.

One file that needs no network, no server and no script.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from unireason.core.errors import UniReasonError
from unireason.core.store import write_bytes
from unireason.core.types import Box, Look
from unireason.data.checks.run import Report
from unireason.data.checks.text import FEW, FEW_PATIENTS
from unireason.data.dataset import Dataset
from unireason.data.frames import FrameRule, from_png, model_pictures
from unireason.data.item import CaseSource
from unireason.data.reader import CaseReader
from unireason.data.records import SPLITS, CaseRecord, SampleRecord
from unireason.data.scene import FAMILIES, IMPLICIT, LETTERS, family_name

from .html import addresses, escape, fit, page, part, plural

# --- Sample cards of the data-set page: pictures with their boxes, question, options, grounded reasoning.


MOST_FLAGGED = 6
"""Samples shown because a check names them."""
MOST = 24
"""Samples shown in all."""
_PICTURES = 6  # slices of a volume on one card
_LONGEST = 420  # pixels of the longer side
_BYTES = 90_000  # of the pictures of one card

Pictures = Mapping[int, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class CardShown:
    """One sample of the page."""

    sample: SampleRecord
    case: CaseRecord
    problems: tuple[str, ...]
    pictures: Pictures


def choose(dataset: Dataset, source: CaseSource | None, report: Report) -> list[CardShown]:
    """The samples to show with all that belongs to them."""
    said: dict[str, list[str]] = {}
    for problem in report.problems:
        if problem.about == "sample":
            said.setdefault(problem.id, []).append(f"{problem.check}: {problem.detail}")
    try:
        return choose_samples(dataset, source, _samples(dataset, list(said)[:MOST_FLAGGED]), said)
    except UniReasonError:
        return []


def choose_samples(
    dataset: Dataset, source: CaseSource | None, samples: Sequence[SampleRecord], said: Mapping[str, Sequence[str]] | None = None
) -> list[CardShown]:
    """Samples of a data set with their cases and pictures, and what is wrong with them by identifier."""
    said, wanted = said or {}, {s.case for s in samples}
    cases = {c.scene.case: c for c in dataset.cases() if c.scene.case in wanted}
    samples = [s for s in samples if s.case in cases]
    slices: dict[str, set[int]] = {}
    for sample in samples:
        slices.setdefault(sample.case, set()).update(_slices(sample, cases[sample.case]))
    pictures = _pictures(dataset, source, cases, slices)
    return [
        CardShown(
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
    dataset: Dataset, source: CaseSource | None, cases: Mapping[str, CaseRecord], slices: Mapping[str, Iterable[int]]
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


def _loaded(
    source: CaseSource, dataset: Dataset, cases: Sequence[CaseRecord]
) -> Iterator[tuple[str, Sequence[NDArray[np.uint8]]]]:
    """Model pictures of cases, read from the source; items that cannot be read are passed over."""
    rule = FrameRule.from_json(dataset.manifest.get("config", {}).get("frame"))
    reader = CaseReader(source, (case.item for case in cases))
    for case in cases:
        with suppress(UniReasonError):
            yield case.scene.case, model_pictures(reader.load(case.item, case.slice).case, rule)


def _card(number: int, shown: CardShown) -> Markup:
    """One sample as HTML: its pictures in true proportions with boxes and points, drawn 100 units along the longer side."""
    scene, boxes = shown.case.scene, _boxes(shown.sample)
    width, height = scene.frame.width, scene.frame.height
    # The model frame may be squeezed: one of its pixels is so many times as high as wide.
    tall = (scene.extent[1] / height) / (scene.extent[0] / width) if min(scene.extent) > 0 else 1.0
    scale = 100 / max(width, height * tall)
    order = sorted(shown.pictures)
    links = addresses([fit(shown.pictures[z], _LONGEST) for z in order], budget=_BYTES)
    shots = []
    for z, link in zip(order, links, strict=True):
        own = []
        for n, (label, box) in enumerate(boxes):
            first, last = _range(box, scene.frame.depth)
            half = len(box.coords) // 2
            own += [(n, label, (*box.coords[:2], *box.coords[half : half + 2]))] if first <= z < last else []
        # A point of a volume is drawn on its own slice.
        points = [((x + 0.5) * scale, (y + 0.5) * scale * tall) for x, y, *on in shown.sample.points or () if on in ([], [z])]
        shots.append((z, link, width * scale, height * scale * tall, (scale, scale * tall), own, points))
    places = {box: n for n, (_, box) in enumerate(boxes)}
    return part("sample", shown, number, LETTERS, places, shots, shown.sample.reasoning, of="cards.html")


# --- The page.


_KINDS = {"image": "2D images", "volume": "3D volumes"}
_ABOUT = {
    "files": "every file is as the manifest lists it, and the counts agree",
    "boxes": "every box parses, lies inside its frame and stands in its case",
    "masks": "boxes, sizes, places and parts measured again from the masks",
    "pictures": "embedded pictures and masks are whole and fit",
    "answers": "every answer worked out again: right is right, all others are wrong",
    "claims": "what the reasoning says is true of the case and can be seen",
    "balance": "letters, yes and no, families, splits",
    "leakage": "no patient, case or picture in two splits, no question twice",
    "shortcut": "the text alone does not tell the answer",
}


def write(report: Report, dataset: Dataset, source: CaseSource | None, path: str | os.PathLike[str]) -> Path:
    """Write the page.

    Args:
        report: What the checks found.
        dataset: The data set, for samples to show.
        source: Where their pictures are read from if they are not embedded; None does without pictures.
        path: The HTML file; it is replaced at once when the page is ready.

    Returns:
        The path written.

    Raises:
        UniReasonError: If the file cannot be written.
    """
    shown = choose(dataset, source, report)
    spread, manifest = report.distribution, dataset.manifest
    title = str(manifest.get("title") or report.dataset)
    problems = plural(sum(report.counts.values()), "problem")
    verdict = '<span class="good">sound</span>' if report.ok else f'<span class="bad">{problems}</span>'
    present = {s.sample.kind for s in shown} | {"flawed" for s in shown if s.problems}
    choices = (("image", "2D"), ("volume", "3D"), ("flawed", "With problems"))
    samples, cases = (sum(spread[key].values()) for key in ("families", "cases"))
    facts = [f"{plural(samples, 'sample')} on {plural(cases, 'case')}"]
    facts += [f"licence {manifest['licence']}"] if manifest.get("licence") else []
    facts += ["measured again from the masks" if report.masks else "masks not opened"]
    found: Counter[tuple[str, str, str]] = Counter()
    for key, n in spread["families"].items():
        family, kind, split = key.split("/")
        found[family, kind, split] = n
    families = []
    for family in (*FAMILIES, IMPLICIT, *([""] if any(not family for family, _, _ in found) else [])):
        own = [found[family, kind, split] for kind in _KINDS for split in SPLITS]
        families.append((family, [*own, sum(own)]))
    letters = []  # share of right answers by letter, a group for every number of options
    for size in sorted({int(key.split("/")[0]) for key in spread["letters"]}):
        held = {key.split("/")[1]: n for key, n in spread["letters"].items() if int(key.split("/")[0]) == size}
        letters += [(letter, size, n, n / sum(held.values())) for letter, n in held.items()]
    ranked = {key: sorted(spread[key].items(), key=lambda pair: (-pair[1], pair[0])) for key in ("modalities", "structures")}
    filled = page(
        "dataset.html",
        about="data check",
        title=f"{title}, checked",
        heading=Markup(f"{escape(title)}: {verdict}"),
        facts=" \u00b7 ".join(facts),
        report=report,
        meanings=_ABOUT,
        # The text-only audit may have had too little to judge any family.
        unjudged=all(result["too_few"] for result in report.shortcut.values()),
        few=FEW,
        few_patients=FEW_PATIENTS,
        family_name=family_name,
        kinds=_KINDS,
        splits=SPLITS,
        families=families,
        letters=letters,
        choices=[("all", "All"), *(choice for choice in choices if choice[0] in present)],
        parts=[_card(n, s) for n, s in enumerate(shown)],
        provenance={"Content": report.content_sha256, "Command": manifest.get("command")},
        modalities=ranked["modalities"],
        structures=ranked["structures"],
    )
    return write_bytes(path, filled)
