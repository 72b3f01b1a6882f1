"""Which option letter an answer names.

``answer_choice`` is our reading: only what stands behind the reasoning counts, and an article is not an option. ``same_text``
compares answers of open questions. The two ``published_*`` readings exist to compare with published figures. All of them look at
a bounded context of each candidate, so that no text makes them slow.
"""

from __future__ import annotations

import re
import unicodedata

from unireason.errors import FormatError

THINK_START, THINK_END = "<think>", "</think>"

_SPECIAL = re.compile(r"<\|[a-z_]{1,40}\|>|</?answer>", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{\s{0,4}(?:\\(?:text|math)[a-z]{0,4}\{\s{0,4})?\(?([A-Za-z])(?:\)?\s{0,4}\}|[.):])")
_WRAPPED = re.compile(r"<answer>\s{0,8}[*(\[]{0,3}([A-Za-z])(?![A-Za-z])", re.IGNORECASE)
_OPEN, _CLOSE = r"[*_(\[\"'$]{0,4}", r"[*_)\]\"'$]{0,4}"
# "the answer is B", "Answer: c", "Answer - C", "the correct option would be (D)", "Choice: a", "I choose option A", "I think C."
_STATED = re.compile(
    r"\b(?:(?P<firm>answers?|(?:correct|right|best|my|final)\s{1,3}(?:option|choice)|choice(?=:)|choose|select|pick)|think|believe|guess|it\s{1,3}is)"
    r"(?:(?:\s{1,3}[a-z]{1,12}){0,6}?\s{1,3}(?:is|be))?(?:\s{1,3}[-–—]\s)?[\s:=*_]{0,8}"
    r"(?P<word>(?:the\s{1,3})?(?:option|choice|letter)\s{1,3})?" + _OPEN + r"(?P<letter>[A-Za-z])(?![A-Za-z'’-])",
    re.IGNORECASE,
)
# "Option C is correct", "B seems to be the best answer"
_CONFIRMED = re.compile(
    r"(?<![A-Za-z'’-])(?P<letter>[A-Z])" + _CLOSE + r"\s{1,3}(?:is|seems|looks|appears)(?:\s{1,3}to\s{1,3}be)?(?:\s{1,3}the)?"
    r"(?:\s{1,3}(?:most|clearly|therefore|likely))?\s{1,3}(?:correct|right|best|true|likely)\b"
)
# "B.", "(b) right kidney", "**C**", "D" or "D - spleen" at the start of a line
_LEADING = re.compile(
    r"^[ \t]{0,8}" + _OPEN + r"([A-Za-z])(?:[*_\"'$]{0,4}[.):\],]|[*_$]{1,4}|[ \t]{1,3}[-–—][ \t]|[ \t]{0,8}$)", re.MULTILINE
)
_MENTIONED = re.compile(r"\b(?:[Oo]ption|[Cc]hoice)\s{1,3}" + _OPEN + r"([A-Za-z])(?![A-Za-z'’-])|[(\[]([A-Z])[)\]]")
_ENDS_HERE = re.compile(_CLOSE + r"\s{0,8}(?:[.,;:!?]|\n|$)|[*_)\]\"']{1,4}|\s{1,3}(?:because|since|as|or|and|for)\b")
_ALTERNATIVE = re.compile(_CLOSE + r"\s{0,3}(?:or|and|/|,)\s{0,3}(?:option\s{1,3})?" + _OPEN + r"[A-Z](?![A-Za-z'’-])")
_DENIED = re.compile(
    r"(?:\bnot|n't|\bnever|\brather than|\binstead of|\bexcept)\s{1,3}(?:the\s{1,3})?(?:correct\s{1,3})?$", re.IGNORECASE
)

_WORD = re.compile(r"(?<![\w.])-(?=\d)|\d+(?:[.,]\d+)*|[^\W\d_]+|[<>=\u2264\u2265\u00b1+%\u00b0/]")
_ARTICLES = {"a", "an", "the"}


def answer_choice(response: str, letters: str) -> str | None:
    """The option letter that a response names.

    Args:
        response: A whole response or the answer alone. What stands before the last ``</think>`` does not count; an unclosed
            think block has no answer.
        letters: The letters on offer, such as "ABCD"; "" for an open question.

    Returns:
        One of ``letters``, or None if no letter is named, the named one is not on offer, two are named as equals, or the
        response is empty. In this order: a boxed or wrapped letter, the last statement ("the answer is B", "B is correct"), a
        letter that leads the answer ("B. Left kidney"), the only option mentioned ("option B"), a letter that leads a later line.
    """
    offered = set(letters.upper())
    answer = answer_part(response)
    if not offered or answer is None:
        return None
    boxed = [*_WRAPPED.finditer(answer), *_BOXED.finditer(answer)]
    if boxed:
        return _offered(boxed[-1][1], offered)
    answer = _SPECIAL.sub(" ", answer).strip()
    stated = _last_statement(answer)
    if stated is not None:
        return None if _ALTERNATIVE.match(answer, stated.end("letter")) else _offered(stated["letter"], offered)
    leading = [m for m in _LEADING.finditer(answer) if not _ALTERNATIVE.match(answer, m.end(1))]
    leaders = {m[1].upper() for m in leading}
    if leading and leading[0].start() == 0:
        return _offered(leaders.pop(), offered) if len(leaders) == 1 else None
    mentioned = {(m[1] or m[2]).upper() for m in _MENTIONED.finditer(answer) if not _is_denied(answer, m.start())}
    named = mentioned or leaders
    return _offered(named.pop(), offered) if len(named) == 1 else None


def same_text(answer: str, gold: str) -> bool:
    """True if two free answers are the same words: exact match after normalisation.

    Normalised means: compatibility forms unified, case folded, tags, blanks and punctuation dropped, an article in front dropped.
    Numbers keep their sign and decimals, and signs that carry meaning (< > = + % and their like) stay.

    Args:
        answer: The answer alone, without reasoning. One without a word is never right.
        gold: The right answer.

    Raises:
        FormatError: If ``gold`` has no word.

    Source: exact match of SQuAD, arXiv 1606.05250, section 6.1; what is kept for measurements is ours.
    """
    right = answer_words(gold)
    if not right:
        raise FormatError(f"the gold answer is {gold!r}", "at least one word or number")
    return answer_words(answer) == right


def answer_words(text: str) -> tuple[str, ...]:
    """The words by which ``same_text`` compares answers; none for a text without a word or number."""
    plain = unicodedata.normalize("NFKC", _SPECIAL.sub(" ", text)).casefold()
    words = tuple(_WORD.findall(plain))
    return words[1:] if len(words) > 1 and words[0] in _ARTICLES else words


def answer_part(response: str) -> str | None:
    """What stands behind the last ``</think>``: all of a response without a think block, None where the block is unclosed."""
    _, closed, tail = response.rpartition(THINK_END)
    if THINK_START in tail:
        return None
    return tail if closed else response


def published_inference_choice(response: str) -> str | None:
    """The letter A to D that the published inference script reads; None for none. For comparisons only.

    Closed think blocks are dropped. Then: the first letter behind the word "answer", the first letter with a full stop behind
    it, a letter that ends the text.

    Source: derived from the cases ``published_choice``.
    """
    text = _without_think(response).strip()
    for pattern in (r"answer\s{0,20}(?:is)?\s{0,20}:?\s{0,20}([A-D])\b", r"\b([A-D])\.", r"\b([A-D])\Z"):
        found = re.search(pattern, text, re.IGNORECASE)
        if found:
            return found[1].upper()
    return None


def published_reward_choice(text: str) -> str:
    """The letter A to D that the published reward reads, also from a gold answer; "" for none. For comparisons only.

    Closed think blocks are dropped, then the first single letter counts in either case: the article "a" is option A.

    Source: derived from the cases ``published_choice`` and ``published_mcq_reward``.
    """
    found = re.search(r"\b([A-D])\b", _without_think(text), re.IGNORECASE)
    return found[1].upper() if found else ""


def _offered(letter: str, offered: set[str]) -> str | None:
    return letter.upper() if letter.upper() in offered else None


def _last_statement(answer: str) -> re.Match[str] | None:
    """The last sentence part that names a letter outright, in either wording."""
    found = [m for m in _STATED.finditer(answer) if _is_statement(m, answer)]
    found += [m for m in _CONFIRMED.finditer(answer) if not _is_denied(answer, m.start())]
    return max(found, key=lambda m: m.start("letter"), default=None)


def _is_statement(found: re.Match[str], answer: str) -> bool:
    """True unless the letter is an article ("the answer is a cyst") or denied ("the answer is not B", "not option A")."""
    named, letter = found["word"] is not None, found["letter"]
    if _is_denied(answer, found.start("word") if named else found.start("letter")) or _is_denied(answer, found.start()):
        return False
    plain = found["firm"] is not None and letter.isupper() and letter not in "AI"
    return named or plain or bool(_ENDS_HERE.match(answer, found.end("letter")))


def _is_denied(answer: str, start: int) -> bool:
    return bool(_DENIED.search(answer[max(0, start - 40) : start]))


def _without_think(text: str) -> str:
    """The text without its closed think blocks, tags in either case, in one pass."""
    lowered, kept, position = text.lower(), [], 0
    while (start := lowered.find(THINK_START, position)) >= 0:
        end = lowered.find(THINK_END, start)
        if end < 0:
            break
        kept.append(text[position:start])
        position = end + len(THINK_END)
    return "".join([*kept, text[position:]])
