"""Which option an answer names.

``answer_choice`` is our reading: only what stands behind the reasoning counts, an article is not an option, and what is not said outright
is not guessed. The wordings that name an option stand in the tables below; answers to open questions are read in ``open_answers``. The
two ``published_*`` readings exist to compare with published figures. All look at a bounded context of each candidate, so that no text
makes them slow.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

THINK_START, THINK_END = "<think>", "</think>"

_THINK = re.compile(r"<(/?)think>", re.IGNORECASE | re.ASCII)
_SPECIAL = re.compile(r"<\|[a-z_]{1,40}\|>|</?answer>", re.IGNORECASE)

# How marks are made plain before a text is read.
_SIGNS = str.maketrans(
    {
        "\u3002": ".",
        "\u3001": ",",
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u2013\u2014\u2212", "-"),
        "\u3010": "[",
        "\u3011": "]",
    }
)
_MARKUP = re.compile(r"</?(?:b|i|u|em|strong|p|br|span|div|li|ul|ol)\s{0,2}/?>|\\[()\[\]]|\\displaystyle|\\quad", re.IGNORECASE)
_LATEX_TEXT = re.compile(r"\\(?:text|math)[a-z]{0,4}\{([^{}]{0,400})\}")
_SET_OFF = re.compile(
    r"(?<![A-Za-z0-9])(\*{1,3}|_{1,3}|`{1,3}|\"|'|\$)\s?\(?([A-Z])\)?\s?\1(?![A-Za-z0-9])|[\[{<]\s?[\"']?([A-Za-z])[\"']?\s?[\]}>]"
)
_DECORATION = re.compile(r"[*`#$\"~]|(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])|(?<![A-Za-z0-9])'|'(?![A-Za-z])")
_BULLET = re.compile(r"^[ \t]{0,8}(?:[-\u2022\u00b7>+]|\d{1,2}[.)])[ \t]{1,8}", re.MULTILINE)

_LETTER = r"(?:\(\s?([A-Za-z])\s?\)|(?<![A-Za-z0-9'])([A-Za-z])(?![A-Za-z0-9'-]))"
_STOP = r"\.(?!\d|[A-Za-z](?![A-Za-z]))"  # a full stop, also with a word right behind it ("B.liver"); not that of "A.M." or "1.5"
_CJK = "\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af"
_ADVERBS = (
    r"(?:(?:(?:most\s{1,2})?(?:likely|probably|certainly)|clearly|definitely|therefore|thus|hence|indeed|simply|just|then|still|actually|"
    r"also|surely|obviously|that|to\s{1,2}be|in\s{1,2}fact)[\s,:]{1,3}){0,3}"
)
_WORD_OPTION = (
    r"(?:(?:the\s{1,3})?(?:(?:answer|correct)\s{1,3})?(?:option|choice|letter|answer)\s{0,3}:?\s{0,3}|\u9009\u9879\s{0,2})"
)

# What announces an answer; a letter or the text of an option stands behind it, or behind its verb.
_FIRM = (
    r"\bans\.(?=\s)",
    r"\b(?:answers?|ans|letter|(?:correct|right|best|my|final|selected|chosen|predicted)\s{1,3}(?:option|choice|letter|response|diagnosis|prediction|match)|"
    r"choose|chose|chosen|select(?:ed)?|pick|(?:go|going)\s{1,3}(?:for|with)|opt(?:ing)?\s{1,3}for|vote\s{1,3}for|settle\s{1,3}on|"
    r"(?:option|choice|solution|result|conclusion|verdict|prediction|response|final|decision|diagnosis|output)(?=\s{0,2}:)|"
    r"respuesta|r[e\u00e9]ponse|antwort|resposta|risposta|\u043e\u0442\u0432\u0435\u0442)\b",
    r"(?:\u7b54\u6848|\u6b63\u786e\u9009\u9879|\u7b54\u3048|\u6b63\u89e3|\uc815\ub2f5|\ub2f5)(?:\u5e94\u8be5|\u5e94)?",
    r"(?:\u5e94|\u6545|\u56e0\u6b64|\u6240\u4ee5|\u6211)?\u9009(?:\u62e9|\u9879)?(?=\s{0,2}:?\s{0,2}[(A-Z])",
)
# The same, but so common in other uses that only a letter set off or ending its clause counts.
_WEAK = (
    r"\b(?:think|believe|guess|it\s{1,3}is|it's|this\s{1,3}is|must\s{1,3}be|would\s{1,3}be|should\s{1,3}be|so|thus|therefore|hence|consequently)\b",
    r"=>|->|\u2192|\u21d2",
    r"\u56e0\u6b64|\u6240\u4ee5|\u6211\u8ba4\u4e3a",
)
_CUE = re.compile(f"(?P<firm>{'|'.join(_FIRM)})|(?:{'|'.join(_WEAK)})", re.IGNORECASE)
_VERB = re.compile(r"\s(?:is|are|be|was|es|ist|est|\u00e9|\u00e8|with|for|:|=)(?=[\s:])|[:=]|\u662f|\u4e3a|\u306f|\uc740|\ub294")
_NAMED = re.compile(rf"\]?[\s:=,-]{{0,8}}{_ADVERBS}(?P<word>{_WORD_OPTION})?{_LETTER}", re.IGNORECASE)
_BEFORE_TEXT = re.compile(rf"[\s:=,-]{{0,8}}{_ADVERBS}", re.IGNORECASE)
_ENDS = re.compile(
    rf"\s{{0,3}}(?:{_STOP}|[,;:!)}}\]]|\n|$|-\s|[{_CJK}])|\s{{1,3}}(?:because|since|as|or|and|for|due|based|given|which|with|rather|instead|not|over)\b"
)
_TEXT_ENDS = re.compile(
    rf"\s{{0,3}}(?:\.(?![A-Za-z0-9])|[,;:!)}}(]|\n|$|-\s|[{_CJK}])|\s{{1,3}}(?:because|since|as|or|and|due|based|given|which|with|rather|instead|not)\b"
)
# What takes a naming back: in front of it, and behind it.
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|neither|nor|if|unless|whether|suppose|assum(?:e|ing)|had|rather\s{1,3}than|instead\s{1,3}of|except|unlike|"
    r"unlikely|wrong|incorrect|false|tempting|common|initial|previous|second|third|other|alternative|next|least|than|over|no|consider(?:ed)?|"
    r"compared\s{1,3}(?:to|with)|exclud(?:e|ed|es|ing)|eliminat(?:e|ed|es|ing)|rul(?:e|ed|es|ing)\s{1,3}out|reject(?:ed|s|ing)?|"
    r"(?:some|many|most|people|one|others|they|you)\s{1,3}(?:(?:may|might|could|would|will)\s{1,3})?(?:say|think|argue|choose|pick|select|guess|answer|believe))|n't|"
    r"\u4e0d(?:\u662f|\u5e94|\u80fd|\u9009)?|\u975e|\u6392\u9664)"
    r"(?:\s{1,3}(?:the|that|it|is|was|be|correct|right|most|likely|think|thought|believe|say|choose|pick|select|go|with|for|option|choice|answer|were|to|an?)){0,6}[\s:=]{0,3}$",
    re.IGNORECASE,
)
_REFUTED = re.compile(
    r"[^.;!?\n]{0,60}?(?:\b(?:is|was|are|looks?|seems?|can|could|would|does|do|did|may|must|has|have)(?:\s{1,3}(?:be|been|also|clearly|therefore|thus)){0,2}"
    r"(?:n't|\s{0,3}(?:not|never|wrong|incorrect|false|unlikely|exclud|rul|eliminat|reject|dismiss|less|least|implausib|impossib|inconsistent|unsupported|out\b))|"
    r"\b(?:wrong|incorrect|excluded|eliminated|cannot|ruled\s{1,3}out)\b|\?)",
    re.IGNORECASE,
)
_CROSSED_OUT = re.compile(
    r"[^.;!?\n]{0,80}?(?:\b(?:is|was|seems|looks)|[,:(-])\s{0,2}(?:wrong|incorrect|not|false|excluded|eliminated|ruled\s{1,3}out|rejected|unlikely|inconsistent|no)\b",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"[^;!?\n]{0,60}?[.,;]\s{1,3}but\s{1,3}(?:that|this|it)\s{1,3}(?:is|was|would\s{1,3}be)n?'?t?\s{1,3}(?:not|wrong|incorrect|false|unlikely)",
    re.IGNORECASE,
)
# "B is correct", "B seems to be the best answer"
_PRAISE = (
    r"(?:is|seems|looks|appears|would\s{1,3}be|must\s{1,3}be|remains)(?:\s{1,3}to\s{1,3}be)?(?:\s{1,3}the)?"
    r"(?:\s{1,3}(?:most|clearly|therefore|thus|only|single))?\s{1,3}(?:correct|right|best|true|likely|appropriate|accurate|consistent|answer)\b|"
    r"(?:fits|matches|applies)\b"
)
_CONFIRMED = re.compile(
    rf"(?:^|(?<=[\n.,;:!(])|\b(?P<word>option|choice|letter|answer)\s|\b(?:so|thus|hence|therefore|that|think|believe|say|clearly|only|and|but)\s)\s{{0,3}}{_LETTER}\s{{1,3}}(?:{_PRAISE})"
    rf"|(?<![A-Za-z])([A-Z])\s?(?:\u9009\u9879|\u9879)?\s?(?:\u662f|\u4e3a)?(?:\u6b63\u786e|\u5bf9)"
)
_LEADING = re.compile(
    rf"^[ \t]{{0,8}}(?:(?:option|choice|answer|letter)\s{{1,3}})?{_LETTER}"
    rf"(?P<mark>\s?{_STOP}|\s?[:),;!\]]|[ \t]{{1,3}}-[ \t]|[ \t]{{0,8}}$|"
    r"[ \t]{1,3}(?:because|since|due|based|given|rather|instead|not)\b|)",
    re.MULTILINE | re.IGNORECASE,
)
_MENTIONED = re.compile(
    rf"\b(?:option|choice)\s{{1,3}}{_LETTER}|\(([A-Z])\)|\u9009\u9879\s{{0,2}}([A-Z])(?![A-Za-z])", re.IGNORECASE
)
_MENTION_HEAD = re.compile(
    r"(?:^|[.,;:!?\n(-]|\b(?:is|it's|be|to|so|thus|hence|therefore|choose|select|pick|with|for|favou?rs?|supports?|matches|indicates?|suggests?|or|in|answer|and)|"
    r"[a-z0-9)])\s{0,3}$",
    re.IGNORECASE,
)
_MENTION_TAIL = re.compile(
    rf"\s{{0,3}}(?:[.,;:!)]|\n|$|-\s)|\s{{1,3}}(?:{_PRAISE}|best|because|since|as|describes|explains|shows?)\b", re.IGNORECASE
)
_ALTERNATIVE = re.compile(
    r"\)?\s{0,3}(?:or|and|/|,|&|\+|;|\u548c|\u6216|\u4e0e|\u53ca)\s{0,3}(?:option\s{1,3})?(?:\([A-Z]\)|[A-Z](?![A-Za-z0-9'-]))(?!\s{1,3}(?:is|was|are)\b)",
    re.IGNORECASE,
)
_ANOTHER = re.compile(r"(?<![A-Za-z0-9'])\(?([A-Z])(?:\)|[.):](?![A-Za-z0-9]))")
_COPULA = re.compile(
    r"(?:\b(?:is|are|was|shows?|represents?|indicates?|suggests?|likely|probably|be|i\s{1,3}see|to)|^|[:=])\s{0,3}(?:(?:in|on|at|a|an|the|of|located|seen|found|called|most|likely|probably)\s{1,3}){0,4}$",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"\b(?:may|might|could|can|possibly|perhaps|whether|if|unless|not|n't|never|no|neither|unlikely|near|next|adjacent)\b|n't",
    re.IGNORECASE,
)
_KEYS = {"answer", "final_answer", "correct_answer", "choice", "option", "letter", "answer_choice", "correct_option", "selected_option",
         "selected", "prediction", "correct_choice", "final", "response", "answer_letter",
         "answer_text", "option_text"}  # fmt: skip

_MARKS = "".join(map(chr, (c for c in range(0x300, 0x1E000) if unicodedata.category(chr(c))[0] == "M")))
# A letter keeps its combining marks: without its vowel signs a word of Hindi, Bengali, Tamil or Arabic is another word.
_WORD = re.compile(rf"(?<![\w.])-(?=\d)|\d+(?:[.,]\d+)*|(?:[^\W\d_][{_MARKS}]*)+|[<>=\u2264\u2265\u00b1+%\u00b0/]")
_ARTICLES = {"a", "an", "the"}
_PLAIN_ANSWERS = {("yes",), ("no",)}
_MOST_READ = 5000  # characters of an answer, from either end
_MOST_CUES = 200


@dataclass(frozen=True, slots=True)
class _Named:
    """An option that a text names: its letter ("" for several as equals), where, and whether by its text."""

    letter: str
    start: int
    end: int
    by_text: bool = False


def answer_choice(response: str, letters: str, options: Sequence[str] = ()) -> str | None:
    """The option letter that a response names.

    Args:
        response: A whole response or the answer alone. What stands before the last ``</think>`` does not count; an unclosed
            think block has no answer.
        letters: The letters on offer, such as "ABCD"; "" for an open question.
        options: The texts behind the letters, so that an answer may name an option by its words; () reads letters alone.

    Returns:
        One of ``letters``, or None if no option is named, the named one is not on offer, two are named as equals, or the
        response is empty. In this order: a boxed or wrapped answer or that of a JSON object, the last statement ("the answer is B",
        "B is correct"), a letter that leads the answer ("B. Left kidney"), the only option mentioned ("option B"), a letter that leads a
        later line, the only option whose text is stated. A letter goes before a text.
    """
    found = _named(response, letters, options)
    return found[0].letter if found else None


def contradicts(response: str, letters: str, options: Sequence[str]) -> bool:
    """True if a response names an option by its letter and states a text with it that is not that option's.

    "A. liver" contradicts itself where A is "left"; "A. The left one" and "A, because it is large" do not.
    """
    found = _named(response, letters, options)
    if found is None or found[0].by_text or len(options) != len(letters):
        return False
    named, text = found
    own, *others = map(_stated, (options[letters.upper().index(named.letter)], *options))
    behind = text[named.end :].lstrip(" .:),-\t\n")
    stated = answer_words(re.split(r"[.;!?\n]\s|[.;!?\n]$|[,(]|\s-\s", behind, maxsplit=1)[0])
    if not stated:  # "liver (B)"; a text that stands further off was talked of
        stated = answer_words(re.split(r"[.;!?:\n]", text[: named.start])[-1])
        return not _holds(stated, own) and any(other and stated[-len(other) :] == other for other in others)
    if stated in others:
        return stated != own
    # An option may hold commas itself, as a box does.
    if _stated(behind)[: len(own)] == own or _holds(stated, own) or _holds(own, stated):
        return False
    bare = not any(map(_SENTENCE.fullmatch, stated)) and len(stated) <= max(3, *map(len, others))
    denied = "not" in stated  # "The liver is not visible" explains an answer
    return bare or any(_holds(stated, other) and not (denied and "not" not in other) for other in others)


def answer_words(text: str) -> tuple[str, ...]:
    """The words of an answer; none for a text without a word or number."""
    plain = unicodedata.normalize("NFKC", _SPECIAL.sub(" ", text)).casefold()
    plain = "".join(c for c in plain if c.isascii() or unicodedata.category(c) != "Cf")  # joiners and marks of direction
    words = tuple(_WORD.findall(plain))
    return words[1:] if len(words) > 1 and words[0] in _ARTICLES else words


def answer_part(response: str) -> str | None:
    """What stands behind the last ``</think>``: all of a response without a think block, None where the block is unclosed."""
    tags = list(_THINK.finditer(response))
    if not tags:
        return response
    return response[tags[-1].end() :] if tags[-1][1] else None


_PUBLISHED_CHOICES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (r"\banswer\s*(?:is|:)?\s*([A-D])\b", r"\b([A-D])\.\s*\Z", r"\b([A-D])\s*\Z", r"\b([A-D])\.")
]


def published_inference_choice(response: str) -> str | None:
    """The letter A to D that the published inference script reads; None for none. For comparisons only.

    Closed think blocks are dropped. Then, in this order and in either case: the first letter behind the word "answer", a letter that
    ends the text with a full stop, one that ends it without, the first letter with a full stop behind it.

    Source: derived from the cases ``published_choice`` and ``choices``.
    """
    text = _without_think(response)
    for pattern in _PUBLISHED_CHOICES:
        if found := pattern.search(text):
            return found[1].upper()
    return None


def published_reward_choice(text: str) -> str:
    """The letter A to D that the published reward reads, also from a gold answer; "" for none. For comparisons only.

    Closed think blocks are dropped, then the first single letter counts in either case: the article "a" is option A.

    Source: derived from the cases ``published_choice`` and ``published_mcq_reward``.
    """
    found = re.search(r"\b([A-D])\b", _without_think(text), re.IGNORECASE)
    return found[1].upper() if found else ""


# Words of a sentence: what holds one of them explains an answer, and does not state another.
_SENTENCE = re.compile(
    r"(?:it|this|that|there|i|we|because|as|since|based|due|see|is|are|with|given|which|or|and|rather|instead|not|correct|fits|seems|"
    r"according|has|have|was|were|shows|most|likely|definitely|certainly|probably|clearly|sure|confidence|confident|final|answer|option|choice|"
    r"explanation|reason|reasoning|rationale|\u9009\u9879|\u9879|\u6b63\u786e)"
)


def _stated(text: str) -> tuple[str, ...]:
    """The words of a text, blanks between listed numbers dropped."""
    return answer_words(re.sub(r"(?<=\d),\s{1,3}(?=-?\d)", ",", text))


def _holds(words: tuple[str, ...], inner: tuple[str, ...]) -> bool:
    """True if some words stand in others, in a row."""
    size = len(inner)
    return bool(inner) and any(words[n : n + size] == inner for n in range(len(words) - size + 1))


def _named(response: str, letters: str, options: Sequence[str]) -> tuple[_Named, str] | None:
    """The option that a response names, and the text in which it does."""
    answer = answer_part(response)
    if not letters or answer is None:
        return None
    reader = _AnswerReader(letters.upper(), options)
    if len(answer) > 2 * _MOST_READ:
        answer = f"{answer[:_MOST_READ]}\n{answer[-_MOST_READ:]}"
    for text in (*_set_apart(answer), answer):
        plain = _plain(text)
        found = reader.read(plain)
        if found is not None:
            return (found, plain) if found.letter and found.letter in reader.letters else None
    return None


def _plain(text: str) -> str:
    """A text with its marks made plain: compatibility forms unified, emphasis and quotes gone, a letter set off by them in brackets."""
    text = unicodedata.normalize("NFKC", _SPECIAL.sub(" ", text)).translate(_SIGNS)
    text = _MARKUP.sub(" ", _LATEX_TEXT.sub(r"\1", _LATEX_TEXT.sub(r"\1", text)))
    text = _BULLET.sub("", text)
    text = _SET_OFF.sub(lambda found: f"({found[2] or found[3]})", text)
    return _DECORATION.sub("", text).strip()


def _set_apart(answer: str) -> Iterator[str]:
    """Parts that are the answer by their form, the last first: of a box, of answer tags, of a JSON object."""
    boxed = re.findall(r"\\f?boxed\s?\{([^{}]{0,400}(?:\{[^{}]{0,200}\}[^{}]{0,100}){0,2})\}", answer)
    wrapped = re.findall(r"<answer>(.{0,2000}?)(?:</answer>|$)", answer, re.IGNORECASE | re.DOTALL)
    yield from (boxed[-1:] or wrapped[-1:])
    start, end = answer.find("{"), answer.rfind("}")
    if 0 <= start < end:
        try:
            value = json.loads(answer[start : end + 1])
        except (ValueError, RecursionError):
            return
        said = _json_answer(value)
        if said is not None:
            yield said


def _json_answer(value: Any) -> str | None:
    """The answer of a JSON value, None if it has no key for one: of a list all of its items."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(item for item in value if isinstance(item, str))
    if not isinstance(value, dict):
        return None
    keys = {re.sub(r"[^a-z]{1,4}", "_", str(key).lower()): key for key in value}
    found = [own for name, key in keys.items() if name in _KEYS and (own := _json_answer(value[key]))]
    # A letter and a text in two fields are read together.
    found.sort(key=len)
    return ". ".join(dict.fromkeys(found)) if found else None


class _AnswerReader:
    """Reads what a plain text names out of given options."""

    def __init__(self, letters: str, options: Sequence[str]) -> None:
        self.letters = letters
        self._texts: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        seen: dict[tuple[str, ...], list[str]] = {}
        for letter, option in zip(letters, options, strict=False):
            plain = _plain(option)
            told = [found[0].casefold() for found in _WORD.finditer(plain)]
            article = len(told) > 1 and told[0] in _ARTICLES and re.match(r"\W*\w+\s", plain) is not None
            seen.setdefault(tuple(told[article:]), []).append(letter)
        for words, own in seen.items():
            if words:
                self._texts.setdefault(words[0], []).append((words, own[0] if len(own) == 1 else ""))

    def read(self, text: str) -> _Named | None:
        """The option that a text names; one without a letter where several are named; None for none."""
        whole = self._text_at(text, 0)
        if whole and not answer_words(text[whole.end :]):
            alone = re.fullmatch(r"\W*([A-Za-z])\W*", text)  # a letter on offer goes before a text of one letter
            if alone is None or alone[1].upper() not in self.letters:
                return whole
        for look in (self._statement, self._leader, self._mention, self._later_leader, self._stated_text):
            found = look(text)
            if found is not None:
                return found
        return None

    def _text_at(self, text: str, start: int) -> _Named | None:
        """The longest option whose words stand at a place, behind an article."""
        longest = max((len(words) for own in self._texts.values() for words, _ in own), default=0)
        if not longest:
            return None
        window = text[start : start + 400]
        if re.match(r"\W{0,20}?[?!]", window):
            return None
        words = [found for found, _ in zip(_WORD.finditer(window), range(longest + 1), strict=False)]
        for skip in (0, 1):
            if skip and not (
                len(words) > 1 and words[0][0].casefold() in _ARTICLES and window[words[0].end() : words[1].start()].isspace()
            ):
                break
            row = tuple(word[0].casefold() for word in words[skip:])
            fitting = [own for own in self._texts.get(row[0] if row else "", ()) if row[: len(own[0])] == own[0]]
            if fitting:
                best = max(fitting, key=lambda own: len(own[0]))
                return _Named(best[1], start, start + words[skip + len(best[0]) - 1].end(), by_text=True)
        return None

    def _letter(self, found: re.Match[str], text: str, *, groups: Sequence[int]) -> _Named:
        """The letter of a match; of an option whose own text begins with it ("B cell lymphoma") the option of that text."""
        group = next(g for g in groups if found[g])
        start = found.start(group)
        own = self._text_at(text, start)
        if (
            own
            and own.letter
            and len(answer_words(text[start : own.end])) > 1
            and text[start : start + 1].casefold() not in _ARTICLES
        ):
            return own
        named = _Named(found[group].upper(), start, found.end())
        behind = found.end(group)
        own = self._text_at(text, behind)
        if own and own.letter == named.letter:
            behind = own.end
        if _ALTERNATIVE.match(text, behind):
            return _Named("", start, found.end())
        rest = text[behind : behind + 200].partition("\n")[0]
        if re.match(r"\s?[:=]\s{0,3}\(?[A-Z](?:[).,:]|\s{0,3}$)", rest):  # "A: B" may mean either
            return _Named("", start, found.end())
        if any(
            m[1] != named.letter and m[1] in self.letters and not _DENIED.search(rest[: m.start()])
            for m in _ANOTHER.finditer(rest)
        ):
            return _Named("", start, found.end())
        return named

    def _statement(self, text: str) -> _Named | None:
        """The last place where an option is named outright, in either wording."""
        found = []
        for cue in list(_CUE.finditer(text))[-_MOST_CUES:]:
            own = self._behind(cue, text)
            if own is not None and not (own.letter and _TAKEN_BACK.match(text, own.end)):
                found.append(own)
        for praised in _CONFIRMED.finditer(text):
            if not _is_denied(text, praised.start()) and not _is_denied(text, praised.start(praised.lastindex or 0)):
                found.append(self._letter(praised, text, groups=(2, 3, 4)))
        found += self._praised_texts(text)
        if not found:
            return None
        last = max(found, key=lambda named: named.start)
        rivals = [
            n
            for n in found
            if n.letter != last.letter
            and re.fullmatch(r"[\s,()]{0,4}(?:is correct\s)?(?:or|and)\b.{0,30}", text[n.end : last.start], re.DOTALL)
        ]
        return _Named("", last.start, last.end) if rivals else last

    def _praised_texts(self, text: str) -> list[_Named]:
        """Options whose text is called right at the start of a clause: "Hepatitis B is likely"."""
        found = []
        for clause in re.finditer(r"(?:^|[.;!\n]\s{0,3}|,\s{1,3})(?=\S)", text) if self._texts else ():
            own = self._text_at(text, clause.end())
            if own and re.compile(rf"\s{{1,3}}(?:{_PRAISE})", re.IGNORECASE).match(text, own.end):
                found.append(own)
        return found

    def _behind(self, cue: re.Match[str], text: str) -> _Named | None:
        """What is named behind a cue, or behind its verb; None for nothing."""
        if _is_denied(text, cue.start()):
            return None
        reach = re.compile(r"[^.;!?\n]{0,90}").match(text, cue.end())
        verbs = _VERB.finditer(text, cue.end(), reach.end() if reach else cue.end())
        for place in (cue.end(), *(verb.end() for verb, _ in zip(verbs, range(3), strict=False))):
            if _is_denied(text, place):
                return None
            found = _NAMED.match(text, place)
            if found and self._is_said(found, text, firm=bool(cue["firm"])):
                return self._letter(found, text, groups=(2, 3))
            front = _BEFORE_TEXT.match(text, place)
            own = self._text_at(text, front.end() if front else place)
            if (
                own
                and _TEXT_ENDS.match(text, own.end)
                and text[place : own.start].strip(" ,:=-\n") == text[place : front.end() if front else place].strip(" ,:=-\n")
            ):
                return self._unrivalled(own, text)
        return None

    def _is_said(self, found: re.Match[str], text: str, *, firm: bool) -> bool:
        """True unless the letter is an article ("the answer is a cyst"), the start of other words, or refuted."""
        bare = found[3]
        if _REFUTED.match(text, found.end()):
            return False
        if bare is None or found["word"]:
            return True
        if not firm and not bare.isupper():
            return False
        if _ENDS.match(text, found.end()):
            return True
        own = self._text_at(text, found.end())
        return own is not None and own.letter == bare.upper() and bare.isupper()

    def _unrivalled(self, own: _Named, text: str) -> _Named:
        """The same, or none of them where another option stands behind it as an equal."""
        beside = re.compile(r"[ \t]{0,3}\(([A-Z])\)(?=[ \t]{0,3}(?:[.,;!\n]|$))").match(text, own.end)
        if beside and beside[1] in self.letters and beside[1] != own.letter:
            return _Named(beside[1], beside.start(1), beside.end())
        joined = re.compile(r"\s{0,3}(?:,|/|;|,?\s{0,3}\b(?:or|and))\s{0,3}").match(text, own.end)
        other = self._text_at(text, joined.end()) if joined else None
        plain = tuple(w.casefold() for w in _WORD.findall(text[other.start : other.end])) if other else ()
        if other and other.letter != own.letter and not (plain in _PLAIN_ANSWERS and not _TEXT_ENDS.match(text, other.end)):
            return _Named("", own.start, other.end)
        if joined and _ALTERNATIVE.match(text, own.end):
            return _Named("", own.start, joined.end())
        return own

    def _leaders(self, text: str) -> list[_Named]:
        """Letters that lead lines."""
        found = []
        for match in _LEADING.finditer(text):
            if match[2] and not match["mark"] and text[match.end() : match.end() + 1] not in ("", "\n"):
                own = self._text_at(text, match.end())
                if own is None or own.letter != match[2].upper() or not match[2].isupper():
                    continue
            named = self._letter(match, text, groups=(1, 2))
            own = self._text_at(text, match.end())
            behind = own.end if own and own.letter == named.letter else match.end()
            if (_CROSSED_OUT if match["mark"].strip() else _REFUTED).match(text, behind):
                continue
            found.append(named)
        return found

    def _leader(self, text: str) -> _Named | None:
        """The letter that leads the answer; none of them where other letters lead other lines."""
        leaders = self._leaders(text)
        if not leaders or text[: leaders[0].start].strip(" (\t") not in ("", *_LEADS):
            return self._leading_text(text)
        return leaders[0] if len({named.letter for named in leaders}) == 1 else _Named("", 0, 0)

    def _leading_text(self, text: str) -> _Named | None:
        """The option whose text leads the answer as a clause of its own."""
        own = self._text_at(text, 0)
        if own is None or not re.compile(r"\s{0,3}(?:[.,;:!(]|\n|-\s)|\s{1,3}(?:because|since|due)\b").match(text, own.end):
            return None
        rest = [named for named in self._texts_in(text, own.end) if named.letter != own.letter]
        return self._unrivalled(own, text) if not rest else _Named("", own.start, own.end)

    def _mention(self, text: str) -> _Named | None:
        """The only option that is mentioned as one and not refuted."""
        found = []
        for match in _MENTIONED.finditer(text):
            group = next(g for g in (1, 2, 3, 4) if match[g])
            if match[group].upper() not in self.letters and not match[group].isupper():
                continue
            head = text[max(0, match.start() - 60) : match.start()]
            if _is_denied(text, match.start()) or _REFUTED.match(text, match.end()):
                continue
            if _MENTION_HEAD.search(head) and _MENTION_TAIL.match(text, match.end()):
                found.append(self._letter(match, text, groups=(1, 2, 3, 4)))
        letters = {named.letter for named in found}
        if len(letters) > 1:
            return _Named("", 0, 0)
        return found[0] if found else None

    def _later_leader(self, text: str) -> _Named | None:
        leaders = self._leaders(text)
        if not leaders:
            return None
        return leaders[-1] if len({named.letter for named in leaders}) == 1 else _Named("", 0, 0)

    def _texts_in(self, text: str, start: int = 0) -> Iterator[_Named]:
        """Options whose texts stand in a text, the longest at every place; "yes" and "no" only as a clause of their own."""
        place = start
        for word in _WORD.finditer(text, start) if self._texts else ():
            if word.start() < place or word[0].casefold() not in self._texts:
                continue
            own = self._text_at(text, word.start())
            if own is None:
                continue
            place = own.end
            if tuple(w.casefold() for w in _WORD.findall(text[own.start : own.end])) in _PLAIN_ANSWERS:
                alone = re.search(r"(?:^|[.,;:!?\n(])\s{0,3}$", text[max(0, own.start - 8) : own.start])
                if not alone or not re.compile(r"\s{0,3}(?:[.,;:!?)\n]|$)").match(text, own.end):
                    continue
            if not _is_denied(text, own.start):
                yield own

    def _stated_text(self, text: str) -> _Named | None:
        """The only option whose text stands in an answer, where a sentence ends with it: "It is the spleen."."""
        found = list(self._texts_in(text))
        if len({named.letter for named in found}) != 1:
            return None
        for named in found:
            clause = re.split(r"[.;!?\n]", text[: named.start])[-1]
            if re.fullmatch(r"\W*(?:that|this|it|which|you)\s{1,3}(?:is|are)\s{0,3}", clause, re.IGNORECASE) and (
                text[named.start : named.end].casefold() == "right"
            ):
                continue  # "That is right." names no side
            if (
                not re.compile(r"\s{0,3}[,:(-]\s{0,2}(?:no|wrong|incorrect|false|excluded)\b", re.IGNORECASE).match(
                    text, named.end
                )
                and re.compile(r"\s{0,3}(?:[.!,;)]|\n|$)|\s{1,3}(?:because|since)\b").match(text, named.end)
                and _COPULA.search(clause)
                and not _HEDGED.search(clause)
            ):
                return named
        return None


_LEADS = ("Option", "option", "Choice", "choice", "Answer", "answer", "Letter", "letter")


def _is_denied(text: str, start: int) -> bool:
    return bool(_DENIED.search(text[max(0, start - 60) : start]))


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
