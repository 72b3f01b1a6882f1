"""Grounded reasoning by template: text with a look at every structure that the answer needs.

The last words of the reasoning are the chosen option's text with its letter right behind it, and the answer repeats both, so that
even a very small model binds option text and letter where that is easy.
"""

from __future__ import annotations

from unireason.core.types import Box, Look
from unireason.data.records import SampleRecord
from unireason.data.scene import DataQuestion

from .scene import LessonScene


def _look(scene: LessonScene, name: str) -> Look:
    if name in scene.regions:
        return Look(name, scene.regions[name].box)
    box: Box = scene.absent[name]
    return Look(name, box, seen=False)


def _joined(parts: list[str | Look]) -> list[str | Look]:
    """Neighbouring pieces of text become one, a blank between them."""
    merged: list[str | Look] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] = f"{merged[-1]} {part}"
        else:
            merged.append(part)
    return merged


def _body(question: DataQuestion, scene: LessonScene) -> list[str | Look]:
    """Everything between ``<think>`` and the conclusion."""
    looks = [_look(scene, t) for t in question.needs]
    first = question.needs[0]
    if question.family == "structure_localisation":
        return [f"The {first} lies at", looks[0], f". It is {question.facts[0]}."]
    if question.family == "spatial_localisation":
        listed = ",".join(f" {o} {f}" for o, f in zip(question.options, question.facts, strict=True))
        return [f"Compare{listed}. The {first} lies at", looks[0], "."]
    if question.family == "existence_verification":
        return [f"Look for the {first} at", looks[0], f". It is {question.facts[0]}."]
    if question.family == "size_comparison":
        parts: list[str | Look] = []
        for name, look, size in zip(question.needs, looks, question.facts, strict=True):
            parts += [f"The {name} lies at", look, f" size {size}."]
        return _joined(parts)
    if question.family == "spatial_relation":
        second = question.needs[1]
        return [f"The {first} lies at", looks[0], f". The {second} lies at", looks[1], f". The first lies {question.facts[0]}."]
    finding = f"in the {question.facts[0]}" if question.facts[0] not in ("brighter", "darker") else question.facts[0]
    return ["The lesion lies at", looks[0], f". It is {finding}."]


def write(question: DataQuestion, scene: LessonScene) -> SampleRecord:
    """Write the grounded reasoning of one question."""
    *body, last = _body(question, scene)
    reasoning = (*body, f"{last} So {question.right} {question.letter}.")
    name, kind = scene.patient, scene.frame.kind
    return SampleRecord(name, name, name, "train", kind, question, reasoning, annotator="base")
