"""Whether a free answer is right: a name or a few words, an amount with its unit, or a set of names.

Evaluation, rewards and the checks of data ask here. Words are compared as a whole, so that what is denied ("not in the liver"), named
beside others or left open between two is wrong. An amount must be one: "20 to 30 mm" and "more than 20 mm" state none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from unireason.core.errors import FormatError
from unireason.metrics.answers import answer_words

_SMALL = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
)
_ONES = {word: n for n, word in enumerate(_SMALL)}
_TENS = {
    word: 10 * n for n, word in enumerate(re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
_IN_WORDS = rf"(?:{'|'.join(_TENS)})(?:[ -](?:{'|'.join(_SMALL[1:10])}))?|{'|'.join(reversed(_SMALL))}"

# What a unit measures, how much it is of the first one of its kind, and how it is written.
_UNITS: tuple[tuple[str, float, str], ...] = (
    *(
        unit
        for side, mm in ((r"(?:mm|millimet(?:re|er)s?)", 1.0), (r"(?:cm|centimet(?:re|er)s?)", 10.0))
        for unit in (
            ("area", mm**2, rf"(?:sq\.?|square) ?{side}|{side} ?\^?2"),
            ("volume", mm**3, rf"(?:cu\.?|cubic) ?{side}|{side} ?\^?3"),
            ("length", mm, side),
        )
    ),
    ("volume", 1e3, r"ml|millilit(?:re|er)s?|ccm?"),
    ("volume", 1e6, r"l|lit(?:re|er)s?"),
    ("share", 1.0, r"%|per ?cent"),
    *((kind, 1.0, rf"{kind}s?") for kind in ("pixel", "voxel", "slice", "degree")),
)
_UNIT = "|".join(f"(?P<u{n}>{text})" for n, (_, _, text) in enumerate(_UNITS))
_DIGITS = r"-?\d+(?:,\d{3})*(?:\.\d+)?"
_AMOUNT = re.compile(rf"(?<![\w.,^-])(?P<number>{_DIGITS}|{_IN_WORDS})(?:[ -]?(?:{_UNIT}))?(?![\w^]|[.,]\d)")
_GOLD = re.compile(rf"(?P<number>{_DIGITS})(?: ?(?:{_UNIT}))?[.!]?")
# What makes a range, a bound or a denial of an amount.
_JOINED = re.compile(
    rf"\s*(?:to|-|,|,?\s?(?:and|or)|x|\*|by|\u00d7|\u00b1|\+/?-|/|\u2044|of|until|through|)\s*(?:-?\d|\b(?:{_IN_WORDS})\b)|"
    r"\s*\+|\s+or (?:more|less|larger|smaller)\b"
)
_BOUND = re.compile(
    r"(?:[<>\u2264\u2265]=?|\b(?:\w+er|more|less) than|\bat (?:least|most)|\bup to|\b(?:over|under|above|below|beyond|exceed(?:s|ing)?))"
    r"\s*(?:(?:about|roughly|approximately|around)\s|~)?\s*$"
)
_DENIED = re.compile(r"\b(?:not|no|never|neither|nor|none|without|cannot|unlikely)\b|n't")
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-") | {"\u2019": "'"})

_ARTICLES = ("the", "a", "an")
# Words in front of an answer and behind a place that say nothing.
_FRONT = [
    text.split()
    for text in (
        *("the answer is", "answer is", "answer", "it is", "it s", "that is", "this is", "these are", "they are"),
        *("located", "found", "seen", "in", "on", "at", "to", "within", "inside"),
    )
]
_BEHIND = ("side", "half", "part", "quarter", "quadrant")
_BETWEEN = re.compile(r"[,;&/\n\u2022]|\bas well as\b|\bplus\b|\bboth\b")
_MOST_READ = 2000
"""Characters: a longer text is no answer in a few words."""


def right_answer(answer: str, gold: Sequence[Sequence[str]], tolerance: float = 0.0) -> bool:
    """True if a free answer is right.

    Args:
        answer: The answer alone, without reasoning.
        gold: All that has to be named, and of each the texts that count for it. Of one the answer must say one of its texts
            (``same_text``), of several it must name them all, in any order, and nothing else.
        tolerance: By how much an amount may be off, in the unit in which ``gold`` gives it.

    Raises:
        FormatError: If nothing has to be named, or a text of ``gold`` has no word.
    """
    if not gold or not all(gold) or isinstance(gold, str) or any(isinstance(group, str) for group in gold):
        raise FormatError(f"the gold answers are {gold!r}", "of all that has to be named at least one text")
    empty = [text for group in gold for text in group if not answer_words(text)]
    if empty:
        raise FormatError(f"the gold answer is {empty[0]!r}", "at least one word or number")
    if len(gold) > 1:
        return _all_named(answer, gold)
    return any(same_text(answer, text, tolerance) for text in gold[0])


def same_text(answer: str, gold: str, tolerance: float = 0.0) -> bool:
    """True if a free answer says the same as one right text.

    Case, articles, punctuation, tags, number words and the number of a noun do not count, nor do words around a place ("on the left side"
    is "left"). Where ``gold`` is a number, with a unit or without, the answer must state that amount and no other, in any unit of its kind
    (mm and cm, mm2 and cm2, ml, cm3 and mm3), at most ``tolerance`` off; other words may stand around it.

    Raises:
        FormatError: If ``gold`` has no word.

    Source: exact match of SQuAD, arXiv 1606.05250, section 6.1; all about amounts, and what else does not count, is ours.
    """
    right = _bare(_words(gold))
    if not right:
        raise FormatError(f"the gold answer is {gold!r}", "at least one word or number")
    amount = _GOLD.fullmatch(_plain(gold).strip())
    if amount:
        return _same_amount(answer, amount, tolerance)
    return _alike(_bare(_words(answer)), right)


# --- Words.


def _words(text: str) -> list[str]:
    """Words by which texts are compared: no article, numbers in digits."""
    found = list(answer_words(text))
    words: list[str] = []
    for n, word in enumerate(found):
        if word in _ARTICLES and n < len(found) - 1:
            continue
        if 0 < _ONES.get(word, 0) < 10 and n and found[n - 1] in _TENS:
            words[-1] = str(_TENS[found[n - 1]] + _ONES[word])
        else:
            words.append(str(_ONES.get(word, _TENS.get(word, word))))
    return words


def _bare(words: list[str]) -> list[str]:
    """The same without what says nothing in front and behind; one word is kept."""
    start, end = 0, len(words)
    while front := next((f for f in _FRONT if len(f) < end - start and words[start : start + len(f)] == f), []):
        start += len(front)
    while end - start > 1 and words[end - 1] in _BEHIND:
        end -= 1
    return words[start:end]


def _alike(one: Sequence[str], other: Sequence[str]) -> bool:
    same = (a == b or a in _plurals(b) or b in _plurals(a) for a, b in zip(one, other, strict=False))
    return len(one) == len(other) and all(same)


def _plurals(word: str) -> set[str]:
    """What several of a thing may be called, by the letters of its name."""
    if len(word) < 3 or not (word.isascii() and word.isalpha()):
        return set()
    found = {f"{word}es" if word.endswith(("s", "x", "z", "ch", "sh")) else f"{word}s"}
    if word.endswith("y") and word[-2] not in "aeiou":
        found = {f"{word[:-1]}ies"}
    for end, many in (("sis", "ses"), ("us", "i"), ("um", "a"), ("a", "ae"), ("ix", "ices"), ("ex", "ices")):
        if word.endswith(end):
            found.add(word[: -len(end)] + many)
    return found


# --- Amounts.


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", re.sub(r"<\|[a-z_]{1,40}\|>|</?answer>", " ", text)).casefold().translate(_DASHES)


def _value(found: re.Match[str]) -> tuple[str, float, float]:
    """What an amount measures ("" for a bare number), how much it is in the first unit of its kind, and how much its own unit is."""
    text = found["number"]
    digits = text[-1].isdecimal()
    number = float(text.replace(",", "")) if digits else float(sum(_TENS.get(w, _ONES.get(w, 0)) for w in re.split("[ -]", text)))
    kind, scale = next(((kind, scale) for n, (kind, scale, _) in enumerate(_UNITS) if found[f"u{n}"]), ("", 1.0))
    return kind, number * scale, scale


def _same_amount(answer: str, gold: re.Match[str], tolerance: float) -> bool:
    """True if an answer states an amount of the right kind, and all of that kind that it states are right."""
    text, (kind, right, unit) = _plain(answer), _value(gold)
    if len(text) > _MOST_READ:
        return False
    stated = list(_AMOUNT.finditer(text))
    if not stated:  # "no lesions"
        return not kind and right == 0 and re.findall(_DENIED, text) in (["no"], ["none"])
    if _DENIED.search(text) or any(_JOINED.match(text, a.end()) or _BOUND.search(text[: a.start()]) for a in stated):
        return False
    values = [_value(found) for found in stated]
    if not kind and any(other for other, _, _ in values):
        return False
    most = abs(tolerance) * unit + 1e-9 * max(1.0, abs(right))
    own = [value for other, value, _ in values if other == kind]
    return bool(own) and all(abs(value - right) <= most for value in own)


# --- Sets of names.


def _all_named(answer: str, gold: Sequence[Sequence[str]]) -> bool:
    """True if an answer names one text of every group and nothing else, with "and" or a mark between them."""
    if len(answer) > _MOST_READ:
        return False
    words = _words(_BETWEEN.sub(" and ", _plain(answer)))
    names = [(_bare(_words(text)), number) for number, group in enumerate(gold) for text in group]
    named: set[int] = set()
    while words := _bare(words[words[:1] == ["and"] :]):
        if words == ["and"]:
            break
        fits = [(len(n), k) for n, k in names if _alike(words[: len(n)], n) and words[len(n) : len(n) + 1] in ([], ["and"])]
        if not fits:
            return False
        size, number = max(fits)
        named.add(number)
        words = words[size:]
    return len(named) == len(gold)
