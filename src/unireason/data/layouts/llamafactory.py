"""Export to LLaMA-Factory: messages in the OpenAI form as JSON lines, pictures as files, and the entry of ``dataset_info.json``.

LLaMA-Factory demands as many ``<image>`` placeholders in the messages, the assistant's included, as the row has pictures, in order.

Source: data/README.md and src/llamafactory/data of LLaMA-Factory (formatting "openai"); picture paths are taken relative to the
folder of ``dataset_info.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unireason.files import json_text

from .album import Album
from .entries import Entry
from .posing import as_structs, pose

INFO = "dataset_info.json"
TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
README = """# Data for LLaMA-Factory

Point `dataset_dir` to this folder and name a data set of `dataset_info.json`, such as `dataset: unireason_train`.

* Set `image_max_pixels` and `image_min_pixels` to the area limits of the checkpoint (Qwen2.5-VL: 12845056 and 3136): boxes are pixels
  of the pictures as they lie here, and LLaMA-Factory shrinks pictures above its own limit without moving the boxes.
* `<image>` behind a box stands for the crop that the engine injects there. Those tokens must carry no loss: mask vision tokens of
  assistant turns, which LLaMA-Factory does not do by itself.
"""


def write(folder: Path, split: str, entries: Iterable[Entry], *, album: Album) -> int:
    """Write one split as ``unireason_<split>.jsonl`` and its entry; samples without a reasoning are left out.

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
    name, count = f"unireason_{split}", 0
    with (folder / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n") as out:
        for entry in entries:
            for sample in (s for s in entry.samples if s.response):
                posed = pose(sample, entry.frame)
                images = [album.path(entry, cut) for cut in posed.pictures]
                row = {"messages": as_structs(posed.messages), "images": images}
                out.write(json_text(row, ensure_ascii=False) + "\n")
                count += 1
    _register(folder / INFO, name)
    return count


def _register(path: Path, name: str) -> None:
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[name] = {
        "file_name": f"{name}.jsonl",
        "formatting": "openai",
        "columns": {"messages": "messages", "images": "images"},
        "tags": TAGS,
    }
    path.write_text(json_text(known, indent=2) + "\n", encoding="utf-8")
