"""Holds reasoning against its task: boxes against structures, the conclusion against the right option, the text against the rules.

What a language model wrote is data: faults are listed, never raised. Boxes that match a structure are snapped to its exact box, so that
training data are exact even where the writer was off by a pixel.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from unireason.core.types import Box, Look
from unireason.data.scene import IMPLICIT, LETTERS, DataQuestion, Scene
from unireason.grounding import grammar
from unireason.metrics.answers import answer_choice
from unireason.metrics.boxes import box_iou

from .template import Annotation, Dropped, Task

# --- What no reasoning may say: that nothing was seen, that the truth was handed over, or anything in a language other than
# English.


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.MULTILINE)


_N = "['’]"
_PICTURE = (
    r"(?:(?:an?|the|this|that|these|those|any|your|actual|attached|provided|given|medical|diagnostic|radiological|such|visual"
    r"|real|2d|3d|"
    r"ct|mri?|x-?ray|ultrasound|clinical|content|contents|details|of)[ -]+){0,5}(?:images?|scans?|pictures?|photos?"
    r"|photographs?|files?|"
    r"attachments?|radiographs?|x-?rays?|visuals?|imaging|volumes?)\b"
)
_UNABLE = (
    rf"(?:\bcan ?not|\bcan{_N}?t|\bcould ?n{_N}?t|\bcould not|\bunable to|(?:\bnot|n{_N}t) (?:be )?able to|\bincapable of|"
    r"\bnot (?:capable of|allowed to|permitted to|designed to|equipped to)|"
    rf"(?:\bnot|n{_N}t|\black|\bno|\bwithout) (?:have )?(?:the |any )?(?:ability|abilities|capability|capabilities|means|way|tools?) "
    r"(?:to|of|for))"
)
_LOOK = (
    r"(?:directly |actually |currently |really |visually |physically )?(?:see|view|access|analy[sz]e|interpret|read|examine"
    r"|inspect|open|"
    r"display|process|look at|perceive|observe|evaluate|assess|review|visuali[sz]e|load|receive|seeing|viewing|accessing|analy[sz]ing|"
    r"interpreting|reading|examining|processing|perceiving|visuali[sz]ing)"
)
_REFUSAL = _any_of(
    r"(?:^|[.!?;,])\W*(?:the |an? |your )?(?:image|scan|picture|photo|file|attachment)s? (?:(?:is|are|was|were"
    r"|seems?) )?(?:missing|not found|unavailable|inaccessible|blank)\b",
    r"\b(?:image|scan|picture|photo|file|attachment)s? (?:can ?not|can['’]t|could not) be (?:viewed|seen|accessed|opened|read"
    r"|processed|analy[sz]ed)\b",
    r"\bno (?:\w+ )?(?:image|scan|picture|photo|file|attachment)s? (?:here|for me|to (?:view|see|look|examine))\b",
    rf"\b(?:not |im)possible (?:for me )?to {_LOOK} {_PICTURE}|\bpossible for me\b|\bblind to\b|\b(?:need|have) to (?:see"
    rf"|view) {_PICTURE}",
    rf"\b(?:not|never)(?: been)? (?:provided|given|shown|supplied)(?: with)? {_PICTURE}|{_UNABLE} visuali[sz]e\b",
    rf"{_UNABLE} {_LOOK}(?:,? (?:or|and|nor) {_LOOK})* {_PICTURE}",
    rf"(?:\bnot|n{_N}t|\bnever|\bno|\bwithout) (?:have |had |get |given |receive |received |any |direct )*access to {_PICTURE}",
    rf"(?:\bnot|n{_N}t|\bnever) (?:actually |yet )?(?:see|seen|have|got|get|receive|received) (?:any|an|the"
    rf"|your) (?:\w+ )?(?:image|scan|picture|file)s?\b",
    r"\bno (?:\w+ )?(?:image|scan|picture|photo|file|attachment)s? (?:is|are|was|were|has|have|seems?|appears?|came|could"
    r"|provided|attached)\b",
    rf"\b(?:image|scan|picture|photo|file|attachment)s? (?:is|are|was|were|has|have|did|does|do)(?:n{_N}t| not) (?:been |be "
    rf"|to )?(?:provided|"
    r"attached|included|uploaded|shared|available|accessible|visible|load(?:ed)?|come|received|displayed|supplied|something i)\b",
    r"\b(?:if|assuming) (?:i|you) (?:could|can|had|were able to)? ?(?:see|view|access|share|provide|upload|attach)\b",
    r"\bwithout (?:actually )?(?:seeing|viewing|access|having access|being able to (?:see|view))\b",
    rf"\b(?:i{_N}?m|i am|we are|we{_N}re) (?:very |so |truly |really )?(?:sorry|afraid)\b|\b(?:i|we) apologi[sz]e\b|\bmy apologies\b",
    r"^\W*(?:sorry|apologies|unfortunately)\b|\bas an? (?:ai|artificial|large|language|text|llm|virtual|machine)\b",
    r"\b(?:ai|language|text-based|chat) (?:model|assistant|system)\b|\btext[- ]only\b|\bonly (?:process|work from|handle|read|see"
    r"|understand|work with) text\b",
    rf"\b(?:i|we)(?: am|{_N}m)? (?:{_UNABLE}|will not|won{_N}?t|decline to|refuse to|must decline to) (?:be able to )?(?:help"
    rf"|assist|comply|"
    r"fulfil+|answer|provide|offer|give|make|engage|complete|continue|diagnose|support|respond|do (?:this|that))\b",
    rf"\b(?:must|have to|need to|respectfully) (?:decline|refuse)\b|\b(?:can ?not|can{_N}?t) (?:help|assist) (?:you )?with\b",
    r"\bmy (?:\w+ )?(?:abilities|capabilit\w+|scope)\b|(?:\b(?:lack|have no)|n['’]t have) (?:\w+ )?(?:input|vision|eyes|visual|sight)"
    r"|\bno visual (?:information|input|data|content|access)\b",
    r"\bnot (?:a|your) (?:doctor|physician|radiologist|medical|licensed|qualified|substitute)\b",
    r"\b(?:consult|contact|seek|ask|speak (?:to|with))\b[^.]{0,30}\b(?:doctor|physician|radiologist|professional|specialist"
    r"|provider|advice)\b",
    r"\bplease (?:provide|upload|share|attach|supply|send|give|consult|note|let me|paste)\b|\b(?:polic(?:y|ies)"
    r"|guidelines) (?:prevents?|prohibits?|forbids?)\b",
    r"\b(?:pretend(?:ing)?|imagin(?:e|ing)|simulat(?:e|ing)|hypothetical(?:ly)?|role-?play)\b",
)

_SOURCE = (
    r"(?:prompt|lists?|listing|table|facts?|data|metadata|information|info|details|coordinates|box(?:es)?|answers?"
    r"|structures?|findings|"
    r"measurements?|values?|sizes?|text|notes?|descriptions?|labels?|context|input|hints?|report|summary|specifications?)"
)
_GIVEN = r"(?:provided|supplied|listed|stated|specified|mentioned|furnished|told|given(?! (?:its|the|their|that|how|this)\b))"
_SAYS = (
    r"(?:says?|states?|tells?|shows?|indicates?|gives?|reports?|confirms?|mentions?|notes?|places?|names?|describes?|has|have"
    r"|contains?|lists?|"
    r"puts?|suggests?|reads?|asks?|requires?|wants?)"
)
_PLAIN_SOURCE = (
    r"(?:lists?|listing|facts?|data|information|details|text|notes?|labels?|context|hints?|report|summary|coordinates|input)"
)
_TOLD = _any_of(
    r"\bgiven the (?:right |correct )?answer\b|\bit is given that\b|\bmy (?:notes|data|input|instructions)\b"
    r"|\blist of (?:structures|facts|findings|boxes)\b",
    r"\bwrite (?:the|this|my|a) (?:\w+ )?(?:reasoning|text|explanation|answer)\b",
    r"\bground[- ]truths?\b|\b(?:reference|gold) standard\b|\bannotat(?:ed|ions?|ors?)\b|\bmeta-?data\b|\blabel(?:l?ed)? maps?\b",
    r"\bmasks?\b|\bsegmentations?\b|\bsegmented\b|\bprompt\b|\bthe prompts\b|\binstruct(?:ions?|ed)\b|\bthe (?:user"
    r"|system message|rules)\b",
    rf"\b{_GIVEN} (?:\w+ ){{0,2}}{_SOURCE}\b|\b{_SOURCE} (?:\w+ )?(?:that (?:was|were|is|are) )?{_GIVEN}",
    r"\b(?:as|is|are|was|were|been|being) (?:already |also |explicitly |clearly )?(?:provided|supplied|listed|stated"
    r"|specified|mentioned|told)\b",
    r"\b(?:was|were|been) (?:already )?given (?:as|to (?:me|us)|in|by|that|the)\b|\b(?:the|my) given\b",
    rf"\b(?:according to|based on|per|from|following|by|in) the (?:{_PLAIN_SOURCE}|table|answer|measurements)\b",
    rf"\b(?:the|this|my|your) (?:\w+ )?(?:{_PLAIN_SOURCE}|task) {_SAYS}\b",
    rf"\b(?:i|we)(?:{_N}(?:ve|m)| have| was| were| am| are)? (?:been )?(?:told|given|informed|supplied|handed|provided with)\b",
    r"\b(?:known|given|hidden|secret|predetermined|predefined|expected|required|intended|target|reference|supplied|provided"
    r"|official) (?:right |correct )?answer\b"
    r"|\banswer key\b",
    r"\b(?:right|correct|final)? ?answer (?:is|was|has been|being) (?:already |also )*(?:given|known|provided|stated|told"
    r"|supplied|specified|marked|set)\b",
    r"\b(?:since|because|knowing|given|as|know) (?:that )?the (?:right |correct )?answer (?:is|was|must|has)\b"
    r"|\bsupposed to (?:be|answer|say|write)\b",
    r"\b(?:needed for the answer|looked for and not there)\b|\bas (?:requested|asked|required)\b|^\W*(?:sure|certainly"
    r"|of course|okay)\s*[!,.]",
    rf"\bhere(?:{_N}s| is) (?:the|a|my) (?:\w+ ){{0,3}}(?:reasoning|text|version|rewrite|response|analysis)\b",
)
# A question that names nothing is a description; its target is found from it. Of any other question there is none to speak of.
_DESCRIBED = _any_of(r"\bdescriptions?\b", r"\bas described\b", r"\bdescribed (?:above|below|in|by|here)\b")

_ENGLISH_WORDS = """
a about above across after again against all almost along also although an and another any are around as at away back be because
been before behind being below beside besides between both but by can cannot clear clearly close compare compared could do does
down each either else end even every far few find first for from further given go has have he hence here higher however i if in
inside instead into is it its itself just larger largest last least left less lies like little look looking looks lower made
mainly many may me means middle more most much must my near nearest neither next no none nor not nothing now of off on once one
only onto or other others our out outside over part past place quite rather right same second see seen seems sees several should
shows since slightly small smaller smallest so some still such than that the their them then there therefore these they third this
those though three through thus to together too toward towards turns two under until up upon very was we well were what when where
whereas which while who whole whose why will with within without would yet you
"""
# Function words of the languages that writers fall into.
_FOREIGN_WORDS = """
der das den dem des ein eine einer einem einen eines und oder aber nicht ist sind wird wurde werden auf mit von für zu zum zur bei
nach über unter durch sich auch nur noch sehr wie wenn weil dass daher deshalb also hier dort links rechts oben unten befindet
liegt sehe ich wir es im vom am le les une et ou est sont dans sur avec pour par pas plus que qui ce cette ces aux du donc mais
nous je il elle se sa son ses leur comme très entre vers côté gauche droite voit el los las una unos unas y o pero no es son está
están en con por para sobre entre como más muy que se su sus del al lo este esta esto izquierda derecha aquí hay veo lado lo gli
il della delle dello degli nel nella che non sono con per tra fra più molto questo questa sinistra destra quindi vedo lato si di
da um uma os as e ou mas não é são está com por para sobre entre mais muito isso esta esse na no nas nos do dos das à esquerda
direita vejo het een de en van niet zijn op met voor door bij naar over ook maar dus links rechts zie ik ligt aan jest się nie na
w z do od przez oraz że to są jako och är inte på med för av till att det som en ett den jag ser ligger vänster höger bir ve bu
için ile olan olarak da de değil sol sağ yang dan di ini itu dengan untuk dari pada adalah tidak ke sebelah kiri kanan jaag hai
mein aur ka ki ke se nahi yah
ja ei sijaitsee vasemmalla oikealla puolella kuin az egy és oldalon bal jobb hogy található nachází je vlevo vpravo která este și din
partea mai er og ikke af venstre højre hvor ici aussi donde también anche qui quello fica ve leży po lewej prawej stronie yer alır tarafta
nằm bên của và là trái phải baayein daayein taraf mỗi
"""
# Of these some are letters, names or abbreviations in English texts too, so each counts half.
_HALF_WORDS = """
e o y w z la da di de el il se ou en na nos am den es per si non die le du ke ve des
"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_FOREIGN = frozenset(_FOREIGN_WORDS.split()) - _ENGLISH
_HALF = frozenset(_HALF_WORDS.split()) & _FOREIGN
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE = re.compile(r"(?<=[.!?;:。！？।])\s*|\n+")


def refusal(text: str) -> str:
    """The words by which a writer says that it cannot look or will not answer; "" if there are none."""
    found = _REFUSAL.search(text)
    return found[0].strip() if found else ""


def told_reason(text: str, allowed: str, *, described: bool) -> str:
    """The words that tell that a writer had been handed the truth instead of looking; "" if there are none."""
    known = allowed.lower()
    patterns = (_TOLD,) if described else (_TOLD, _DESCRIBED)
    slips = (match.group() for pattern in patterns for match in pattern.finditer(text))
    return next((words for words in slips if words.lower() not in known), "")


def not_english(text: str, allowed: Collection[str]) -> str:
    """A piece of a text that is not English; "" if all of it is."""
    sentences = [s for s in _SENTENCE.split(text) if s.strip()]
    for piece in (*sentences, text):
        words = [str(w).lower() for w in _WORD.findall(piece)]
        words = [w for w in words if w not in allowed]
        for word in words:
            if _other_script(word):
                return word[:40]
        long = sum(len(w) > 2 for w in words)
        english = sum(w in _ENGLISH for w in words)
        foreign = sum(w in _FOREIGN or (len(w) > 3 and not w.isascii()) for w in words) - 0.5 * sum(w in _HALF for w in words)
        if foreign > english or (long >= 10 and english < 0.1 * long):
            return " ".join(piece.split())[:40]
    return ""


def _other_script(word: str) -> bool:
    """True of a word in letters other than Latin; one or two Greek ones are symbols."""
    other = [n for c in word if c.isalpha() and not (n := unicodedata.name(c, "")).startswith(("LATIN", "MICRO", "MODIFIER"))]
    return len(other) > 2 or any(not n.startswith("GREEK") for n in other)


# --- Holds reasoning against its task: boxes against structures, the conclusion against the right option, the text against the
# rules.


_MARKUP = re.compile(r"<\|[^<>]{0,40}\|>|</?[A-Za-z_][^<>]{0,40}>|\*\*|__|```|^\s{0,3}#{1,6}\s|\\boxed|\\\(|\$\$", re.MULTILINE)
_NUMBERS = re.compile(r"[\[(]\s*-?\d+(?:\.\d+)?(?:\s*,\s*-?\d+(?:\.\d+)?){3,5}\s*[\])]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")


@dataclass(frozen=True, slots=True)
class Rules:
    """What reasoning has to keep to."""

    min_iou: float = 0.75
    max_looks: int = 3
    min_chars: int = 40
    max_chars: int = 4000


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with reasoning."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class TextReading:
    """A reply, read."""

    reasoning: tuple[str | Look, ...]
    faults: tuple[Fault, ...]


def verify(task: Task, annotation: Annotation, rules: Rules | None = None) -> Annotation | Dropped:
    """Check an annotation."""
    rules = rules or Rules()
    reading = _checked(task, annotation.reasoning, rules)
    if reading.faults:
        first = reading.faults[0]
        return Dropped(task.id, first.code, first.detail[:200])
    return Annotation(reading.reasoning, annotation.annotator)


def read(task: Task, reply: str, rules: Rules) -> TextReading:
    """Read a language model's reply: reasoning with boxes in grammar form, ``</think>``, the answer."""
    before, closed, answer = reply.rpartition(grammar.THINK_END)
    body = (before if closed else reply).rpartition(grammar.THINK_END)[2]
    body = body.strip().removeprefix(grammar.THINK_START).strip()
    faults = [] if closed else [Fault("no_answer", f"There is no {grammar.THINK_END} with the answer behind it.")]
    if closed:
        faults += _answer_faults(task.question, answer)
    parsed = grammar.parse(body)
    faults += [Fault("box_unreadable", f"A box cannot be read ({p.code}): {p.text[:60]}") for p in parsed.problems]
    steps: list[str | Look] = []
    position = 0
    for found in parsed.boxes:
        steps += [body[position : found.start], Look("", found.box)]
        position = found.end
    steps.append(body[position:])
    reading = _checked(task, [s for s in steps if s != ""], rules)
    return TextReading(reading.reasoning, (*faults, *reading.faults))


def _answer_faults(question: DataQuestion, answer: str) -> list[Fault]:
    """Whether what stands behind the reasoning is the right answer."""
    if question.family == IMPLICIT:
        target = question.needs[0]
        if target.lower() in answer.lower():
            return []
        return [Fault("wrong_answer", f"Behind {grammar.THINK_END} the name '{target}' is expected.")]
    letters = LETTERS[: len(question.options)]
    choice = answer_choice(f"{grammar.THINK_END}{answer}", letters, question.options)
    if choice == question.letter:
        return []
    code = "no_answer" if choice is None else "wrong_answer"
    named = "no option" if choice is None else f"option {choice}"
    return [Fault(code, f"The text behind {grammar.THINK_END} names {named}; {question.letter} is right.")]


def _checked(task: Task, steps: Sequence[str | Look], rules: Rules) -> TextReading:
    """Everything that can be said of text and looks without the answer line."""
    faults: list[Fault] = []
    kept: list[str | Look] = []
    for step in steps:
        if isinstance(step, str):
            kept.append(step)
            continue
        name = match(task.scene, step.box, rules.min_iou, prefer=task.question.needs)
        if name:
            faults += _naming_faults(task.scene, _before(kept), name)
            kept.append(Look(name, task.scene.structures[name].box_model))
        else:
            faults.append(Fault("box_without_structure", f"The box {grammar.write(step.box)} matches no structure."))
    texts = [s for s in kept if isinstance(s, str)]
    faults += _look_faults(task.question, kept, rules)
    faults += _text_faults(task.question, task.scene, texts, rules)
    if task.question.family != IMPLICIT:
        faults += _conclusion_faults(task.question, "" if not kept or isinstance(kept[-1], Look) else str(kept[-1]))
    return TextReading(tuple(kept), tuple(faults))


def match(scene: Scene, box: Box, min_iou: float, prefer: Sequence[str] = ()) -> str:
    """The structure whose model box overlaps a box most."""
    fitting = [s for s in scene.structures.values() if len(s.box_model.coords) == len(box.coords)]
    scored = [(box_iou(box, s.box_model), s.name in prefer, s.name) for s in fitting]
    best = max(scored, key=lambda entry: entry[:2], default=(0.0, False, ""))
    return best[2] if best[0] >= min_iou else ""


def _before(kept: Sequence[str | Look]) -> str:
    """The unfinished sentence in front of a box."""
    text = kept[-1] if kept and isinstance(kept[-1], str) else ""
    return _SENTENCE_END.split(text)[-1].lower()


def _naming_faults(scene: Scene, words: str, name: str) -> list[Fault]:
    """A box right behind the name of another structure says something false."""
    if name in words:
        return []
    named = [n for n in scene.structures if re.search(rf"\b{re.escape(n)}\b", words)]
    return [Fault("box_of_another", f"The box behind '{named[-1]}' is that of the {name}.")] if named else []


def _look_faults(question: DataQuestion, steps: Sequence[str | Look], rules: Rules) -> list[Fault]:
    looks = [s.label for s in steps if isinstance(s, Look)]
    if question.family == IMPLICIT:
        return [Fault("look_not_allowed", "This text is written without any box.")] if looks else []
    if not looks:
        return [Fault("no_look", f"There is no box of a structure; write one to {rules.max_looks}.")]
    faults = []
    if len(looks) > rules.max_looks:
        faults.append(Fault("too_many_looks", f"There are {len(looks)} boxes; write at most {rules.max_looks}."))
    if not set(looks) & set(question.needs):
        faults.append(Fault("needless_looks", f"None of the boxes is needed; look at: {', '.join(question.needs)}."))
    return faults


def _text_faults(question: DataQuestion, scene: Scene, texts: Sequence[str], rules: Rules) -> list[Fault]:
    """Length, markup, bare coordinates and slips of the tongue."""
    whole = "\n".join(texts)
    faults = []
    if len(whole.strip()) < rules.min_chars:
        faults.append(Fault("too_short", f"The reasoning has {len(whole.strip())} characters; write at least {rules.min_chars}."))
    if len(whole) > rules.max_chars:
        faults.append(Fault("too_long", f"The reasoning has {len(whole)} characters; write at most {rules.max_chars}."))
    markup = _MARKUP.search(whole) or _CONTROL.search(whole)
    if markup:
        faults.append(Fault("markup", f"The text holds {markup[0].strip()!r}; write plain sentences."))
    allowed = {o.replace(" ", "") for o in question.options}
    bare = [n for n in _NUMBERS.findall(whole) if n.replace(" ", "") not in allowed]
    if bare:
        faults.append(Fault("box_in_text", f"The coordinates {bare[0]} stand in the text; write a box with its tags, or words."))
    names = {*scene.structures, *scene.absent, *question.about, *question.needs, *question.options}
    known = " ".join((question.text, *question.facts, *sorted(names)))
    declined = refusal(whole)
    if declined:
        faults.append(Fault("refusal", f"The text says {declined!r}; write as somebody who looks at the picture."))
    told = told_reason(whole, known, described=question.family == IMPLICIT)
    if told:
        faults.append(Fault("says_it_was_told", f"The text says {told!r}; write as somebody who looks at the picture."))
    foreign = not_english(whole, frozenset(re.findall(r"[^\W\d_]+", known.lower())))
    if foreign:
        faults.append(Fault("other_language", f"The piece {foreign!r} is not English; write all of the text in English."))
    return faults


def _conclusion_faults(question: DataQuestion, last: str) -> list[Fault]:
    """The last sentences have to name the right option, by its text or its letter, and no other letter at the end."""
    sentences = [s for s in _SENTENCE_END.split(last) if re.search(r"\w", s)]
    end = " ".join(sentences[-2:]).lower()
    by_text = re.search(rf"(?<!\w){re.escape(question.right.lower().rstrip('.'))}(?!\w)", end)
    closing = re.search(rf"\b([{LETTERS[: len(question.options)]}])\W*$", last)
    if closing[1] == question.letter if closing else by_text:
        return []
    return [Fault("no_conclusion", f"The last sentence has to end with: {question.right} {question.letter}.")]
