"""A question about a scene, with what it takes to check it against the masks again.

``ask`` and ``about`` say in machine terms what was asked; the check recomputes the answer from them and the masks, without the
code that wrote the question.
"""

from __future__ import annotations

from dataclasses import dataclass

FAMILIES = (
    "structure_localisation",
    "spatial_localisation",
    "existence_verification",
    "size_comparison",
    "spatial_relation",
    "lesion_analysis",
)
IMPLICIT = "implicit_grounding"
"""Family of UMRG questions: no options, a box and two points as the answer."""

LETTERS = "ABCDEFGHIJ"


def family_name(family: str) -> str:
    """A family for a reader; "not told" for "", as of a release that does not tell."""
    return family.replace("_", " ") or "not told"


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its facts.

    Attributes:
        family: One of FAMILIES, or IMPLICIT; "" if a release does not tell.
        ask: Kind of question inside the family ("quadrant", "largest", ...), see docs/reference/questions.md; "" if it is not known.
        about: Its arguments as text: structure names, a direction, a box in grammar form.
        text: The question as asked.
        options: Option texts; empty for IMPLICIT.
        answer: Index of the right option; -1 for IMPLICIT.
        facts: One finding an option: why it is right or wrong, as a short clause ("it holds 120 ml"); may be empty.
        needs: Names of structures in the scene whose boxes the answer needs, in the order to look at them, at least one; () if that
            is not known.
    """

    family: str
    ask: str
    about: tuple[str, ...]
    text: str
    options: tuple[str, ...]
    answer: int
    facts: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def letter(self) -> str:
        """Letter of the right option; "" for IMPLICIT."""
        return LETTERS[self.answer] if self.answer >= 0 else ""

    @property
    def right(self) -> str:
        """Text of the right option; "" for IMPLICIT."""
        return self.options[self.answer] if self.answer >= 0 else ""
