"""Whether an answer to a question of a suite is right: by our reading, and beside it by the published ones.

Options: the letter of the option that the answer names, by its letter or by its text (``metrics.answers.answer_choice``).
Open questions: the answer is one of the right texts after normalisation (``metrics.answers.same_text``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unireason.errors import FormatError
from unireason.evaluate.suites.suite import Entry
from unireason.grounding.prompts import letters_of
from unireason.metrics.answers import answer_choice, answer_part, answer_words, contradicts, same_text
from unireason.types import Trace

from .published import published_verdicts

RULE = "the option that the answer names by its letter or its text; for an open question the same words as a right answer"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one answer says and whether that is right.

    Attributes:
        said: The option letter; the answer as written for an open question; "" where nothing can be read.
        right: True if that is right. What cannot be read is wrong.
        published: Right, wrong or None (not counted) by every published extractor.
        mismatch: True if the answer names an option by its letter and states another text with it.
    """

    said: str
    right: bool
    published: Mapping[str, bool | None]
    mismatch: bool = False


def judge(entry: Entry, trace: Trace) -> Verdict:
    """Judge the answer of a trace.

    Args:
        entry: The question.
        trace: A response to it. One that never answers is wrong.

    Returns:
        The verdict; published extractors read ``trace.raw_text``.

    Raises:
        FormatError: If the trace was given other options, or the question has no readable truth.
    """
    if trace.options != entry.options:
        raise FormatError(
            f"the response to question {entry.id!r} was given the options {trace.options}", f"{entry.options}", "ask it again"
        )
    _check(entry)
    return _verdict(entry, trace.answer.text, trace.raw_text)


def judge_text(entry: Entry, response: str) -> Verdict:
    """Judge a response that is known as text alone.

    Args:
        entry: The question.
        response: The whole response, or the answer alone; an unclosed think block has no answer.

    Returns:
        The verdict.

    Raises:
        FormatError: If the question has no readable truth.
    """
    _check(entry)
    return _verdict(entry, answer_part(response) or "", response)


def _verdict(entry: Entry, answer: str, response: str) -> Verdict:
    published = published_verdicts(entry, response)
    if entry.options:
        letters = letters_of(entry.options)
        said = answer_choice(answer, letters, entry.options) or ""
        return Verdict(said, said == entry.letter, published, contradicts(answer, letters, entry.options))
    said = answer.strip() if answer_words(answer) else ""
    return Verdict(said, any(same_text(answer, text) for text in entry.answers), published)


def _check(entry: Entry) -> None:
    """Refuse a question that no answer could get right."""
    if entry.options and entry.letter not in tuple(letters_of(entry.options)):
        raise FormatError(
            f"question {entry.id!r} has {len(entry.options)} options and the letter {entry.letter!r}", "one of theirs"
        )
    if not entry.options and (entry.letter or not entry.answers):
        raise FormatError(f"question {entry.id!r} has no options", "texts that count as right, and no letter")
