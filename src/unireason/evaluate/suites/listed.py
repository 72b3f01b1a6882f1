"""What suites share whose questions stand in index files and whose images lie beside them: one way to ask, to order and to leave out.

A question that cannot be scored (no text, no answer, a letter without its option) is left out and counted by its reason; a missing or
damaged file is an error. Paths in index files stay inside the folder, and sizes are bounded.

Source: 3D-RAD, arXiv 2506.11147; the question files in its repository.
Source: B. Liu et al., SLAKE, ISBI 2021, arXiv 2102.09542.
Source: F. Bai et al., M3D, arXiv 2404.00578.
Source: J. J. Lau et al., Scientific Data 5 (2018) 180251.
Source: X. He et al., PathVQA, arXiv 2003.10286; data card of flaviagiammarino/path-vqa.
Source: X. Zhang et al., PMC-VQA, arXiv 2305.10415.
Source: Y. Chen et al., arXiv 2505.18915; data card of tumor-vqa/DeepTumorVQA_2.0.
Source: Y. Hu et al., OmniMedVQA, CVPR 2024, arXiv 2402.09181.
"""

from __future__ import annotations

import re
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from unireason import imaging
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Case
from unireason.data.formats import tables
from unireason.data.formats.unimed_cot import Index
from unireason.data.item import Skipped, inside
from unireason.data.scene import LETTERS
from unireason.data.sources.base import VOLUME_ENDINGS, entries, read_json, read_rows, relative
from unireason.data.sources.m3d import patient_of
from unireason.data.survey import modality_code
from unireason.metrics.answers import same_text

from .base import Entry

if TYPE_CHECKING:
    from typing import Self  # Python 3.10 has none


# --- What suites share whose questions stand in index files and whose images lie beside them: one way to ask, to order and to
# leave out.


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
    """What a question is about."""

    case: str
    patient: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class ListedSuite(ABC):
    """A suite in a folder; a subclass says how its questions are listed."""

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
        """The suite for a command line."""
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
        """The questions in the order of the index files."""

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
        """Where the file of a case lies."""
        return inside(self.root, case)


def check_options(name: str, options: Mapping[str, str], known: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse options that a suite does not know."""
    for key, value in options.items():
        if key not in known:
            raise FormatError(
                f"the suite '{name}' has no option '{key}'", f"one of {', '.join(known)}" if known else "no options"
            )
        if known[key] and value not in known[key]:
            raise FormatError(f"the option {key} of the suite '{name}' is {value!r}", f"one of {', '.join(known[key])}")


def cell(row: Any, key: str, where: str) -> str:
    """A text or number of a row, without blanks around it; "" if it is missing."""
    if not isinstance(row, Mapping):
        raise FormatError(f"{where} holds {str(row)[:80]!r}", "an object with the fields of a question")
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > _MAX_TEXT:
        raise FormatError(f"{key!r} in {where} is {str(value)[:80]!r}", f"text of at most {_MAX_TEXT:,} characters")
    return str(value).strip()


def needed(row: Any, key: str, where: str) -> str:
    """A cell that the layout cannot do without."""
    found = cell(row, key, where)
    if not found:
        raise FormatError(f"{where} has no {key!r}", "a row as published")
    return found


def short(identifier: str, question: str, *, answer: str, about: About) -> Entry | Skipped:
    """A question with a short answer: yes and no become options, all else is open; see ``SHORT_RULE``."""
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
    """A question with options."""
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
    """The letter of the option whose text is the answer, alone or behind its letter ("C: cyst"); "" if there is none, or no answer."""
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


# --- DeepTumorVQA, version 2: ``benchmark/test_qa.json`` beside volumes or slices.


_INDEX = "benchmark/test_qa.json"
_FILES = {"volume": "benchmark/ct/{}/ct.nii.gz", "image": "benchmark/images_2d/whole/{}.png"}


class DeepTumorVqaSuite(ListedSuite):
    """DeepTumorVQA; the option ``input`` is "volume" or "image" (the publishers' slice)."""

    name = "deeptumorvqa"
    rule = CHOICE_RULE
    folder = f"the folder with {_INDEX}"
    known: ClassVar = {"input": tuple(_FILES)}
    modality = "CT"

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        rows = read_json(self.root / _INDEX).get("questions")
        if not isinstance(rows, list):
            raise FormatError(f"'{_INDEX}' has no list of questions", "an object with 'questions'")
        for number, row in enumerate(rows):
            where = f"question {number} of '{_INDEX}'"
            image = needed(row, "image_id", where)
            tags = {
                "family": cell(row, "question_type", where),
                "subtype": cell(row, "question_subtype", where),
                "structure": cell(row, "organ", where),
                "modality": "CT",
                "split": self.split,
            }
            about = About(_FILES[self._options["input"]].format(image), image, tags)
            question, options = divided(needed(row, "mc_question", where), cell(row, "question", where))
            letter = cell(row, "correct_option", where)
            yield choice(cell(row, "qid", where) or str(number), question, options=options, letter=letter, about=about)


def divided(text: str, question: str) -> tuple[str, tuple[str, ...]]:
    """A question and its options."""
    marks: list[re.Match[str]] = []
    start = len(question) if question and text.startswith(question) else 0
    for letter in "ABCDEFGHIJ":
        mark = re.compile(rf"(?:(?<=\s)|^){letter}[:.)]\s").search(text, marks[-1].end() if marks else start)
        if mark is None:
            break
        marks.append(mark)
    if not marks:
        return text.strip(), ()
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return text[: marks[0].start()].strip(), tuple(text[m.end() : end].strip() for m, end in zip(marks, ends, strict=True))


# --- M3D-VQA: ``M3D_VQA_test.csv`` (or ``M3D-VQA/M3D_VQA_test.csv``) beside the volumes of M3D-Cap.


_M3D_VQA_FILES = {"test": "M3D_VQA_test.csv", "test5k": "M3D_VQA_test5k.csv", "validation": "M3D_VQA_val.csv"}
_TYPES = {"1": "plane", "2": "phase", "3": "organ", "4": "abnormality", "5": "location"}
_CASES = ("ct_case", "ct_quizze")


class M3dVqaSuite(ListedSuite):
    """M3D-VQA; the option ``form`` is "choice" (with the four options) or "open" (without them)."""

    name = "m3d-vqa"
    rule = f"Asked with options, an answer counts if it names the letter of the right one. Asked openly: {SHORT_RULE}"
    folder = "the folder with M3D_VQA_test.csv and the volumes of M3D-Cap"
    splits = tuple(_M3D_VQA_FILES)
    known: ClassVar = {"form": ("choice", "open")}

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        name = _M3D_VQA_FILES[self.split]
        path = next((p for p in (self.root / name, self.root / "M3D-VQA" / name) if p.is_file()), None)
        if path is None:
            raise FormatError(f"'{self.root}' has no {name}", self.folder)
        for number, row in enumerate(read_rows(path)):
            where = f"row {number} of '{name}'"
            image = relative(needed(row, "Image Path", where))
            kind = cell(row, "Question Type", where)
            about = About(self._volume(image), patient_of(image), {"family": _TYPES.get(kind, kind), "split": self.split})
            identifier, question = f"{path.stem}-{number}", cell(row, "Question", where)
            if self._options["form"] == "open":
                yield short(identifier, question, answer=cell(row, "Answer", where), about=about)
                continue
            options = [cell(row, f"Choice {letter}", where) for letter in "ABCD"]
            yield choice(identifier, question, options=options, letter=cell(row, "Answer Choice", where), about=about)

    def _volume(self, image: str) -> str:
        """Where the volume lies, relative to the folder; the path as given if it is nowhere."""
        start = next((image.index(f"{name}/") for name in _CASES if f"{name}/" in image), None)
        tail = image if start is None else image[start:]
        places = (image, f"M3D_Cap_npy/{tail}", f"M3D_Cap/{tail}", tail)
        return next((place for place in places if self.place(place).is_file()), image)


# --- OmniMedVQA, the part with open access: ``QA_information/Open-access/*.json`` beside ``Images``.


_OMNIMEDVQA_INDEX = "QA_information/Open-access"


class OmniMedVqaSuite(ListedSuite):
    """OmniMedVQA."""

    name = "omnimedvqa"
    rule = CHOICE_RULE
    folder = f"the folder with {_OMNIMEDVQA_INDEX} and Images"
    splits = ("open-access",)

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``; files in natural order."""
        paths = [
            path for path in entries(self.root / _OMNIMEDVQA_INDEX, "the questions with open access") if path.suffix == ".json"
        ]
        if not paths:
            raise FormatError(f"'{_OMNIMEDVQA_INDEX}' holds no JSON file", self.folder)
        for path in paths:
            for number, row in enumerate(read_json(path, list)):
                where = f"row {number} of '{path.name}'"
                said = cell(row, "modality_type", where)
                tags = {
                    "family": cell(row, "question_type", where),
                    "modality": modality_code(said.partition("(")[0]) or said,
                    "dataset": cell(row, "dataset", where) or path.stem,
                    "split": self.split,
                }
                about = About(relative(needed(row, "image_path", where)), tags=tags)
                options = [cell(row, f"option_{letter}", where) for letter in "ABCD"]
                letter = matching_letter(options, cell(row, "gt_answer", where))
                identifier = cell(row, "question_id", where) or f"{path.stem}-{number}"
                yield choice(identifier, cell(row, "question", where), options=options, letter=letter, about=about)


# --- PathVQA as Parquet: ``data/test-*.parquet`` with the columns image ({bytes, path}), question and answer.


_COLUMNS = ("image", "question", "answer")
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _PathVqaRow:
    """Where a picture stands."""

    path: Path
    number: int


class PathVqaSuite(ListedSuite):
    """PathVQA."""

    name = "path-vqa"
    rule = SHORT_RULE
    folder = "the folder with data/test-*.parquet"
    splits = ("test", "validation", "train")

    def __init__(self, root: Path, *, split: str, options: Mapping[str, str]) -> None:
        """See ``ListedSuite``."""
        super().__init__(root, split=split, options=options)
        self._rows: dict[str, _PathVqaRow] = {}
        self._reading: tuple[Path | None, int, Iterator[dict[str, Any]]] = (None, 0, iter(()))

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        paths = sorted((self.root / "data").glob(f"{self.split}-*.parquet"))
        if not paths:
            raise FormatError(f"'{self.root}' has no data/{self.split}-*.parquet", self.folder)
        for path in paths:
            lacking = [name for name in _COLUMNS if name not in tables.columns_of(path)]
            if lacking:
                raise FormatError(f"'{path.name}' has no column {lacking[0]!r}", f"the columns {', '.join(_COLUMNS)}")
            for number, row in enumerate(tables.stream(path, _COLUMNS, batch=_ROWS_AT_ONCE)):
                where = f"row {number} of '{path.name}'"
                case = sha256(_picture(row, where)).hexdigest()
                self._rows.setdefault(case, _PathVqaRow(path, number))
                about = About(case, tags={"split": self.split})
                answer = cell(row, "answer", where)
                yield short(f"{path.stem}-{number}", cell(row, "question", where), answer=answer, about=about)

    def place(self, case: str) -> Path:
        """The table in which a picture stands."""
        if case not in self._rows:
            for _ in self.questions():  # finds all of them
                pass
        if case not in self._rows:
            raise UniReasonError(f"the suite '{self.name}' has no picture {case[:80]!r}", "one of its entries")
        return self._rows[case].path

    def read(self, case: str) -> Case:
        """See ``Suite.read``. Reading on in the order of the entries costs least: each table is then gone through once."""
        self.place(case)
        row = self._rows[case]
        path, position, stream = self._reading
        if path != row.path or position > row.number:
            path, position, stream = row.path, 0, tables.stream(row.path, ("image",), batch=_ROWS_AT_ONCE)
        for values in stream:
            position += 1
            if position > row.number:
                self._reading = (path, position, stream)
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / f"{case[:16]}.jpg"
                    file.write_bytes(_picture(values, f"row {row.number} of '{row.path.name}'"))
                    return imaging.read(file)
        raise FormatError(f"'{row.path.name}' has changed", "the file of which the questions were listed")


def _picture(row: Mapping[str, Any], where: str) -> bytes:
    stored = row["image"]
    data = stored.get("bytes") if isinstance(stored, dict) else stored
    if not isinstance(data, bytes) or not data:
        raise FormatError(f"{where} has a picture without bytes", "pictures inside the table as {bytes, path}")
    return data


# --- PMC-VQA: ``test_2.csv`` (version 2), ``test_clean.csv`` and ``test.csv`` (version 1) beside the folder of pictures.


_PMC_VQA_FILES = {"test_2": "test_2.csv", "test_clean": "test_clean.csv", "test": "test.csv"}
_PICTURES = ("images", "images_2", "figures")
_ARTICLE = re.compile(r"PMC\d+")


class PmcVqaSuite(ListedSuite):
    """PMC-VQA."""

    name = "pmc-vqa"
    rule = CHOICE_RULE
    folder = f"the folder with test_2.csv and one of {', '.join(_PICTURES)}"
    splits = tuple(_PMC_VQA_FILES)

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        path = self.root / _PMC_VQA_FILES[self.split]
        places = [name for name in _PICTURES if (self.root / name).is_dir()] or ["images"]
        for number, row in enumerate(read_rows(path)):
            where = f"row {number} of '{path.name}'"
            picture = relative(needed(row, "Figure_path", where))
            found = next((name for name in places if self.place(f"{name}/{picture}").is_file()), places[0])
            article = _ARTICLE.match(picture)
            about = About(f"{found}/{picture}", article[0] if article else "", {"split": self.split})
            options = _without_letters([cell(row, f"Choice {letter}", where) for letter in "ABCD"])
            letter = _letter(row, options, where)
            identifier = cell(row, "index", where) or f"{path.stem}-{number}"
            yield choice(identifier, cell(row, "Question", where), options=options, letter=letter, about=about)


def _without_letters(texts: list[str]) -> list[str]:
    """Choices without the letters that they begin with."""
    begun = [
        re.match(rf"({letter})\s{{0,3}}[:.)]\s{{0,3}}", text, re.IGNORECASE) for letter, text in zip("ABCD", texts, strict=True)
    ]
    small = all(begun)
    return [
        text[match.end() :] if match and (small or match[1].isupper()) else text for match, text in zip(begun, texts, strict=True)
    ]


def _letter(row: Mapping[str, str], options: list[str], where: str) -> str:
    label = cell(row, "Answer_label", where)
    if label:
        return label
    answer = cell(row, "Answer", where) or cell(row, "Anwser", where)
    return plain_letter(answer) or matching_letter(options, answer)


# --- 3D-RAD: ``test/TaskN_Name/*.csv`` (or ``3DRAD/test/...``) and the volumes that they name, anywhere in the folder.


_PATIENT = re.compile(r"[A-Za-z]+_\d+")


class Rad3dSuite(ListedSuite):
    """3D-RAD."""

    name = "3d-rad"
    rule = f"Closed questions count if the answer names the letter of the right option. {SHORT_RULE}"
    folder = "the folder with test/Task1_Image_Observation and so on, and the volumes"
    splits = ("test", "train")
    modality = "CT"

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``; tasks and files in natural order."""
        place = next((p for p in (self.root / self.split, self.root / "3DRAD" / self.split) if p.is_dir()), None)
        tasks = [] if place is None else [task for task in entries(place, self.folder) if task.is_dir()]
        paths = [path for task in tasks for path in entries(task, "questions of a task") if path.suffix == ".csv"]
        if not paths:
            raise FormatError(f"'{self.root}' holds no questions in {self.split}", self.folder)
        index = self._volumes()
        root = self.root.resolve()
        for path in paths:
            task = re.sub(r"^Task\d+_", "", path.parent.name).replace("_", " ")
            for number, row in enumerate(read_rows(path)):
                where = f"row {number} of '{path.parent.name}/{path.name}'"
                name = needed(row, "VolumeName", where)
                identifier = f"{path.parent.name}/{path.stem}-{number}"
                volume, reason = index.find([name])
                if reason == "ambiguous":
                    yield Skipped(identifier, "several files have the name of its volume")
                    continue
                case = volume.resolve().relative_to(root).as_posix() if volume else name
                patient = _PATIENT.match(name)
                tags = {"family": task, "subtask": path.stem, "modality": "CT", "split": self.split}
                yield _rad3d_entry(identifier, row, About(case, patient[0] if patient else "", tags), where)

    def _volumes(self) -> Index:
        try:
            return Index.of(self.root)
        except UniReasonError as error:
            raise FormatError(error.came, error.expected, "put the volumes into the folder") from error


def _rad3d_entry(identifier: str, row: dict[str, str], about: About, where: str) -> Entry | Skipped:
    question = cell(row, "Question", where)
    if cell(row, "QuestionType", where) == "Open":
        return short(identifier, question, answer=cell(row, "Answer", where), about=about)
    options = [cell(row, f"Choice {letter}", where) for letter in "ABCD"]
    letter = cell(row, "AnswerChoice", where)
    return choice(identifier, question, options=["" if text == "-" else text for text in options], letter=letter, about=about)


# --- SLAKE: questions in ``train.json``, ``validate.json`` (or ``validation.json``) and ``test.json`` about
# ``imgs/xmlabN/source.jpg``.


_SLAKE_FILES = {"test": ("test.json",), "validation": ("validate.json", "validation.json"), "train": ("train.json",)}


class SlakeSuite(ListedSuite):
    """SLAKE; the option ``language`` is "en" (English questions), "zh" or "all"."""

    name = "slake"
    rule = SHORT_RULE
    folder = "the folder with test.json and imgs"
    splits = tuple(_SLAKE_FILES)
    known: ClassVar = {"language": ("en", "zh", "all")}

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``; those in other languages are no part of the suite."""
        path = next((self.root / name for name in _SLAKE_FILES[self.split] if (self.root / name).is_file()), None)
        if path is None:
            raise FormatError(f"'{self.root}' has no {' or '.join(_SLAKE_FILES[self.split])}", self.folder)
        wanted = self._options["language"]
        for number, row in enumerate(read_json(path, list)):
            where = f"row {number} of '{path.name}'"
            language = cell(row, "q_lang", where)
            if wanted not in ("all", language):
                continue
            said = cell(row, "modality", where)
            tags = {
                "family": cell(row, "content_type", where),
                "modality": modality_code(said) or said,
                "region": cell(row, "location", where),
                "answer_type": cell(row, "answer_type", where),
                "language": language,
                "split": self.split,
            }
            about = About(f"imgs/{relative(needed(row, 'img_name', where))}", tags=tags)
            identifier = cell(row, "qid", where) or f"{path.stem}-{number}"
            yield short(identifier, cell(row, "question", where), answer=cell(row, "answer", where), about=about)


# --- VQA-RAD: ``VQA_RAD Dataset Public.json`` beside ``VQA_RAD Image Folder``.


_VQA_RAD_INDEX, _VQA_RAD_PICTURES = "VQA_RAD Dataset Public.json", "VQA_RAD Image Folder"


class VqaRadSuite(ListedSuite):
    """VQA-RAD."""

    name = "vqa-rad"
    rule = SHORT_RULE
    folder = f"the folder with '{_VQA_RAD_INDEX}' and '{_VQA_RAD_PICTURES}'"
    splits = ("test", "train")

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``ListedSuite.questions``."""
        if not (self.root / _VQA_RAD_INDEX).is_file():
            raise FormatError(f"'{self.root}' has no '{_VQA_RAD_INDEX}'", self.folder)
        for number, row in enumerate(read_json(self.root / _VQA_RAD_INDEX, list)):
            where = f"row {number} of '{_VQA_RAD_INDEX}'"
            phrase = needed(row, "phrase_type", where)
            if (self.split == "test") != phrase.startswith("test"):
                continue
            tags = {
                "family": cell(row, "question_type", where),
                "region": cell(row, "image_organ", where),
                "answer_type": cell(row, "answer_type", where),
                "phrase": phrase.removeprefix("test_"),
                "linked": cell(row, "qid_linked_id", where),
                "split": self.split,
            }
            about = About(f"{_VQA_RAD_PICTURES}/{relative(needed(row, 'image_name', where))}", tags=tags)
            identifier = cell(row, "qid", where) or str(number)
            yield short(identifier, cell(row, "question", where), answer=cell(row, "answer", where), about=about)
