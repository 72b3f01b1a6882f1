"""A trace as lines of plain text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unireason.core.types import AnswerStep, Case, LookStep, TextStep, Trace
from unireason.engine.masks import GroundTarget

from .pictures import executed
from .trace import PageRegion, expert_score, region_name, words


def _numbers(values: Sequence[float], digits: int = 1) -> str:
    return "[" + ", ".join(f"{v:.{digits}f}".rstrip("0").rstrip(".") for v in values) + "]"


def _look(step: LookStep, number: int) -> Iterator[str]:
    name = f" {step.label}" if step.label else ""
    cut = executed(step)
    yield f"  look {number}{name}: model {_numbers(cut)}{'' if cut == step.box_model else f', written {_numbers(step.box_model)}'}"
    if not step.executed:
        yield "         not executed"
        return
    where = f"         voxel {_numbers(step.box_voxel or ())}"
    yield where + (f", world {_numbers(step.box_world_mm)} mm LPS" if step.box_world_mm else "")
    first, last = step.slices[0], step.slices[-1]
    shown = f"slice {first}" if first == last else f"slices {first}-{last}"
    yield f"         {len(step.crops)} region{'s' if len(step.crops) != 1 else ''} shown from {shown}"


def lines(trace: Trace) -> list[str]:
    """Question, options, reasoning with looks in three spaces, answer and problems, one printed line each.

    Args:
        trace: Any trace; one without steps gives its question and a line that says so.
    """
    out = [f"Q: {trace.question}"]
    out += [f"   {chr(ord('A') + i)}. {text}" for i, text in enumerate(trace.options)]
    number = 0
    for step in trace.steps:
        if isinstance(step, TextStep):
            out.append(f"  {' '.join(step.text.split())}")
        elif isinstance(step, LookStep):
            number += 1
            out += _look(step, number)
        elif isinstance(step, AnswerStep):
            choice = f"{step.choice}: " if step.choice and not step.text.strip().startswith(step.choice) else ""
            out.append(f"A: {choice}{' '.join(step.text.split())}")
    if not trace.answer.text:
        out.append(f"A: none (ended by {trace.finish})")
    out += [f"  problem: {p.code} {p.text!r}" for p in trace.problems]
    return out


def target_lines(target: GroundTarget) -> list[str]:
    """Box and points of an implicit answer in every space that is known, one printed line each; says so if there is no usable box."""
    spaces = [("model", "px", target.model), ("voxel", "", target.voxel), ("world", "mm LPS", target.world_mm)]
    out = [] if target.model.box else ["box: none that can be used"]
    for name, unit, place in spaces:
        if place is None or place.box is None:
            continue
        points = " and ".join(_numbers(p) for p in place.points)
        out.append(f"  {name} {_numbers(place.box)}{f', points {points}' if points else ''}{f' {unit}' if unit else ''}")
    return out


def region_lines(region: PageRegion, case: Case) -> list[str]:
    """What was measured of a region, and remarks of the expert, one printed line each."""
    found = region.marked.segmentation
    said = ", ".join(words(region, case))
    name = f"{'' if region.marked.look else 'mask of '}{region_name(region)}"
    return [f"{name}: {said}; {expert_score(region)}", *(f"  note: {note}" for note in found.notes)]
