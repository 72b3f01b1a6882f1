"""What a checkpoint says that it was made for, and whether a question lies inside of it.

The statement is the ``scope`` of the checkpoint's ``card.json``, which is no part of its hash. Without one nothing is known, and traces
say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unireason.errors import FormatError
from unireason.types import PHANTOM, ScopeCheck, Source

from .files import CARD, read_json


@dataclass(frozen=True, slots=True)
class Scope:
    """What a checkpoint was made for.

    Attributes:
        stated: The statement in words.
        made_by: The mark (``Source.made_by``) of the cases that it knows; "" for cases of any origin.
        open_questions: False if it was taught questions with answer options alone.
    """

    stated: str
    made_by: str = ""
    open_questions: bool = True

    def check(self, source: Source | None, options: Sequence[str], *, implicit: bool = False) -> ScopeCheck:
        """Whether a question lies inside.

        Args:
            source: Of the case.
            options: Of the question; none for an open one.
            implicit: True for a question that is answered by a place, which has no options.
        """
        remarks = []
        if self.made_by and (source is None or source.made_by != self.made_by):
            remarks.append(
                f"The case is outside what the model was made for: it does not bear the mark of {self.made_by}. "
                "The answer says nothing about it."
            )
        if not (options or implicit or self.open_questions):
            remarks.append(
                "The question is outside what the model was made for: it has no answer options. "
                "The answer is an option that the model made up."
            )
        return ScopeCheck(self.stated, not remarks, tuple(remarks))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``from_json`` reads them back equal."""
        return asdict(self)


def from_json(table: Any) -> Scope:
    """Read a statement.

    Raises:
        FormatError: If a key is unknown or missing, or a value has the wrong type.
    """
    kinds = {"stated": str, "made_by": str, "open_questions": bool}
    good = isinstance(table, Mapping) and set(table) <= set(kinds) and bool(table.get("stated"))
    if not good or not all(isinstance(value, kinds[key]) for key, value in table.items()):
        raise FormatError(
            f"the scope in {CARD} is {table!r}", '{"stated": "...", "made_by": "...", "open_questions": true}', "repair the card"
        )
    return Scope(**table)


def scope_of(folder: Path) -> Scope | None:
    """The statement of a checkpoint folder; None where it states nothing.

    Raises:
        ModelError: If the card cannot be read.
        FormatError: If the statement is none.
    """
    card = read_json(folder / CARD) if (folder / CARD).is_file() else {}
    return from_json(card["scope"]) if isinstance(card, Mapping) and card.get("scope") is not None else None


def told(scope: Scope | None, remarks: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The ``scope`` of an evaluation's results: how many questions lay outside, and why.

    Args:
        scope: Of the checkpoint.
        remarks: For every question the remarks of its answer (``ScopeCheck.remarks``).
    """
    counts = Counter(remark for own in remarks for remark in dict.fromkeys(own))
    return {
        "stated": scope.stated if scope else "",
        "questions": len(remarks),
        "outside": sum(map(bool, remarks)) if scope else None,
        "remarks": dict(counts),
    }


PHANTOM_SCOPE = Scope(
    stated=(
        "Axial slices and volumes of the synthetic patients that `unireason phantom` makes, asked with answer options. The model knows "
        "nothing of real patients."
    ),
    made_by=PHANTOM,
    open_questions=False,
)
"""Of the built-in checkpoint and of what is made like it."""
