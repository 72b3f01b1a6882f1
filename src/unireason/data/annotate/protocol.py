"""What an annotator gets and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from unireason.data.question import Question
from unireason.data.scene import Scene
from unireason.types import Look


@dataclass(frozen=True, slots=True)
class Task:
    """One question to be reasoned about.

    Attributes:
        id: Sample identifier; seeds whatever the annotator draws.
        question: The question.
        scene: The scene it was asked about.
    """

    id: str
    question: Question
    scene: Scene


@dataclass(frozen=True, slots=True)
class Annotation:
    """Grounded reasoning.

    Attributes:
        reasoning: What stands between ``<think>`` and ``</think>``, in order: text, or a look at a structure of the scene.
            Neither tags nor boxes occur in the texts. Between one and three looks for questions with options.
        annotator: Name and version of what wrote it ("template/2", "llm/<model>").
    """

    reasoning: tuple[str | Look, ...]
    annotator: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A task that got no valid reasoning.

    Attributes:
        id: Its sample.
        reason: Stable short code ("wrong_answer", "box_without_structure", "budget", ...).
        detail: What came, at most 200 characters.
    """

    id: str
    reason: str
    detail: str = ""


class Annotator(Protocol):
    """Writes grounded reasoning. Equal tasks always get equal annotations (an endpoint's replies are kept on disk)."""

    name: str

    def annotate(self, tasks: Sequence[Task]) -> list[Annotation | Dropped]:
        """One result a task, in order.

        Raises:
            UniReasonError: If nothing can be annotated at all (the endpoint refuses the key, the cache cannot be written).
        """
        ...
