"""A built data set written in the layouts of others.

Source: ``verl/utils/dataset/rl_dataset.py`` of verl: columns prompt (with ``<image>``), images, data_source, reward_model, extra_info
(with index), and agent_name for roll-outs by an agent loop.
Source: data/README.md and src/llamafactory/data of LLaMA-Factory (formatting "sharegpt" with the roles of OpenAI; "openai" would append
a line to every system text); picture paths are taken relative to the folder of ``dataset_info.json``.
Source: docs/en/Development.md and ``vlmeval/dataset/image_base.py`` of VLMEvalKit.
"""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text
from unireason.data.dataset import Dataset
from unireason.data.parquet import shards
from unireason.data.records import SPLITS, SampleRecord
from unireason.data.scene import LETTERS

from . import WRITABLE, umrg, unimed_cot
from .tables import Cut, FormatEntry, as_structs, entries, picture_id, pose, stem, whole

if TYPE_CHECKING:
    import pyarrow as pa


# --- Tables for VLMEvalKit: a TSV with pictures inside as base64; of a data set one a split for its multiple-choice evaluation.


OPTIONS = 4


def _columns(options: int) -> tuple[str, ...]:
    return ("index", "image", "image_path", "question", *LETTERS[:options], "answer", "category", "l2-category", "split")


COLUMNS = _columns(OPTIONS)
VLMEVALKIT_README = """# Data for VLMEvalKit

Copy a TSV of this folder to `$LMUData` (as a rule `~/LMUData`) and name it: `--data unireason_test`. VLMEvalKit takes a TSV with
options for a custom multiple-choice set.

* `category` is the question family, `l2-category` image or volume. A volume is a list of pictures in slice order.
* VLMEvalKit asks in its own words and may store pictures as JPEG: scores with it are not those of `unireason evaluate`.
"""

# What pandas.read_csv takes for a missing value, compared exactly.
_MISSING = {
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL"),
    *("NaN", "None", "n/a", "nan", "null"),
}


@dataclass(frozen=True, slots=True)
class VlmEvalRow:
    """One question of a table.

    Attributes:
        question: The question, without options.
        options: Option texts in order A, B, ...; none in a table of open questions.
        answer: The right letter, or the right text of an open question.
        category: Any name; VLMEvalKit reports accuracy for each.
        level: A second name, for the column "l2-category".
        split: Name of the split.
    """

    question: str
    options: tuple[str, ...]
    answer: str
    category: str
    level: str
    split: str


class VlmEvalTable:
    """Writes rows case by case."""

    def __init__(self, out: TextIO, options: int = OPTIONS) -> None:
        """Write the head of the table."""
        self._letters = LETTERS[:options]
        self._table = csv.DictWriter(out, _columns(options), dialect="excel-tab", lineterminator="\n")
        self._table.writeheader()
        self.count = 0

    def add(self, pictures: Sequence[tuple[str, bytes]], rows: Iterable[VlmEvalRow]) -> None:
        """Write the questions on one case.

        Args:
            pictures: File name and PNG file of its pictures, in slice order; VLMEvalKit unpacks them under these names, once.
            rows: Its questions.

        Raises:
            FormatError: If a question has more options than the table has columns.
        """
        first = self.count
        names = _listed([name for name, _ in pictures])
        for row in rows:
            if len(row.options) > len(self._letters):
                raise FormatError(
                    f"the question {row.question[:200]!r} has {len(row.options)} options", f"at most {len(self._letters)}"
                )
            self._table.writerow(
                {
                    "index": self.count,
                    "image": first if self.count > first else _listed([base64.b64encode(png).decode() for _, png in pictures]),
                    "image_path": names,
                    "question": _one_line(row.question),
                    **{letter: _shown(text) for letter, text in zip(self._letters, row.options, strict=False)},
                    "answer": _shown(row.answer),
                    "category": row.category,
                    "l2-category": row.level,
                    "split": row.split,
                }
            )
            self.count += 1


def write_vlmevalkit(folder: Path, split: str, entries: Iterable[FormatEntry]) -> int:
    """Write one split as ``unireason_<split>.tsv``; questions without options are left out."""
    with (folder / f"unireason_{split}.tsv").open("w", encoding="utf-8", newline="") as out:
        table = VlmEvalTable(out)
        for entry in entries:
            name = stem(entry.case.scene.case)
            pictures = [(f"{picture_id(name, (z, None))}.png", png) for z, png in enumerate(entry.pngs)]
            asked = ((sample, sample.question) for sample in entry.samples if sample.question.options)
            table.add(pictures, [VlmEvalRow(q.text, q.options, q.letter, q.family, s.kind, s.split) for s, q in asked])
    return table.count


def _listed(texts: list[str]) -> str:
    """One text as it is, several as a Python list."""
    return texts[0] if len(texts) == 1 else repr(texts)


def _shown(said: str) -> str:
    text = _one_line(said)
    return f"{text}." if text in _MISSING else text


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --- Picture files of an export: every picture and every crop written once, one folder a case.


FOLDER = "images"


class Album:
    """Writes pictures below ``images/``; entries must come case by case."""

    def __init__(self, folder: Path) -> None:
        """Set the folder of the export."""
        self._folder = folder
        self._case = ""
        self._written: set[str] = set()
        self.count = 0

    def path(self, entry: FormatEntry, cut: Cut) -> str:
        """The file of a picture, relative to the export, with forward slashes; it is written if it is not there yet."""
        if entry.case.scene.case != self._case:
            self._case, self._written = entry.case.scene.case, set()
        name = stem(self._case)
        relative = f"{FOLDER}/{name}/{picture_id(name, cut)}.png"
        if relative not in self._written:
            self._written.add(relative)
            self.count += 1
            path = self._folder / relative
            try:  # no renaming here: the whole export takes its place at the end
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(entry.png(cut))
            except OSError as error:
                raise UniReasonError(
                    f"'{path.name}' cannot be written ({error.strerror})", "", "make room and try again"
                ) from error
        return relative


# --- Export to LLaMA-Factory: messages with the roles of OpenAI as JSON lines, pictures as files, and the entry of
# ``dataset_info.json``.


INFO = "dataset_info.json"
TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
README = """# Data for LLaMA-Factory

Point `dataset_dir` to this folder and name a data set of `dataset_info.json`, such as `dataset: unireason_train`.

* Set `image_max_pixels` and `image_min_pixels` to the area limits of the checkpoint (Qwen2.5-VL: 12845056 and 3136): boxes are pixels
  of the pictures as they lie here, and LLaMA-Factory shrinks pictures above its own limit without moving the boxes.
* `<image>` behind a box stands for the crop that the engine injects there. Those tokens must carry no loss: mask vision tokens of
  assistant turns, which LLaMA-Factory does not do by itself.
* The form is "sharegpt": the form "openai" would append a line of its own to every system text.
"""


def write_llamafactory(folder: Path, split: str, entries: Iterable[FormatEntry], *, album: Album) -> int:
    """Write one split as ``unireason_<split>.jsonl`` and its entry; samples without a reasoning are left out."""
    name, count = f"unireason_{split}", 0
    with (folder / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n") as out:
        for entry in entries:
            for sample in (s for s in entry.samples if s.response):
                posed = pose(sample, entry.frame)
                images = [album.path(entry, cut) for cut in posed.pictures]
                row = {"messages": as_structs(posed.messages), "images": images}
                out.write(json_text(row, ensure_ascii=False) + "\n")
                count += 1
    index = folder / INFO
    known: dict[str, Any] = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    known[name] = {
        "file_name": f"{name}.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": TAGS,
    }
    index.write_text(json_text(known, indent=2) + "\n", encoding="utf-8")
    return count


# --- Export to verl: prompts as Parquet, pictures as files.


AGENT = "unireason"
ABILITIES = {"vqa": "medical_vqa", "umrg": "medical_grounding"}
VERL_README = """# Data for verl

`data.train_files` are the `train-*.parquet` of this folder, `data.val_files` the `validation-*.parquet`.

* Picture paths are relative to this folder: start verl from here, or put the folder in front of them.
* Roll out with an agent loop named `unireason` that injects crops; `reward_model.ground_truth` is the letter of the right option, or
  for implicit grounding the JSON object {bbox_2d, point_2d}, for an open question {gold, tolerance}.
"""


def schema() -> pa.Schema:
    """Arrow schema of the rows."""
    import pyarrow as pa

    text = pa.string()
    facts = dict.fromkeys(("split", "id", "case", "patient", "kind", "task", "family", "question", "answer"), text)
    return pa.schema(
        {
            "data_source": text,
            "agent_name": text,
            "prompt": pa.list_(pa.struct({"role": text, "content": text})),
            "images": pa.list_(pa.struct({"image": text})),
            "ability": text,
            "reward_model": pa.struct({"style": text, "ground_truth": text}),
            "extra_info": pa.struct({**facts, "index": pa.int64(), "options": pa.list_(text), "frame": pa.list_(pa.int32())}),
        }
    )


def write_verl(folder: Path, split: str, entries: Iterable[FormatEntry], *, album: Album, agent: str = AGENT) -> int:
    """Write one split as ``<split>-00000.parquet``, ..., for the agent loop of that name."""
    count = 0
    with shards(folder, split, schema()) as writer:
        for entry in entries:
            for sample in entry.samples:
                posed = pose(sample, entry.frame)
                question, frame = sample.question, entry.frame
                row = {
                    "data_source": f"unireason/{sample.task}",
                    "agent_name": agent,
                    "prompt": as_structs(posed.prompt),
                    "images": [{"image": album.path(entry, cut)} for cut in posed.shown],
                    "ability": ABILITIES[sample.task],
                    "reward_model": {"style": "rule", "ground_truth": ground_truth(sample)},
                    "extra_info": {
                        **{name: getattr(sample, name) for name in ("split", "id", "case", "patient", "kind", "task")},
                        "family": question.family,
                        "question": question.text,
                        "answer": question.right,
                        "index": count,
                        "options": list(question.options),
                        "frame": [frame.width, frame.height, frame.depth],
                    },
                }
                writer.add(row)
                count += 1
    return count


def ground_truth(sample: SampleRecord) -> str:
    """What a reward compares with: the letter; as JSON ``{"gold", "tolerance"}`` of an open question, ``{"bbox_2d", "point_2d"}`` of an
    implicit one."""
    question = sample.question
    if question.gold:
        return json_text({"gold": [list(texts) for texts in question.gold], "tolerance": question.tolerance}, ensure_ascii=False)
    if sample.task == "vqa":
        return question.letter
    if sample.box is None or sample.points is None:
        raise FormatError(f"implicit sample {sample.id} has no box or no points", "both", "build the data set again")
    return json_text({"bbox_2d": [int(v) for v in sample.box.coords], "point_2d": [list(p) for p in sample.points]})


# --- A built data set written in the layouts of others.


Progress = Callable[[int], None]

_READMES = {"llamafactory": README, "verl": VERL_README, "vlmevalkit": VLMEVALKIT_README}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    layout: str
    rows: dict[str, int]
    pictures: int


def export(
    dataset: Dataset,
    layout: str,
    out: Path,
    *,
    split: str | None = None,
    root: Path | None = None,
    agent: str = "",
    progress: Progress | None = None,
) -> Exported:
    """Write a data set in another layout.

    Args:
        dataset: The data set.
        layout: One of WRITABLE.
        out: A new or empty folder; it takes its place when everything is written.
        split: One split; None takes all, except that UniMed-CoT, whose layout knows no splits, takes "train".
        root: Folder of the source, for data sets that refer to it.
        agent: ``agent_name`` of every row of UniMed-CoT and verl, which names the loop of a roll-out; "" for the usual one.
        progress: Called with the number of cases done so far.

    Raises:
        FormatError: If layout or split are unknown, the split is empty, or a sample does not fit the layout.
        UniReasonError: If the folder is taken, or a picture cannot be had.
    """
    if layout not in WRITABLE:
        raise FormatError(f"the layout {layout!r} is unknown", ", ".join(WRITABLE))
    if agent and layout not in ("unimed-cot", "verl"):
        raise FormatError(f"an agent name was given for {layout}", "unimed-cot or verl", "leave it out")
    asked: Sequence[str] = (split,) if split else ("train",) if layout == "unimed-cot" else SPLITS
    splits = [name for name in asked if dataset.files("samples", name)]
    if not splits:
        raise FormatError(f"the data set has no samples of {', '.join(asked)}", "a split with samples", "choose another --split")
    done = 0

    def passing(name: str) -> Iterator[FormatEntry]:
        nonlocal done
        for entry in entries(dataset, name, root=root):
            yield entry
            done += 1
            if progress:
                progress(done)

    with whole(out) as folder:
        album, rows = Album(folder), dict[str, int]()
        for name in splits:
            rows |= _write(layout, folder, name, passing(name), album, agent)
        if not any(rows.values()):
            raise UniReasonError(
                f"no question of {', '.join(splits)} fits the layout {layout}",
                "implicit questions about images" if layout == "umrg" else "questions with options",
                "choose another split or layout",
            )
        if layout in _READMES:
            (folder / "README.md").write_text(_READMES[layout], encoding="utf-8")
    return Exported(layout, rows, album.count)


def _write(layout: str, folder: Path, split: str, cases: Iterator[FormatEntry], album: Album, agent: str) -> dict[str, int]:
    if layout == "unimed-cot":
        rows = (row for entry in cases for row in unimed_cot.from_entry(entry, agent or unimed_cot.AGENT))
        return {f"{split}/{table}": count for table, count in unimed_cot.write(folder, rows, prefix=split).items()}
    if layout == "umrg":
        return {split: umrg.write(folder / "data", (row for entry in cases for row in umrg.from_entry(entry)), prefix=split)}
    if layout == "llamafactory":
        return {split: write_llamafactory(folder, split, cases, album=album)}
    if layout == "verl":
        return {split: write_verl(folder, split, cases, album=album, agent=agent or AGENT)}
    return {split: write_vlmevalkit(folder, split, cases)}
