"""What suites share whose questions stand in index files and whose images lie beside them: one way to ask, to order and to leave out.

A question that cannot be scored (no text, no answer, a letter without its option) is left out and counted by its reason; a missing or
damaged file is an error. Paths in index files stay inside the folder, and sizes are bounded.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from unireason import imaging
from unireason.data.item import Skipped, inside
from unireason.data.question import LETTERS
from unireason.data.sources.listing import VOLUME_ENDINGS
from unireason.errors import FormatError, UniReasonError
from unireason.metrics.answers import same_text
from unireason.types import Case

from .suite import Entry

if TYPE_CHECKING:
    from typing import Self  # Python 3.10 has none

CHOICE_RULE = "An answer counts if the letter that it names is that of the right option."
SHORT_RULE = (
    "Questions answered by yes or no are asked with these two options and count by the letter; all others are open and count if the "
    "answer has the same words as that of the data (exact match after normalisation)."
)
_MAX_TEXT = 20_000
_YES_NO = ("yes", "no")
_ALONE = re.compile(rf"\W*([{LETTERS}])\W*", re.IGNORECASE)
_BEFORE = re.compile(rf"\s*\(?([{LETTERS}])\s{{0,3}}[:.)]\s{{0,3}}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class About:
    """What a question is about.

    Attributes:
        case: Path of the image or volume, relative to the suite's folder.
        patient: Patient; "" takes the case.
        tags: Tags of the entry; empty ones are dropped.
    """

    case: str
    patient: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class ListedSuite(ABC):
    """A suite in a folder; a subclass says how its questions are listed.

    Attributes:
        root: The folder.
        split: Which questions.
        left_out: After ``entries`` has come to its end: questions that it left out, by reason.
    """

    name: ClassVar[str]
    rule: ClassVar[str]
    folder: ClassVar[str]  # what the folder holds, for messages
    splits: ClassVar[tuple[str, ...]] = ("test",)  # the first one is taken if none is asked for
    known: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # further options; () takes any text, else the first value is the default
    modality: ClassVar[str] = ""  # of volumes with real values

    def __init__(self, root: Path, *, split: str, options: Mapping[str, str]) -> None:
        """Keep where and what; nothing is read."""
        self.root, self.split = root, split
        self.left_out: dict[str, int] = {}
        self._options = dict(options)

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> Self:
        """The suite for a command line.

        Args:
            root: Its folder.
            split: One of ``splits``; "" takes the first.
            options: ``missing`` ("error" or "skip" questions about files that are not there) and those of the suite.

        Raises:
            FormatError: If there is no such folder, or the split or an option is unknown.
        """
        if root is None or not root.is_dir():
            given = "no folder" if root is None else f"'{root}', which is no folder"
            raise FormatError(f"the suite '{cls.name}' was given {given}", cls.folder)
        choices = {"missing": ("error", "skip"), **cls.known}
        check_options(cls.name, options, choices)
        if split and split not in cls.splits:
            raise FormatError(f"the suite '{cls.name}' has no split {split!r}", f"one of {', '.join(cls.splits)}")
        defaults = {key: values[0] if values else "" for key, values in choices.items()}
        return cls(root, split=split or cls.splits[0], options=defaults | dict(options))

    @abstractmethod
    def questions(self) -> Iterator[Entry | Skipped]:
        """The questions in the order of the index files.

        Raises:
            UniReasonError: If a file is missing or damaged.
        """

    def entries(self) -> Iterator[Entry]:
        """See ``Suite.entries``; cases in the order in which the files name them first."""
        left_out: Counter[str] = Counter()
        cases: dict[str, list[Entry]] = {}
        names: Counter[str] = Counter()
        for found in self.questions():
            if isinstance(found, Skipped):
                left_out[found.reason] += 1
                continue
            names[found.id] += 1
            again = names[found.id]
            cases.setdefault(found.case, []).append(found if again == 1 else replace(found, id=f"{found.id}~{again}"))
        missing = [case for case in cases if not self.place(case).exists()]
        if missing and self._options["missing"] == "error":
            raise FormatError(
                f"'{missing[0]}' and {len(missing) - 1} other files of the suite '{self.name}' are not there",
                f"all {len(cases)} files that its questions are about",
                "complete the folder, or leave these questions out with the option missing=skip",
            )
        for case in missing:
            left_out["its file is not there"] += len(cases.pop(case))
        if not cases:
            raise UniReasonError(f"the suite '{self.name}' has no question that can be asked", self.folder, "check the folder")
        yield from (entry for case in cases.values() for entry in case)
        self.left_out = dict(left_out)

    def read(self, case: str) -> Case:
        """See ``Suite.read``."""
        path = self.place(case)
        told = self.modality and path.name.lower().endswith(VOLUME_ENDINGS)  # arrays and pictures were normalised
        return imaging.read(path, **({"modality": self.modality} if told else {}))

    def place(self, case: str) -> Path:
        """Where the file of a case lies.

        Raises:
            FormatError: If the path leads out of the folder.
        """
        return inside(self.root, case)


def check_options(name: str, options: Mapping[str, str], known: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse options that a suite does not know.

    Args:
        name: The suite, for the message.
        options: As given.
        known: Option to the values that it may have; () for any.

    Raises:
        FormatError: Naming the known ones.
    """
    for key, value in options.items():
        if key not in known:
            raise FormatError(
                f"the suite '{name}' has no option '{key}'", f"one of {', '.join(known)}" if known else "no options"
            )
        if known[key] and value not in known[key]:
            raise FormatError(f"the option {key} of the suite '{name}' is {value!r}", f"one of {', '.join(known[key])}")


def cell(row: Any, key: str, where: str) -> str:
    """A text or number of a row, without blanks around it; "" if it is missing.

    Raises:
        FormatError: If the row is no object, or the value is something else or beyond 20,000 characters.
    """
    if not isinstance(row, Mapping):
        raise FormatError(f"{where} holds {str(row)[:80]!r}", "an object with the fields of a question")
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > _MAX_TEXT:
        raise FormatError(f"{key!r} in {where} is {str(value)[:80]!r}", f"text of at most {_MAX_TEXT:,} characters")
    return str(value).strip()


def needed(row: Any, key: str, where: str) -> str:
    """A cell that the layout cannot do without.

    Raises:
        FormatError: As for :func:`cell`, or if it is empty.
    """
    found = cell(row, key, where)
    if not found:
        raise FormatError(f"{where} has no {key!r}", "a row as published")
    return found


def short(identifier: str, question: str, *, answer: str, about: About) -> Entry | Skipped:
    """A question with a short answer: yes and no become options, all else is open; see ``SHORT_RULE``.

    Args:
        identifier: Its identifier.
        question: Its text.
        answer: The right answer as the data write it.
        about: What it is about.

    Returns:
        The entry, or why it cannot be asked.
    """
    plain = answer.casefold().rstrip(".")
    if plain in _YES_NO:
        return choice(identifier, question, options=_YES_NO, letter=LETTERS[_YES_NO.index(plain)], about=about)
    try:
        same_text(answer, answer)
    except FormatError:
        return Skipped(identifier, "its answer has no word")
    if not question:
        return Skipped(identifier, "it has no text")
    return _entry(identifier, question, (), about, answer=answer)


def choice(identifier: str, question: str, *, options: Sequence[str], letter: str, about: About) -> Entry | Skipped:
    """A question with options.

    Args:
        identifier: Its identifier.
        question: Its text without options.
        options: Option texts in order A, B, ...; empty ones at the end are dropped.
        letter: The right one; small letters and signs around it ("b", "(B)", "b.") do not matter.
        about: What it is about.

    Returns:
        The entry, or why it cannot be asked.
    """
    texts = [text.strip() for text in options]
    while texts and not texts[-1]:
        texts.pop()
    if not question:
        return Skipped(identifier, "it has no text")
    if len(texts) < 2 or not all(texts) or len(texts) > len(LETTERS):
        return Skipped(identifier, "its options are not two to ten texts")
    letter = plain_letter(letter)
    if not letter or letter not in LETTERS[: len(texts)]:
        return Skipped(identifier, "its answer is no letter of an option")
    right = texts[LETTERS.index(letter)]
    if [text.casefold() for text in texts].count(right.casefold()) > 1:
        return Skipped(identifier, "two of its options are the right answer")
    return _entry(identifier, question, tuple(texts), about, answer=right, letter=letter)


def plain_letter(text: str) -> str:
    """The letter that a text consists of, in capitals and without signs around it; "" if it is anything else."""
    found = _ALONE.fullmatch(text)
    return found[1].upper() if found else ""


def matching_letter(options: Sequence[str], answer: str) -> str:
    """The letter of the option whose text is the answer, alone or behind its letter ("C: cyst"); "" if there is none, or no answer.

    Case does not matter. A letter in front of another option's text gives nothing: it contradicts itself.
    """
    texts = [text.strip().casefold() for text in options[: len(LETTERS)]]
    wanted = answer.strip().casefold()
    if wanted and wanted in texts:
        return LETTERS[texts.index(wanted)]
    begun = _BEFORE.match(wanted)
    letter = begun[1].upper() if begun else ""
    said = wanted[begun.end() :] if begun else ""
    return letter if said and dict(zip(LETTERS, texts, strict=False)).get(letter) == said else ""


def _entry(identifier: str, question: str, options: tuple[str, ...], about: About, *, answer: str, letter: str = "") -> Entry:
    tags = {key: value for key, value in about.tags.items() if value}
    return Entry(identifier, about.case, about.patient or about.case, question, options, (answer,), letter, tags)
