"""What every evaluation suite offers: questions with their truth, the cases they are about, and the rule by which an answer counts.

A suite reads local files that the user points to. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from unireason.core.errors import FormatError
from unireason.core.types import Case, Look
from unireason.evaluate.box_reader import BoxReader


@dataclass(frozen=True, slots=True)
class Entry:
    """One question of a suite.

    Attributes:
        id: Unique in the suite, the same on every machine.
        case: What ``Suite.read`` takes; questions on one case share it.
        patient: Whom it is about, for intervals over patients; the case where the data do not tell.
        question: The question, without options.
        options: Option texts in order A, B, ...; none for an open question.
        answers: Texts that count as right, the first as the data write it; with options the text of the right one.
        letter: The right option; "" for an open question.
        tags: "family", "ask" (the kind of question), "modality", "structure", "supercategory", "split" and what else the data tell;
            missing ones are left out.
        looks: True places in the model frame, in the order in which a reasoning would visit them; none if unknown.
        reader: Answers the question from boxes; None where the data do not say what kind of question it is.
        gold: Of an open question all that has to be named, and of each the texts that count; () where one of ``answers`` is enough.
        tolerance: By how much an amount may be off, in the unit in which the answer gives it.
    """

    id: str
    case: str
    patient: str
    question: str
    options: tuple[str, ...]
    answers: tuple[str, ...]
    letter: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()
    reader: BoxReader | None = None
    gold: tuple[tuple[str, ...], ...] = ()
    tolerance: float = 0.0


class Suite(Protocol):
    """A set of questions."""

    @property
    def name(self) -> str:
        """Short name, as on the command line."""
        ...

    @property
    def rule(self) -> str:
        """How an answer counts, one sentence for people."""
        ...

    def entries(self) -> Iterator[Entry]:
        """All questions, those on one case together, in an order that is the same on every machine.

        Raises:
            UniReasonError: If a file is missing or damaged; the message names it.
        """
        ...

    def read(self, case: str) -> Case:
        """The image or volume of a question.

        Raises:
            UniReasonError: If it cannot be read.
        """
        ...


_PLACES: dict[str, tuple[str, str]] = {
    "phantom": ("built", "PhantomSuite"),
    "built": ("built", "BuiltSuite"),
    **dict.fromkeys(("slake", "vqa-rad", "path-vqa", "pmc-vqa"), ("listed", "LISTINGS")),
    **dict.fromkeys(("omnimedvqa", "m3d-vqa", "3d-rad", "deeptumorvqa"), ("listed", "LISTINGS")),
    "unimed-cot": ("built", "UnimedCotSuite"),
}
NAMES: tuple[str, ...] = tuple(_PLACES)
"""Every suite that `open_suite` knows."""


def open_suite(
    name: str, root: Path | None = None, *, split: str = "", options: Mapping[str, str] = MappingProxyType({})
) -> Suite:
    """A suite by name. Its files are read when its entries are asked for; phantoms are made at once.

    Args:
        name: One of `NAMES`.
        root: The folder of the data as downloaded; None for phantoms.
        split: Which questions; "" takes those meant for evaluation.
        options: Options of the suite, as text.

    Raises:
        FormatError: If the name, the split or an option is unknown (the message lists the known ones), or a folder is missing.
    """
    if name == "u-mrg":
        came = f"the questions of the suite {name!r} are answered by a box and two points, not by words"
        raise FormatError(came, f"one of {', '.join(NAMES)}", f"ask them with: unireason eval ground --suite {name}")
    if name not in _PLACES:
        raise FormatError(f"the suite {name!r} is not known", f"one of {', '.join(NAMES)}")
    module, kind = _PLACES[name]
    found = getattr(import_module(f"unireason.evaluate.suites.{module}"), kind)
    suite: Suite = (found[name] if module == "listed" else found).open(root, split=split, options=options)
    return suite
