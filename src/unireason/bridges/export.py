"""A suite written for another evaluation kit: pictures as grey levels or colours, questions in the suite's order.

An image is written at its own size. A volume becomes as many slices as models are shown, at the size of a model frame: kits hand over
all pictures of a question at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text
from unireason.core.types import Kind
from unireason.data.formats.exporters import VlmEvalRow, VlmEvalTable
from unireason.data.formats.tables import stem, whole
from unireason.data.frames import FrameRule, png
from unireason.evaluate.suites.base import Entry, Suite
from unireason.imaging.present import serialize

from . import KITS

QUESTIONS = "questions.jsonl"
_HELD_OUT = "test"
_ANY = "question"  # category of questions whose family is unknown; an empty cell would be read as a missing value
_VLMEVALKIT = """# {name} for VLMEvalKit

Copy the tables of this folder to `$LMUData` (as a rule `~/LMUData`) and name them: {tables}.

* A table with options is taken for a custom multiple-choice set and scored by VLMEvalKit's own rules. It answers a table of open questions
  (`_openended`) and does not score it.
* `category` is the question family, `l2-category` image or volume. A volume is a list of pictures in slice order.
* How the suite itself counts answers: {rule}
"""
_LMMS_EVAL = """# {name} for lmms-eval

Give `lmms-eval` this folder as `--include_path` and `{name}` as `--tasks`. After moving the folder, write its new path in `{name}.yaml`.
`unireason` must be installed beside lmms-eval, because it judges the answers.

* A volume is a list of pictures in slice order.
* How answers count: {rule}
"""
_TASK = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {questions}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: !function utils.doc_to_target
process_results: !function utils.process_results
generation_kwargs:
  max_new_tokens: 1024
  temperature: 0
  do_sample: false
metric_list:
  - metric: accuracy
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


@dataclass(frozen=True, slots=True)
class ExportedSuite:
    """What an export wrote."""

    kit: str
    name: str
    questions: dict[str, int]
    pictures: int


@dataclass(frozen=True, slots=True)
class _ExportShown:
    """A case as it is written: its pictures with their file names, and its questions."""

    kind: Kind
    pictures: list[tuple[str, bytes]]
    entries: list[Entry]


def export(
    suite: Suite,
    kit: str,
    out: Path,
    *,
    frame: FrameRule,
    count: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ExportedSuite:
    """Write the questions of a suite for another kit.

    Args:
        suite: The suite.
        kit: One of KITS.
        out: A new or empty folder; it takes its place when everything is written.
        frame: Slices, size and window of volumes; of images only the window is taken.
        count: The first so many questions; None takes all.
        progress: Called with the number of questions done after every case.

    Raises:
        FormatError: If the kit is unknown or the count below 1.
        UniReasonError: If the suite has no question, a file of it cannot be read, or the folder is taken.
    """
    if kit not in KITS or (count is not None and count < 1):
        raise FormatError(f"an export of {count or 'all'} questions to {kit!r}", f"at least 1, to one of {', '.join(KITS)}")
    entries = list(islice(suite.entries(), count))
    if not entries:
        raise UniReasonError(f"the suite '{suite.name}' has no question", "at least one", "ask for another split")
    parts = ("unireason", suite.name, _split(suite))
    name = "_".join("".join(c if c.isalnum() else "_" for c in part) for part in parts if part)
    write = _write_tables if kit == "vlmevalkit" else _write_task
    with whole(out) as folder:
        pictures = done = 0

        def cases() -> Iterator[_ExportShown]:
            nonlocal pictures, done
            for name_of_case, together in groupby(entries, key=lambda entry: entry.case):
                case = suite.read(name_of_case)
                if case.kind == "image":
                    stack = serialize(case, window=frame.window)
                else:
                    depth, height, width = frame.volume_shape
                    stack = serialize(case, depth=depth, size=(height, width), window=frame.window)
                # VLMEvalKit keeps what it once unpacked under a name: other pixels need another name.
                files = [
                    (f"{stem(name_of_case)}-{z:03d}-{hashlib.sha256(data).hexdigest()[:8]}.png", data)
                    for z, data in enumerate(map(png, stack.slices))
                ]
                shown = _ExportShown(case.kind, files, list(together))
                yield shown
                pictures, done = pictures + len(shown.pictures), done + len(shown.entries)
                if progress:
                    progress(done)

        write(folder, out.resolve(), name, suite, (entries, cases()))
    choices = sum(bool(entry.options) for entry in entries)
    found = {"choice": choices, "open": len(entries) - choices}
    return ExportedSuite(kit, name, {key: number for key, number in found.items() if number}, pictures)


def _split(suite: Suite) -> str:
    """The split of the questions; phantoms have none, all of them are held out."""
    return getattr(suite, "split", None) or ""


def _write_tables(folder: Path, _: Path, name: str, suite: Suite, asked: tuple[list[Entry], Iterator[_ExportShown]]) -> None:
    """A table of the questions with options, and one of the open ones, as far as there are any."""
    entries, cases = asked
    widths = {bool(entry.options): 0 for entry in entries}
    for entry in entries:
        widths[bool(entry.options)] = max(widths[bool(entry.options)], len(entry.options))
    names = {choice: name if choice else f"{name}_openended" for choice in widths}
    with ExitStack() as stack:
        tables = {}
        for choice, options in widths.items():
            file = stack.enter_context((folder / f"{names[choice]}.tsv").open("w", encoding="utf-8", newline=""))
            tables[choice] = VlmEvalTable(file, options)
        for shown in cases:
            for choice, table in tables.items():
                rows = [
                    VlmEvalRow(
                        e.question,
                        e.options,
                        e.letter or e.answers[0],
                        e.tags.get("family", _ANY),
                        shown.kind,
                        _split(suite) or _HELD_OUT,
                    )
                    for e in shown.entries
                    if bool(e.options) == choice
                ]
                table.add(shown.pictures, rows)
    said = ", ".join(f"`--data {text}`" for text in names.values())
    (folder / "README.md").write_text(_VLMEVALKIT.format(name=name, tables=said, rule=suite.rule), encoding="utf-8")


def _write_task(folder: Path, place: Path, name: str, suite: Suite, asked: tuple[list[Entry], Iterator[_ExportShown]]) -> None:
    """Task file, its functions, questions and pictures."""
    (folder / "images").mkdir()
    with (folder / QUESTIONS).open("w", encoding="utf-8") as out:
        for shown in asked[1]:
            for file, data in shown.pictures:
                (folder / "images" / file).write_bytes(data)
            paths = [f"images/{file}" for file, _ in shown.pictures]
            for entry in shown.entries:
                told: dict[str, Any] = {
                    "id": entry.id,
                    "case": entry.case,
                    "pictures": paths,
                    "question": entry.question,
                    "options": list(entry.options),
                    "answers": list(entry.answers),
                    "letter": entry.letter,
                    "category": entry.tags.get("family", _ANY),
                    "kind": shown.kind,
                    "split": _split(suite) or _HELD_OUT,
                }
                if entry.gold:
                    told |= {"gold": [list(texts) for texts in entry.gold], "tolerance": entry.tolerance}
                out.write(json_text(told, ensure_ascii=False) + "\n")
    functions = resources.files("unireason.bridges").joinpath("lmms_questions.py").read_text(encoding="utf-8")
    (folder / "utils.py").write_text(functions, encoding="utf-8")
    # A text of YAML. JSON writes a rare character as two halves, which YAML takes for two characters.
    path = "".join(c if " " <= c <= "~" else f"\\U{ord(c):08x}" for c in json_text(str(place / QUESTIONS), ensure_ascii=False))
    (folder / f"{name}.yaml").write_text(_TASK.format(name=name, questions=path), encoding="utf-8")
    (folder / "README.md").write_text(_LMMS_EVAL.format(name=name, rule=suite.rule), encoding="utf-8")
