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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from unireason import imaging
from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Case
from unireason.data import parquet
from unireason.data.formats.unimed_cot import Index
from unireason.data.item import Skipped, inside
from unireason.data.scene import LETTERS
from unireason.data.sources.base import VOLUME_ENDINGS, entries, read_json, read_rows, relative
from unireason.data.sources.m3d import patient_of
from unireason.data.survey import modality_code
from unireason.metrics.answers import answer_words

from .base import Entry

CHOICE_RULE = "An answer counts if the letter that it names is that of the right option."
SHORT_RULE = (
    "Questions answered by yes or no are asked with these two options and count by the letter; all others are open and count if the "
    "answer has the same words as that of the data (exact match after normalisation), or states the same amount."
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


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A row of an index file, and where it stands."""

    fields: Any
    where: str
    number: int

    def __call__(self, key: str) -> str:
        """See ``cell``."""
        return cell(self.fields, key, self.where)

    def needed(self, key: str) -> str:
        """A cell that the layout cannot do without."""
        found = self(key)
        if not found:
            raise FormatError(f"{self.where} has no {key!r}", "a row as published")
        return found

    def four(self, name: str) -> list[str]:
        """The cells of four options, such as "Choice A" to "Choice D"."""
        return [self(name + letter) for letter in "ABCD"]


class ListedSuite:
    """A suite in a folder."""

    def __init__(self, data: Listing, root: Path, *, split: str, options: Mapping[str, str]) -> None:
        """Keep where and what; nothing is read."""
        self.data, self.root, self.split, self.options = data, root, split, dict(options)
        self.name, self.rule = data.name, data.rule
        self.left_out: dict[str, int] = {}

    def entries(self) -> Iterator[Entry]:
        """See ``Suite.entries``; cases in the order in which the files name them first."""
        left_out: Counter[str] = Counter()
        cases: dict[str, list[Entry]] = {}
        names: Counter[str] = Counter()
        for found in self.data.questions(self):
            if isinstance(found, Skipped):
                left_out[found.reason] += 1
                continue
            names[found.id] += 1
            again = names[found.id]
            cases.setdefault(found.case, []).append(found if again == 1 else replace(found, id=f"{found.id}~{again}"))
        missing = [case for case in cases if not self.place(case).exists()]
        if missing and self.options["missing"] == "error":
            raise FormatError(
                f"'{missing[0]}' and {len(missing) - 1} other files of the suite '{self.name}' are not there",
                f"all {len(cases)} files that its questions are about",
                "complete the folder, or leave these questions out with the option missing=skip",
            )
        for case in missing:
            left_out["its file is not there"] += len(cases.pop(case))
        if not cases:
            raise UniReasonError(
                f"the suite '{self.name}' has no question that can be asked", self.data.folder, "check the folder"
            )
        yield from (entry for case in cases.values() for entry in case)
        self.left_out = dict(left_out)

    def read(self, case: str) -> Case:
        """See ``Suite.read``."""
        path = self.place(case)
        told = self.data.modality and path.name.lower().endswith(VOLUME_ENDINGS)  # arrays and pictures were normalised
        return imaging.read(path, **({"modality": self.data.modality} if told else {}))

    def place(self, case: str) -> Path:
        """Where the file of a case lies."""
        return inside(self.root, case)

    def index(self, places: Sequence[str], said: str) -> Path:
        """The first of several places that holds a file."""
        found = next((self.root / place for place in places if (self.root / place).is_file()), None)
        if found is None:
            raise FormatError(f"'{self.root}' has no {said}", self.data.folder)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """What is different from one suite to the next.

    Attributes:
        name: As on the command line.
        rule: See ``Suite.rule``.
        folder: What the folder holds, for messages.
        questions: The questions in the order of the index files.
        splits: The first one is taken if none is asked for.
        known: Further options; () takes any text, else the first value is the default.
        modality: Of volumes with real values.
        kind: How pictures are found and read.
    """

    name: str
    rule: str
    folder: str
    questions: Callable[[Any], Iterator[Entry | Skipped]]
    splits: tuple[str, ...] = ("test",)
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    modality: str = ""
    kind: type[ListedSuite] = ListedSuite

    def open(self, root: Path | None, *, split: str, options: Mapping[str, str]) -> ListedSuite:
        """The suite for a command line."""
        if root is None or not root.is_dir():
            given = "no folder" if root is None else f"'{root}', which is no folder"
            raise FormatError(f"the suite '{self.name}' was given {given}", self.folder)
        choices = {"missing": ("error", "skip"), **self.known}
        check_options(self.name, options, choices)
        if split and split not in self.splits:
            raise FormatError(f"the suite '{self.name}' has no split {split!r}", f"one of {', '.join(self.splits)}")
        defaults = {key: values[0] if values else "" for key, values in choices.items()}
        return self.kind(self, root, split=split or self.splits[0], options=defaults | dict(options))


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


def rows_of(path: Path, rows: Iterable[Any], name: str = "") -> Iterator[IndexRow]:
    """Rows with where they stand."""
    return (IndexRow(row, f"row {number} of '{name or path.name}'", number) for number, row in enumerate(rows))


def short(identifier: str, question: str, *, answer: str, about: About) -> Entry | Skipped:
    """A question with a short answer: yes and no become options, all else is open; see ``SHORT_RULE``."""
    plain = answer.casefold().rstrip(".")
    if plain in _YES_NO:
        return choice(identifier, question, options=_YES_NO, letter=LETTERS[_YES_NO.index(plain)], about=about)
    if not answer_words(answer):
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


# --- DeepTumorVQA, version 2: the option ``input`` is "volume" or "image" (the publishers' slice).


_INDEX = "benchmark/test_qa.json"
_FILES = {"volume": "benchmark/ct/{}/ct.nii.gz", "image": "benchmark/images_2d/whole/{}.png"}


def _deeptumorvqa(suite: ListedSuite) -> Iterator[Entry | Skipped]:
    rows = read_json(suite.root / _INDEX).get("questions")
    if not isinstance(rows, list):
        raise FormatError(f"'{_INDEX}' has no list of questions", "an object with 'questions'")
    for number, fields in enumerate(rows):
        row = IndexRow(fields, f"question {number} of '{_INDEX}'", number)
        image = row.needed("image_id")
        tags = {"family": row("question_type"), "subtype": row("question_subtype"), "structure": row("organ")}
        tags |= {"modality": "CT", "split": suite.split}
        about = About(_FILES[suite.options["input"]].format(image), image, tags)
        question, options = divided(row.needed("mc_question"), row("question"))
        yield choice(row("qid") or str(number), question, options=options, letter=row("correct_option"), about=about)


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


# --- M3D-VQA: the option ``form`` is "choice" (with the four options) or "open" (without them).


_M3D_VQA_FILES = {"test": "M3D_VQA_test.csv", "test5k": "M3D_VQA_test5k.csv", "validation": "M3D_VQA_val.csv"}
_TYPES = {"1": "plane", "2": "phase", "3": "organ", "4": "abnormality", "5": "location"}
_CASES = ("ct_case", "ct_quizze")


def _m3d_vqa(suite: ListedSuite) -> Iterator[Entry | Skipped]:
    name = _M3D_VQA_FILES[suite.split]
    path = suite.index((name, f"M3D-VQA/{name}"), name)
    for row in rows_of(path, read_rows(path)):
        image, kind = relative(row.needed("Image Path")), row("Question Type")
        # The volume lies below one of several folders; the path as given stands if it is nowhere.
        start = next((image.index(f"{case}/") for case in _CASES if f"{case}/" in image), 0)
        places = (image, f"M3D_Cap_npy/{image[start:]}", f"M3D_Cap/{image[start:]}", image[start:])
        volume = next((place for place in places if suite.place(place).is_file()), image)
        about = About(volume, patient_of(image), {"family": _TYPES.get(kind, kind), "split": suite.split})
        identifier, question = f"{path.stem}-{row.number}", row("Question")
        if suite.options["form"] == "open":
            yield short(identifier, question, answer=row("Answer"), about=about)
        else:
            yield choice(identifier, question, options=row.four("Choice "), letter=row("Answer Choice"), about=about)


# --- OmniMedVQA, the part with open access; files in natural order.


_OMNIMEDVQA_INDEX = "QA_information/Open-access"


def _omnimedvqa(suite: ListedSuite) -> Iterator[Entry | Skipped]:
    listed = entries(suite.root / _OMNIMEDVQA_INDEX, "the questions with open access")
    paths = [path for path in listed if path.suffix == ".json"]
    if not paths:
        raise FormatError(f"'{_OMNIMEDVQA_INDEX}' holds no JSON file", suite.data.folder)
    for path in paths:
        for row in rows_of(path, read_json(path, list)):
            said = row("modality_type")
            tags = {"family": row("question_type"), "modality": modality_code(said.partition("(")[0]) or said}
            tags |= {"dataset": row("dataset") or path.stem, "split": suite.split}
            about = About(relative(row.needed("image_path")), tags=tags)
            options = row.four("option_")
            letter = matching_letter(options, row("gt_answer"))
            identifier = row("question_id") or f"{path.stem}-{row.number}"
            yield choice(identifier, row("question"), options=options, letter=letter, about=about)


# --- PathVQA as Parquet: pictures inside the tables, in the columns image ({bytes, path}), question and answer.


_COLUMNS = ("image", "question", "answer")
_ROWS_AT_ONCE = 16


class PathVqaSuite(ListedSuite):
    """PathVQA; a case is the hash of a picture."""

    def __init__(self, data: Listing, root: Path, *, split: str, options: Mapping[str, str]) -> None:
        """See ``ListedSuite``."""
        super().__init__(data, root, split=split, options=options)
        self._rows: dict[str, tuple[Path, int]] = {}  # by case: table and row of its picture
        self._reading: tuple[Path | None, int, Iterator[dict[str, Any]]] = (None, 0, iter(()))

    def questions(self) -> Iterator[Entry | Skipped]:
        """See ``Listing.questions``."""
        paths = sorted((self.root / "data").glob(f"{self.split}-*.parquet"))
        if not paths:
            raise FormatError(f"'{self.root}' has no data/{self.split}-*.parquet", self.data.folder)
        for path in paths:
            lacking = [name for name in _COLUMNS if name not in parquet.columns_of(path)]
            if lacking:
                raise FormatError(f"'{path.name}' has no column {lacking[0]!r}", f"the columns {', '.join(_COLUMNS)}")
            for row in rows_of(path, parquet.stream(path, _COLUMNS, batch=_ROWS_AT_ONCE)):
                case = sha256(_picture(row.fields, row.where)).hexdigest()
                self._rows.setdefault(case, (path, row.number))
                about = About(case, tags={"split": self.split})
                yield short(f"{path.stem}-{row.number}", row("question"), answer=row("answer"), about=about)

    def place(self, case: str) -> Path:
        """The table in which a picture stands."""
        if case not in self._rows:
            for _ in self.questions():  # finds all of them
                pass
        if case not in self._rows:
            raise UniReasonError(f"the suite '{self.name}' has no picture {case[:80]!r}", "one of its entries")
        return self._rows[case][0]

    def read(self, case: str) -> Case:
        """See ``Suite.read``. Reading on in the order of the entries costs least: each table is then gone through once."""
        table = self.place(case)
        number = self._rows[case][1]
        path, position, stream = self._reading
        if path != table or position > number:
            path, position, stream = table, 0, parquet.stream(table, ("image",), batch=_ROWS_AT_ONCE)
        for values in stream:
            position += 1
            if position > number:
                self._reading = (path, position, stream)
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / f"{case[:16]}.jpg"
                    file.write_bytes(_picture(values, f"row {number} of '{table.name}'"))
                    return imaging.read(file)
        raise FormatError(f"'{table.name}' has changed", "the file of which the questions were listed")


def _picture(row: Mapping[str, Any], where: str) -> bytes:
    stored = row["image"]
    data = stored.get("bytes") if isinstance(stored, dict) else stored
    if not isinstance(data, bytes) or not data:
        raise FormatError(f"{where} has a picture without bytes", "pictures inside the table as {bytes, path}")
    return data


# --- PMC-VQA: the index beside the folder of pictures.


_PMC_VQA_FILES = {"test_2": "test_2.csv", "test_clean": "test_clean.csv", "test": "test.csv"}
_PICTURES = ("images", "images_2", "figures")
_ARTICLE = re.compile(r"PMC\d+")


def _pmc_vqa(suite: ListedSuite) -> Iterator[Entry | Skipped]:
    path = suite.root / _PMC_VQA_FILES[suite.split]
    places = [name for name in _PICTURES if (suite.root / name).is_dir()] or ["images"]
    for row in rows_of(path, read_rows(path)):
        picture = relative(row.needed("Figure_path"))
        found = next((name for name in places if suite.place(f"{name}/{picture}").is_file()), places[0])
        article = _ARTICLE.match(picture)
        about = About(f"{found}/{picture}", article[0] if article else "", {"split": suite.split})
        options = _without_letters(row.four("Choice "))
        answer = row("Answer") or row("Anwser")
        letter = row("Answer_label") or plain_letter(answer) or matching_letter(options, answer)
        identifier = row("index") or f"{path.stem}-{row.number}"
        yield choice(identifier, row("Question"), options=options, letter=letter, about=about)


def _without_letters(texts: list[str]) -> list[str]:
    """Choices without the letters that they begin with."""
    begun = [
        re.match(rf"({letter})\s{{0,3}}[:.)]\s{{0,3}}", text, re.IGNORECASE) for letter, text in zip("ABCD", texts, strict=True)
    ]
    small = all(begun)
    return [
        text[match.end() :] if match and (small or match[1].isupper()) else text for match, text in zip(begun, texts, strict=True)
    ]


# --- 3D-RAD: ``test/TaskN_Name/*.csv`` in natural order, and the volumes that they name, anywhere in the folder.


_PATIENT = re.compile(r"[A-Za-z]+_\d+")


def _rad3d(suite: ListedSuite) -> Iterator[Entry | Skipped]:
    root, split = suite.root, suite.split
    place = next((p for p in (root / split, root / "3DRAD" / split) if p.is_dir()), None)
    tasks = [] if place is None else [task for task in entries(place, suite.data.folder) if task.is_dir()]
    paths = [path for task in tasks for path in entries(task, "questions of a task") if path.suffix == ".csv"]
    if not paths:
        raise FormatError(f"'{root}' holds no questions in {split}", suite.data.folder)
    try:
        index = Index.of(root)
    except UniReasonError as error:
        raise FormatError(error.came, error.expected, "put the volumes into the folder") from error
    for path in paths:
        task = re.sub(r"^Task\d+_", "", path.parent.name).replace("_", " ")
        for row in rows_of(path, read_rows(path), f"{path.parent.name}/{path.name}"):
            name = row.needed("VolumeName")
            identifier = f"{path.parent.name}/{path.stem}-{row.number}"
            volume, reason = index.find([name])
            if reason == "ambiguous":
                yield Skipped(identifier, "several files have the name of its volume")
                continue
            case = volume.resolve().relative_to(root.resolve()).as_posix() if volume else name
            patient = _PATIENT.match(name)
            tags = {"family": task, "subtask": path.stem, "modality": "CT", "split": split}
            about, question = About(case, patient[0] if patient else "", tags), row("Question")
            if row("QuestionType") == "Open":
                yield short(identifier, question, answer=row("Answer"), about=about)
            else:
                options = ["" if text == "-" else text for text in row.four("Choice ")]
                yield choice(identifier, question, options=options, letter=row("AnswerChoice"), about=about)


# --- SLAKE: the option ``language`` is "en" (English questions), "zh" or "all"; questions in others are no part of the suite.


_SLAKE_FILES = {"test": ("test.json",), "validation": ("validate.json", "validation.json"), "train": ("train.json",)}


def _slake(suite: ListedSuite) -> Iterator[Entry | Skipped]:
    files = _SLAKE_FILES[suite.split]
    path = suite.index(files, " or ".join(files))
    for row in rows_of(path, read_json(path, list)):
        language = row("q_lang")
        if suite.options["language"] not in ("all", language):
            continue
        said = row("modality")
        tags = {"family": row("content_type"), "modality": modality_code(said) or said, "region": row("location")}
        tags |= {"answer_type": row("answer_type"), "language": language, "split": suite.split}
        about = About(f"imgs/{relative(row.needed('img_name'))}", tags=tags)
        yield short(row("qid") or f"{path.stem}-{row.number}", row("question"), answer=row("answer"), about=about)


# --- VQA-RAD: the index beside the folder of pictures.


_VQA_RAD_INDEX, _VQA_RAD_PICTURES = "VQA_RAD Dataset Public.json", "VQA_RAD Image Folder"


def _vqa_rad(suite: ListedSuite) -> Iterator[Entry | Skipped]:
    path = suite.index((_VQA_RAD_INDEX,), f"'{_VQA_RAD_INDEX}'")
    for row in rows_of(path, read_json(path, list)):
        phrase = row.needed("phrase_type")
        if (suite.split == "test") != phrase.startswith("test"):
            continue
        tags = {"family": row("question_type"), "region": row("image_organ"), "answer_type": row("answer_type")}
        tags |= {"phrase": phrase.removeprefix("test_"), "linked": row("qid_linked_id"), "split": suite.split}
        about = About(f"{_VQA_RAD_PICTURES}/{relative(row.needed('image_name'))}", tags=tags)
        yield short(row("qid") or str(row.number), row("question"), answer=row("answer"), about=about)


# --- The table.


PMC_VQA = Listing(
    "pmc-vqa", CHOICE_RULE, f"the folder with test_2.csv and one of {', '.join(_PICTURES)}", _pmc_vqa, tuple(_PMC_VQA_FILES)
)
LISTINGS: Mapping[str, Listing] = {
    own.name: own
    for own in (
        Listing(
            "slake",
            SHORT_RULE,
            "the folder with test.json and imgs",
            _slake,
            tuple(_SLAKE_FILES),
            {"language": ("en", "zh", "all")},
        ),
        Listing(
            "vqa-rad", SHORT_RULE, f"the folder with '{_VQA_RAD_INDEX}' and '{_VQA_RAD_PICTURES}'", _vqa_rad, ("test", "train")
        ),
        Listing(
            "path-vqa",
            SHORT_RULE,
            "the folder with data/test-*.parquet",
            PathVqaSuite.questions,
            ("test", "validation", "train"),
            kind=PathVqaSuite,
        ),
        PMC_VQA,
        Listing("omnimedvqa", CHOICE_RULE, f"the folder with {_OMNIMEDVQA_INDEX} and Images", _omnimedvqa, ("open-access",)),
        Listing(
            "m3d-vqa",
            f"Asked with options, an answer counts if it names the letter of the right one. Asked openly: {SHORT_RULE}",
            "the folder with M3D_VQA_test.csv and the volumes of M3D-Cap",
            _m3d_vqa,
            tuple(_M3D_VQA_FILES),
            {"form": ("choice", "open")},
        ),
        Listing(
            "3d-rad",
            f"Closed questions count if the answer names the letter of the right option. {SHORT_RULE}",
            "the folder with test/Task1_Image_Observation and so on, and the volumes",
            _rad3d,
            ("test", "train"),
            modality="CT",
        ),
        Listing(
            "deeptumorvqa",
            CHOICE_RULE,
            f"the folder with {_INDEX}",
            _deeptumorvqa,
            known={"input": tuple(_FILES)},
            modality="CT",
        ),
    )
}
