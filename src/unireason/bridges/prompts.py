"""From the prompt of a kit back to a question and its options.

Kits put question, options and a request about the form of the answer into one text. Options are taken out only where there is no doubt
about any line: one run of lines labelled A, B, ... in one style, a question in front, behind it nothing but a request. Every other text
is an open question as it stands.
"""

from __future__ import annotations

import re

from unireason.engine.asking import Question

_LABELLED = re.compile(r"[ \t]{0,4}(?P<open>\(?)(?P<letter>[A-Z])(?P<close>[.:)])[ \t]{0,4}(?P<text>\S.*)")
_REQUEST = re.compile(
    r"(?:please|answer|select|choose|pick|respond|reply|give|output|put|write|think|your answer)\b|[请請]", re.IGNORECASE
)
_QUESTION = re.compile(r"(?:question|问题|問題)[ \t]{0,4}[:：][ \t]{0,4}", re.IGNORECASE)
_OPTIONS = re.compile(r"(?:(?:answer )?(?:options|choices)|选项|選項)[ \t]{0,4}[:：]?", re.IGNORECASE)


def read_prompt(text: str) -> Question:
    """The question of a prompt.

    Args:
        text: What the kit asks. Words such as "Question:" in front of the question and "Options:" in front of the options go with them.

    Returns:
        The question with its options, or the whole text as an open question.
    """
    lines = [line.rstrip() for line in text.strip().splitlines()]
    found = {n: match for n, line in enumerate(lines) if (match := _LABELLED.fullmatch(line))}
    as_it_is = Question(text.strip())
    if len(found) < 2:
        return as_it_is
    first, last = min(found), max(found)
    letters = "".join(match["letter"] for match in found.values())
    styles = {(match["open"], match["close"]) for match in found.values()}
    whole = last - first + 1 == len(found) and letters == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(found)] and len(styles) == 1
    if not whole or not all(_REQUEST.match(line.strip()) for line in lines[last + 1 :] if line.strip()):
        return as_it_is
    question = _bare(lines[:first])
    return Question(question, tuple(match["text"].strip() for match in found.values())) if question else as_it_is


def _bare(lines: list[str]) -> str:
    """The question without the words that announce it and the options."""
    kept = list(lines)
    while kept and (not kept[-1].strip() or _OPTIONS.fullmatch(kept[-1].strip())):
        kept.pop()
    text = "\n".join(kept).strip()
    return _QUESTION.sub("", text, count=1) if _QUESTION.match(text) else text
