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
from typing import Any

import numpy as np
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

from .html import addresses, bar, escape, figure, filters, fit, interval_text, numbers, percent, plural, row, sheet, table
from .trace import mark

# --- Sample cards of the data-set page: pictures with their boxes, question, options, grounded reasoning.


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


def card(number: int, shown: CardShown) -> str:
    """One sample as HTML."""
    sample, question = shown.sample, shown.sample.question
    kind = "3D" if sample.kind == "volume" else "2D"
    known = (kind, question.family.replace("_", " "), question.ask.replace("_", " "), sample.split)
    words = " · ".join(escape(word) for word in known if word)
    flaws = "".join(f'<li class="flaw">{escape(p)}</li>' for p in shown.problems)
    rows = [
        f"<li{' class=right' if n == question.answer else ''}><b>{LETTERS[n] if n < len(LETTERS) else n}</b>{escape(option)}</li>"
        for n, option in enumerate(question.options)
    ]
    options = f'<ul class="choices">{"".join(rows)}</ul>' if rows else ""
    order = sorted(shown.pictures)
    links = addresses([fit(shown.pictures[z], _LONGEST) for z in order], budget=_BYTES)
    shots = (
        "".join(_shot(shown, z, link) for z, link in zip(order, links, strict=True)) or '<p class="none">no picture at hand</p>'
    )
    if sample.box is None:
        answer = f"<b>{escape(question.letter)}</b> {escape(question.right)}"
    else:
        points = " and ".join(f"({x}, {y})" for x, y in sample.points or ())
        answer = f"<b>{escape(sample.category)}</b> [{numbers(sample.box.coords)}], points {points}"
    return (
        f'<li class="card sample {"volume" if kind == "3D" else "image"}{" flawed" if flaws else ""}"><div class="shots">'
        f'{shots}</div><div class="text"><p class="kind">{words}</p><h3 id="sample-{number}">{escape(question.text)}</h3>'
        f'{options}{_reasoning(sample)}<p class="reply">{answer}</p>'
        f"{f'<ul>{flaws}</ul>' if flaws else ''}"
        f'<p class="origin">{escape(sample.id)} · {escape(sample.case)}</p></div></li>'
    )


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


def _shot(shown: CardShown, z: int, link: str) -> str:
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
    caption = f"slice {z} of {scene.frame.depth}" if scene.kind == "volume" else ""
    return figure("picture with boxes", link, (width * scale, height * scale * tall), "".join(marks), caption=caption)


# --- The page.


_MOST_STRUCTURES = 24
_KINDS = (("image", "2D images"), ("volume", "3D volumes"))
_ABOUT = {
    "files": "every file is as the manifest lists it, and the counts agree",
    "boxes": "every box parses, lies inside its frame and stands in its case",
    "masks": "boxes, sizes, places and parts measured again from the masks",
    "pictures": "embedded pictures and masks are whole and fit",
    "answers": "every answer worked out again: right is right, all others are wrong",
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
    total = sum(report.counts.values())
    manifest = dataset.manifest
    title = str(manifest.get("title") or report.dataset)
    verdict = '<span class="good">sound</span>' if report.ok else f'<span class="bad">{plural(total, "problem")}</span>'
    present = {s.sample.kind for s in shown} | {"flawed" for s in shown if s.problems}
    choices = [(key, name) for key, name in (("image", "2D"), ("volume", "3D"), ("flawed", "With problems")) if key in present]
    rubric = f"{plural(len(shown), 'sample')} to look at" if shown else "No sample to look at"
    body = [
        f'<section class="card panel"><h2>Checks</h2>{_checks(report)}</section>',
        f'<section class="card panel"><h2>What the text alone tells</h2>{_shortcut(report)}</section>',
        f'<div class="panels">{_spread(report)}</div>',
        f'<h2 class="rubric">{rubric}</h2>',
        filters([("all", "All"), *choices], "only"),
        f'<ul class="samples">{"".join(card(n, s) for n, s in enumerate(shown))}</ul>',
    ]
    heading = f"{escape(title)}: {verdict}"
    page = sheet("data check", f"{escape(title)}, checked", _facts(report, manifest), body, sheets=("dataset",), heading=heading)
    return write_bytes(path, page)


def _facts(report: Report, manifest: Mapping[str, Any]) -> str:
    cases = sum(report.distribution["cases"].values())
    samples = sum(report.distribution["families"].values())
    facts = [f"{plural(samples, 'sample')} on {plural(cases, 'case')}"]
    facts += [f"licence {manifest['licence']}"] if manifest.get("licence") else []
    facts.append("measured again from the masks" if report.masks else "masks not opened")
    facts += [f"content {report.content_sha256[:12]}"] if report.content_sha256 else []
    line = " · ".join(escape(f) for f in facts)
    command = manifest.get("command")
    return f"{line}<br><code>{escape(command)}</code>" if command else line


def _checks(report: Report) -> str:
    """One row a check, its problems folded under it."""
    rows = []
    for check, count in report.counts.items():
        seen = ", ".join(f"{n:,} {what}" for what, n in report.checked.get(check, {}).items())
        # The text-only audit may have had too little to judge any family.
        unjudged = check == "shortcut" and all(result["too_few"] for result in report.shortcut.values())
        passed = '<b class="none">not judged</b>' if unjudged else '<b class="good">ok</b>'
        verdict = f'<b class="bad">{plural(count, "problem")}</b>' if count else passed
        kept = [p for p in report.problems if p.check == check]
        rows.append(
            f'<div class="check"><p class="line"><span class="name">{escape(check)}</span><span class="about">'
            f"{_ABOUT.get(check, '')}<small>{escape(seen)}</small></span>{verdict}</p>{_list(kept, count)}</div>"
        )
    remarks = "".join(f"<li>{_about(r)}{escape(r.detail)}</li>" for r in report.remarks)
    return "".join(rows) + (f'<details class="remarks"><summary>Remarks</summary><ul>{remarks}</ul></details>' if remarks else "")


def _list(kept: list[Any], count: int) -> str:
    if not kept:
        return ""
    items = "".join(f"<li>{_about(p)}{escape(p.detail)}</li>" for p in kept)
    more = f"<li>and {count - len(kept):,} more</li>" if count > len(kept) else ""
    return f"<details{' open' if len(kept) <= 8 else ''}><summary>{plural(count, 'problem')}</summary><ul>{items}{more}</ul></details>"


def _about(finding: Any) -> str:
    name = escape(finding.id.replace("_", " ") if finding.about == "family" else finding.id)
    return f"<code>{name}</code> " if finding.id else ""


def _shortcut(report: Report) -> str:
    rows = ""
    for family, result in report.shortcut.items():
        word = f"too few {result['few']}" if result["too_few"] else "ok" if result["ok"] else "tells"
        tone = "none" if result["too_few"] else "good" if result["ok"] else "bad"
        used = f"{result['used']:,}" + (f" of {result['questions']:,}" if result["questions"] > result["used"] else "")
        clues = "" if result["ok"] else ", ".join(escape(c["clue"]) for c in result["telltale"])
        rows += row(
            escape(family_name(family)) + (f'<small class="clues">told by {clues}</small>' if clues else ""),
            ("chart", bar(result["accuracy"], result["ci95"], result["chance"])),
            (f'value" title="{interval_text(result["ci95"])}', percent(result["accuracy"])),
            *(percent(result[key]) for key in ("chance", "longest", "frequent")),
            used,
            f'<b class="{tone}">{word}</b>',
        )
    if not rows:
        return '<p class="none">no question with options</p>'
    heads = ("Family", "", "Text alone", "Chance", "Longest", "Commonest", "Questions", "")
    return (
        f'<div class="wide">{table("audit", heads, rows)}</div>'
        '<p class="legend"><span class="whisker"></span>95% interval<span class="dash"></span>chance</p>'
        f'<p class="legend">Too few: fewer than {FEW} questions or {FEW_PATIENTS} patients are not judged.</p>'
        '<p class="meaning">Longest: always the longest option. Commonest: always the option that is right most often elsewhere.</p>'
    )


def _spread(report: Report) -> str:
    """Families by kind and split, letters, modalities, structures."""
    spread = report.distribution
    blocks = [_families(spread["families"]), _letters(spread["letters"])]
    blocks.append(_counts("Modalities, by cases", spread["modalities"], len(spread["modalities"])))
    blocks.append(_counts("Structures, by cases", spread["structures"], _MOST_STRUCTURES))
    return "".join(f'<section class="card panel">{block}</section>' for block in blocks if block)


def _families(counts: Mapping[str, int]) -> str:
    found: Counter[tuple[str, str, str]] = Counter()
    for key, n in counts.items():
        family, kind, split = key.split("/")
        found[family, kind, split] = n
    columns = [(kind, split) for kind, _ in _KINDS for split in SPLITS]
    rows = []
    untold = ("",) if any(not family for family, _, _ in found) else ()
    for family in (*FAMILIES, IMPLICIT, *untold):
        own = [found[family, kind, split] for kind, split in columns]
        cells = "".join(f"<td>{n:,}</td>" if n else '<td class="none">0</td>' for n in (*own, sum(own)))
        rows.append(f'<tr><th scope="row">{family_name(family)}</th>{cells}</tr>')
    head = "".join(f'<th scope="colgroup" colspan="{len(SPLITS)}">{title}</th>' for _, title in _KINDS)
    short = {"validation": "val"}
    below = "".join(f'<th scope="col">{short.get(split, split)}</th>' for _, split in columns)
    return (
        f'<h2>Samples</h2><div class="wide"><table class="grid"><thead><tr><td></td>{head}<td></td></tr><tr><td></td>{below}'
        f'<th scope="col">all</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _letters(counts: Mapping[str, int]) -> str:
    """Share of right answers by letter, a group for every number of options."""
    rows = []
    sizes = sorted({int(key.split("/")[0]) for key in counts})
    for size in sizes:
        own = {key.split("/")[1]: n for key, n in counts.items() if int(key.split("/")[0]) == size}
        total = sum(own.values())
        for letter, n in own.items():
            share = n / total
            drawn = bar(share, None, 1 / size)
            rows.append(row(f"{letter} of {size}", ("chart", drawn), ("value", percent(share)), f"{n:,}"))
    legend = '<p class="legend"><span class="dash"></span>even share</p>'
    return f"<h2>Right letters</h2><table><tbody>{''.join(rows)}</tbody></table>{legend}" if rows else ""


def _counts(title: str, counts: Mapping[str, int], most: int) -> str:
    if not counts:
        return ""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    top = ordered[0][1]
    rows = "".join(row(escape(name), ("chart", bar(n / top)), f"{n:,}") for name, n in ordered[:most])
    more = f'<p class="legend">and {len(ordered) - most:,} more</p>' if len(ordered) > most else ""
    return f"<h2>{title}</h2><table><tbody>{rows}</tbody></table>{more}"
