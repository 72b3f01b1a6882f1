"""What a language model is told: the rules of the text, then one question with its structures in the model frame."""

from __future__ import annotations

from collections.abc import Sequence

from unireason.data.question import IMPLICIT, LETTERS, Question
from unireason.data.scene import Scene, Structure
from unireason.grounding.grammar import THINK_END, write
from unireason.types import Box2D, Box3D

from .findings import notable, offsets
from .protocol import Task
from .verify import Fault, Rules
from .wording import amount

MAX_STRUCTURES = 24
_MAX_QUOTED = 6000

Message = dict[str, str]

_RULES = """You write the reasoning of an expert who reads a medical {what} and answers a question about it.
You cannot see the {kind}. What it shows is listed below; write as somebody who looks at it and finds this, step by step. Never
mention a list, given data, masks, annotations, or that the answer is known.
Rules:
- Plain English sentences. No headings, no bullet points, no markup, no tags but the box tags.
{looks}
- State only what the list supports: place, size, slices, brightness, neighbours. Add nothing about diseases or treatment.
- 60 to 160 words. {ending}"""
_LOOKS = """- Look at one to {most} structures that the answer needs. To look, name the structure and put its box, copied
  exactly, right behind the name, such as: the left kidney {example}. Then say what is seen there.
- Coordinates stand in boxes only."""
_NO_LOOKS = "- Write no box and no coordinates. Go from the description to its target; name the target only at the end."
_ENDING = """End the reasoning with the right option's text and its letter, such as "So the answer is
  left kidney B." Then write {close} and behind it the letter and the option's text, such as: {close}B. left kidney"""
_ENDING_IMPLICIT = "Then write {close} and behind it the target's name."


def messages(task: Task, rules: Rules) -> list[Message]:
    """The messages of the first request for a task.

    Args:
        task: Question and scene.
        rules: Gives the number of looks.

    Returns:
        A system and a user message, as role and content.
    """
    implicit = task.question.family == IMPLICIT
    example = write(Box2D(40, 52, 71, 90) if task.scene.kind == "image" else Box3D(40, 52, 6, 71, 90, 14))
    system = _RULES.format(
        what="2D image" if task.scene.kind == "image" else "3D scan (a stack of slices)",
        kind=task.scene.kind,
        looks=_NO_LOOKS if implicit else _LOOKS.format(most=rules.max_looks, example=example),
        ending=(_ENDING_IMPLICIT if implicit else _ENDING).format(close=THINK_END),
    )
    return [{"role": "system", "content": system}, {"role": "user", "content": _facts(task)}]


def repair(asked: Sequence[Message], reply: str, faults: Sequence[Fault]) -> list[Message]:
    """The messages that send a faulty text back.

    Args:
        asked: The first request.
        reply: What came.
        faults: What is wrong with it, at least one.
    """
    listed = "\n".join(f"- {fault.detail}" for fault in dict.fromkeys(faults))
    again = f"This text has faults:\n{listed}\nWrite the whole text again without them, under the same rules."
    return [*asked, {"role": "assistant", "content": reply[:_MAX_QUOTED]}, {"role": "user", "content": again}]


def _facts(task: Task) -> str:
    question, scene = task.question, task.scene
    blocks = [f"Image: {_header(scene)}", "Structures:", *(_structure(s, scene) for s in _relevant(question, scene))]
    if scene.absent:
        blocks.append(f"Looked for and not there: {', '.join(scene.absent[:MAX_STRUCTURES])}.")
    blocks.append(f"Question: {question.text}")
    if question.family == IMPLICIT:
        blocks += [f"True of the target: {'; '.join(question.facts)}.", f"The target: {question.needs[0]}"]
        return "\n".join(blocks)
    facts = question.facts if len(question.facts) == len(question.options) else ("",) * len(question.options)
    for letter, option, fact in zip(LETTERS, question.options, facts, strict=False):
        blocks.append(f"{letter}. {option}" + (f" ({fact})" if fact else ""))
    blocks += [f"Needed for the answer: {', '.join(question.needs)}", f"Right answer: {question.letter}. {question.right}"]
    return "\n".join(blocks)


def _header(scene: Scene) -> str:
    frame = scene.frame
    parts = [scene.modality or "modality unknown"]
    if scene.kind == "image":
        parts.append(f"2D, frame {frame.width} x {frame.height} pixels, boxes are [x1,y1,x2,y2]")
    else:
        parts.append(f"3D, frame {frame.width} x {frame.height} pixels x {frame.depth} slices, boxes are [x1,y1,z1,x2,y2,z2]")
    if scene.spacing_mm is not None:
        parts.append(f"voxel size {' x '.join(f'{v:.3g}' for v in scene.spacing_mm)} mm")
    parts.append("left and right are the patient's" if scene.space == "patient" else "left and right are those of the picture")
    return "; ".join(parts)


def _relevant(question: Question, scene: Scene) -> list[Structure]:
    """What the question needs first, then the rest in alphabetical order, bounded."""
    first = [n for n in dict.fromkeys(question.needs) if n in scene.structures]
    return [scene.structures[n] for n in [*first, *(n for n in scene.structures if n not in first)]][:MAX_STRUCTURES]


def _structure(structure: Structure, scene: Scene) -> str:
    """One line about one structure."""
    axes = notable(structure.centre, scene)
    place = f"centre {offsets(structure.centre, axes, scene)} from the middle" if axes else "centre in the middle"
    parts = [amount(structure.measure, scene.unit), place]
    if scene.kind == "volume":
        parts.append(f"slices {structure.slices[0]} to {structure.slices[1] - 1}")
    parts.append(f"{abs(structure.contrast):.0f} grey levels {'brighter' if structure.contrast > 0 else 'darker'} than around it")
    if structure.part_count > 1:
        parts.append(f"{structure.part_count} parts")
    if structure.neighbours:
        parts.append(f"next to {', '.join(structure.neighbours[:4])}")
    if structure.borders:
        parts.append(f"cut off at: {', '.join(structure.borders)}")
    return f"- {structure.name} {write(structure.box_model)}: {'; '.join(parts)}"
