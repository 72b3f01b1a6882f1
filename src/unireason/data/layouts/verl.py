"""Export to verl: prompts as Parquet, pictures as files.

Source: ``verl/utils/dataset/rl_dataset.py`` of verl: columns prompt (with ``<image>``), images, data_source, reward_model, extra_info
(with index), and agent_name for roll-outs by an agent loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.data.records import SampleRecord
from unireason.errors import FormatError
from unireason.files import json_text

from .album import Album
from .entries import Entry
from .posing import as_structs, pose
from .tables import Shards

if TYPE_CHECKING:
    import pyarrow as pa

AGENT = "unireason"
ABILITIES = {"vqa": "medical_vqa", "umrg": "medical_grounding"}
README = """# Data for verl

`data.train_files` are the `train-*.parquet` of this folder, `data.val_files` the `validation-*.parquet`.

* Picture paths are relative to this folder: start verl from here, or put the folder in front of them.
* Roll out with an agent loop named `unireason` that injects crops; `reward_model.ground_truth` is the letter of the right option, or
  for implicit grounding the JSON object {bbox_2d, point_2d}.
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


def write(folder: Path, split: str, entries: Iterable[Entry], *, album: Album) -> int:
    """Write one split as ``<split>-00000.parquet``, ...

    Args:
        folder: Folder of the export.
        split: Name of the split.
        entries: Its cases.
        album: Where pictures go.

    Returns:
        Rows written.

    Raises:
        FormatError: If a sample cannot be posed.
        UniReasonError: If a file cannot be written.
    """
    count = 0
    with Shards(folder, split, schema()) as shards:
        for entry in entries:
            for sample in entry.samples:
                shards.add(_row(entry, sample, count, album))
                count += 1
    return count


def ground_truth(sample: SampleRecord) -> str:
    """What a reward compares with: the letter, or ``{"bbox_2d", "point_2d"}`` as JSON for implicit grounding.

    Raises:
        FormatError: If an implicit sample has no box or no points.
    """
    if sample.task == "vqa":
        return sample.question.letter
    if sample.box is None or sample.points is None:
        raise FormatError(f"implicit sample {sample.id} has no box or no points", "both", "build the data set again")
    return json_text({"bbox_2d": [int(v) for v in sample.box.coords], "point_2d": [list(p) for p in sample.points]})


def _row(entry: Entry, sample: SampleRecord, index: int, album: Album) -> dict[str, Any]:
    posed = pose(sample, entry.frame)
    question, frame = sample.question, entry.frame
    return {
        "data_source": f"unireason/{sample.task}",
        "agent_name": AGENT,
        "prompt": as_structs(posed.prompt),
        "images": [{"image": album.path(entry, cut)} for cut in posed.shown],
        "ability": ABILITIES[sample.task],
        "reward_model": {"style": "rule", "ground_truth": ground_truth(sample)},
        "extra_info": {
            **{name: getattr(sample, name) for name in ("split", "id", "case", "patient", "kind", "task")},
            "family": question.family,
            "question": question.text,
            "answer": question.right,
            "index": index,
            "options": list(question.options),
            "frame": [frame.width, frame.height, frame.depth],
        },
    }
