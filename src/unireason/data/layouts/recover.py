"""Questions found again in rows of UniMed-CoT: text, options, answer, looks. Rows written by this package give the whole sample back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unireason.data.columns import check_values
from unireason.data.question import FAMILIES, LETTERS
from unireason.data.records import SampleRecord, sample_from_row, sample_schema
from unireason.data.records.samples import unreadable
from unireason.errors import FormatError
from unireason.grounding.grammar import box_flaws
from unireason.grounding.steps import steps_from_text
from unireason.metrics.answers import answer_choice
from unireason.types import Box, Box2D, Box3D, Kind, Look

from .posing import IMAGE, Message
from .unimed_cot import RlRow, SftRow

_OPTION = re.compile(r"^\s{0,8}\(?([A-J])\s?[.):：]\s{0,8}(\S.*?)\s*$")
MAX_TEXT = 200_000


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a row says.

    Attributes:
        id: Table and row number, or the identifier of our sample.
        kind: "image" for one picture in the prompt, "volume" for several, and for rows without pictures.
        question: The question without placeholders, options and closing line.
        options: Option texts; () if the prompt lists none.
        letter: The right option; "" if the row does not tell.
        looks: Boxes of the reasoning with the words in front of them; the label may be "".
        response: The assistant's text with its placeholders; "" for reinforcement-learning rows.
        image_ids: Pictures of the prompt.
        origin: ``data_source``, "" for supervised rows.
        problems: Codes of what is odd about the text (see ``grounding.grammar``), "no_question", "no_answer".
        sample: The whole sample, if the row was written by this package.
    """

    id: str
    kind: Kind
    question: str
    options: tuple[str, ...]
    letter: str
    looks: tuple[Look, ...]
    response: str
    image_ids: tuple[str, ...]
    origin: str = ""
    problems: tuple[str, ...] = ()
    sample: SampleRecord | None = None


def from_sft(row: SftRow, identifier: str) -> Recovered:
    """What a supervised row says.

    Args:
        row: The row; what stands behind the last user message is the response.
        identifier: Kept as ``id``.
    """
    prompt, response = _divided(row.messages)
    question, options = read_prompt(prompt)
    shown = sum(content.count(IMAGE) for _, content in prompt)
    letters = LETTERS[: len(options)]
    steps, found = steps_from_text(
        response[:MAX_TEXT].replace(IMAGE, ""), choose=lambda text: answer_choice(text, letters, options)
    )
    looks = tuple(Look(step.label, _box(step.box_model)) for step in steps if step.type == "look")
    letter = next((step.choice or "" for step in reversed(steps) if step.type == "answer"), "")
    problems = [problem.code for problem in found] + [flaw for look in looks for flaw in box_flaws(look.box)]
    flat = any(not isinstance(look.box, Box3D) for look in looks)
    kind: Kind = "volume" if shown > 1 or (not shown and not flat) else "image"
    return Recovered(
        identifier, kind, question, options, letter, looks, response, row.image_ids[:shown],
        problems=_problems(problems, question, letter, options),
    )  # fmt: skip


def from_rl(row: RlRow, identifier: str) -> Recovered:
    """What a reinforcement-learning row says.

    Args:
        row: The row.
        identifier: Kept as ``id`` unless the row carries a sample of ours.

    Raises:
        FormatError: If it carries a sample of ours that contradicts itself, or is no question with options.
    """
    question, options = read_prompt(row.prompt)
    truth = row.reward_model.get("ground_truth")
    letter = answer_choice(truth, LETTERS[: len(options)], options) or "" if isinstance(truth, str) else ""
    sample = _kept(row.extra_info)
    kind: Kind = "image" if len(row.image_ids) == 1 else "volume"
    return Recovered(
        sample.id if sample else identifier, kind, question, options, letter, (), "", row.image_ids,
        row.data_source, _problems([], question, letter, options), sample,
    )  # fmt: skip


def _kept(extra: Mapping[str, Any]) -> SampleRecord | None:
    """The sample that this package left in a row; it may have been tampered with, so types are held against the schema first."""
    import pyarrow as pa

    kept = extra.get("sample")
    if not isinstance(kept, dict) or str(extra.get("index")) != kept.get("id"):
        return None
    columns = pa.schema([field for field in sample_schema() if field.name in kept])
    try:
        batch = pa.RecordBatch.from_pylist([kept], schema=columns)
        check_values(batch, "samples")
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise unreadable("sample", error) from error
    sample = sample_from_row(batch.to_pylist()[0])
    if sample.question.family not in ("", *FAMILIES):
        raise FormatError(f"sample {sample.id} is of the family {sample.question.family!r}", ", ".join(FAMILIES))
    return sample


def read_prompt(prompt: Sequence[Message]) -> tuple[str, tuple[str, ...]]:
    """The question and its options in the last user message.

    Args:
        prompt: Messages; without a user message the question is "".

    Returns:
        (question, options). Options are the longest run of lines "A. ...", "B. ..." in order; what follows them is a closing line
        and is dropped.
    """
    said = next((content for role, content in reversed(prompt) if role == "user"), "")
    lines = said[:MAX_TEXT].replace(IMAGE, "").splitlines()
    found = [match if (match := _OPTION.match(line)) else None for line in lines]
    best: tuple[int, int] = (len(lines), 0)
    for start, match in enumerate(found):
        if match is None or match[1] != "A":
            continue
        count = 0
        while start + count < len(lines) and (other := found[start + count]) and other[1] == LETTERS[count : count + 1]:
            count += 1
        best = max(best, (start, count), key=lambda run: run[1])
    start, count = best if best[1] > 1 else (len(lines), 0)
    options = tuple(match[2] for match in found[start : start + count] if match)
    return "\n".join(lines[:start]).strip(), options


def _divided(messages: Sequence[Message]) -> tuple[tuple[Message, ...], str]:
    """The messages up to the last user message, and what the assistant says behind it."""
    last = max((i for i, (role, _) in enumerate(messages) if role == "user"), default=len(messages) - 1)
    return tuple(messages[: last + 1]), "".join(content for role, content in messages[last + 1 :] if role == "assistant")


def _box(numbers: tuple[float, ...]) -> Box:
    return Box2D(*numbers) if len(numbers) == 4 else Box3D(*numbers)


def _problems(codes: list[str], question: str, letter: str, options: tuple[str, ...]) -> tuple[str, ...]:
    """Codes once each, in order, with those of a missing question or answer."""
    codes += [] if question else ["no_question"]
    codes += ["no_answer"] if options and not letter else []
    return tuple(dict.fromkeys(codes))
