"""Functions of an exported lmms-eval task; the export writes this file beside its questions as ``utils.py``.

Pictures are looked for beside this file, so that the folder may be moved. Answers are judged as ``unireason`` judges them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unireason.evaluate.scoring import judge_text
from unireason.evaluate.suites.base import Entry
from unireason.grounding.profile import letters_of

FOLDER = Path(__file__).parent
REQUESTS = {
    True: "Answer with the letter of the right option.",
    False: "Answer in a few words.",
}
"""What is asked for, with options and without."""


def doc_to_visual(doc: Mapping[str, Any]) -> list[Any]:
    """The pictures of a question, as RGB Pillow pictures in slice order."""
    from PIL import Image

    shown = []
    for name in doc["pictures"]:
        with Image.open(FOLDER / name) as picture:
            shown.append(picture.convert("RGB"))
    return shown


def doc_to_text(doc: Mapping[str, Any], lmms_eval_specific_kwargs: Mapping[str, str] | None = None) -> str:
    """The prompt; ``pre_prompt`` goes in front of it, ``post_prompt`` takes the place of the request at its end."""
    more = lmms_eval_specific_kwargs or {}
    options = doc["options"]
    lines = [doc["question"], *(f"{letter}. {text}" for letter, text in zip(letters_of(options), options, strict=True))]
    return more.get("pre_prompt", "") + "\n".join([*lines, more.get("post_prompt", REQUESTS[bool(options)])])


def doc_to_target(doc: Mapping[str, Any]) -> str:
    """The right letter, or the first right text of an open question."""
    return str(doc["letter"] or doc["answers"][0])


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """1 or 0 for the answer to a question, as the metric "accuracy"."""
    entry = Entry(
        *(doc["id"], doc["case"], doc["case"], doc["question"], tuple(doc["options"]), tuple(doc["answers"]), doc["letter"]),
        gold=tuple(map(tuple, doc.get("gold", ()))),
        tolerance=doc.get("tolerance", 0.0),
    )
    return {"accuracy": float(judge_text(entry, results[0]).right)}
