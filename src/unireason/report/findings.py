"""What a page shows on top of a trace: the place that an implicit question is answered by, and outlined regions.

The answer is shown as one more look, so that it is numbered, coloured and listed like the others; the trace itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unireason.engine.pointing import Target
from unireason.grounding.crop import inner
from unireason.types import Box2D, LookStep, Stack, Trace

from .markup import escape
from .outlines import outlines
from .regions import Region, expert_score, region_name
from .scene import Scene

ANSWER = "answer"
_DOT = " \u00b7 "


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What was found beyond the trace.

    Attributes:
        answer: What the answer of an implicit question points at; None for other questions.
        regions: Outlined regions of the case that is shown.
    """

    answer: Target | None = None
    regions: Sequence[Region] = ()


def shown(trace: Trace, findings: Findings, stack: Stack) -> Trace:
    """The trace with its answer as a last look, in a frame of as many slices as are shown.

    Args:
        trace: The trace; of a slice of a volume it may be shown in the whole volume.
        findings: What was found.
        stack: The slices that are shown.
    """
    frame = replace(trace.frame, depth=len(stack.slices), kind=stack.kind)
    target = findings.answer
    if target is None or target.model.box is None:
        return replace(trace, frame=frame)
    cut = inner(Box2D(*target.model.box), trace.frame)
    box = target.model.box if cut is None else cut.coords
    slices: tuple[int, ...] = (0,)
    if target.slice is not None:
        slices = tuple(z for z, (first, last) in enumerate(stack.coverage) if first <= target.slice < last)
        box = (*box[:2], float(slices[0]), *box[2:], float(slices[-1] + 1))
    world = None if target.world_mm is None else target.world_mm.box
    step = LookStep(trace.answer.text, box, target.voxel.box, world, slices, executed=True, label=ANSWER)
    return replace(trace, frame=frame, steps=(*trace.steps, step))


@dataclass(frozen=True, slots=True)
class Drawing:
    """Findings as SVG.

    Attributes:
        layer: Outlines and points as groups whose unit is the model pixel; "" if there are none.
        spans: For every outline that is not empty its tone and the half-open range of slices that it spans.
    """

    layer: str
    spans: tuple[tuple[int, int, int], ...]


def drawing(findings: Findings, scene: Scene, stack: Stack) -> Drawing:
    """Draw what was found.

    Args:
        findings: Masks of the case that is shown, and the answer.
        scene: Its looks, the answer among them.
        stack: The slices that are shown.
    """
    groups, spans = [], []
    for region in findings.regions:
        number = look_of(region, scene)
        tone = scene.looks[number].tone
        paths = outlines(region.marked.segmentation.mask, scene.frame, stack)
        for z, path in paths.items():
            pair = f'<path class="fill" d="{path}"/><path class="line" d="{path}"/>'
            groups.append(_plane("mask", pair, z, (number, tone), scene))
        if paths:
            spans.append((tone, min(paths), max(paths) + 1))
    if findings.answer is not None and scene.looks:
        look = scene.looks[-1]
        dots = "".join(f"M{x:g} {y:g}h0" for x, y in findings.answer.model.points)
        pair = f'<path class="halo" d="{dots}"/><path class="line" d="{dots}"/>'
        groups += [_plane("point", pair, z, (look.number - 1, look.tone), scene) for z in look.step.slices if dots]
    return Drawing("".join(groups), tuple(spans))


def look_of(region: Region, scene: Scene) -> int:
    """Index of the look that a region belongs to; the answer is the last one."""
    return region.marked.look - 1 if region.marked.look else len(scene.looks) - 1


def _plane(kind: str, inner: str, z: int, look: tuple[int, int], scene: Scene) -> str:
    off = "" if z == scene.start else " off"
    number, tone = look
    return f'<g class="{kind} tone-{tone}{off}" data-plane="{z}" data-look="{number}">{inner}</g>'


def table(findings: Findings, scene: Scene, rows: Sequence[Sequence[str]]) -> str:
    """The regions with what was measured of them.

    Args:
        findings: What was found.
        scene: Its looks.
        rows: For every region the words of ``regions.words``.
    """
    items = []
    for region, said in zip(findings.regions, rows, strict=True):
        look, found = scene.looks[look_of(region, scene)], region.marked.segmentation
        remarks = [expert_score(region), *found.notes, *([region.file] if region.file else [])]
        items.append(
            f'<li class="tone-{look.tone}"><b class="badge tone-{look.tone}">{look.number}</b>'
            f'<span class="label">{escape(region_name(region))}</span>'
            f'<span class="figures">{escape(_DOT.join(said))}</span><small>{escape(_DOT.join(remarks))}</small></li>'
        )
    return f'<section class="card"><h2>Masks</h2><ul class="regions">{"".join(items)}</ul></section>' if items else ""
