"""A question out of its parts: wording, options in random order, facts and what to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unireason.data.rationale.wording import capital, is_plural, listed, the
from unireason.data.scene import DataQuestion

from .distractors import Dice, Places

# --- Wordings of the questions with options; no logic.


KINDS = {"image": ("image", "picture"), "volume": ("volume", "scan")}

TERMS = {
    "patient": ("in patient terms", "in the patient's own directions", "from the patient's point of view"),
    "picture": ("as displayed", "as shown", "from the viewer's point of view"),
}

PHRASES: dict[str, tuple[str, ...]] = {
    "quadrant": (
        "In which part of the {kind} can {x} be found, {terms}?",
        "Where in the {kind} does one find {x}, {terms}?",
        "Measured from the middle of the {kind}, in which part is the centre of {x}, {terms}?",
        "Which part of the {kind} holds the centre of {x}, {terms}?",
        "Locate {x}: in which part of the {kind}, {terms}?",
        "Cut the {kind} into four through its middle. Which of the four holds the centre of {x}, {terms}?",
    ),
    "quadrant/2": (
        "Is the centre of {x} in the {either} part of the {kind}, {terms}?",
        "Two parts of the {kind} come into question for {x}, {terms}: {either}. Which is it?",
        "In which of two parts of the {kind} is the centre of {x}, {terms}: {either}?",
        "Locate {x}: {either}, {terms}?",
        "Does one find {x} in the {either} part of the {kind}, {terms}?",
    ),
    "box": (
        "Which box encloses {x}, {form}?",
        "Which of these boxes fits {x} tightly, {form}?",
        "Mark {x}: which box, {form}, is the right one?",
        "One of these boxes was drawn around {x}, {form}. Which one?",
        "Where must a tight box around {x} be drawn, {form}?",
        "Choose the box that holds {x}, {form}.",
    ),
    "slices": (
        "On which slices of the {kind} does one see {x} (counted from 0)?",
        "Counting slices from 0, through which range can {x} be followed?",
        "From which to which slice would you scroll to see all of {x}, the first slice being 0?",
        "Which range of slices shows {x}? The first slice has number 0.",
        "If slices are counted from 0, which of them cut {x}?",
    ),
    "which_in_quadrant": (
        "Which structure lies in the {part} part of the {kind}, {terms}?",
        "Which of these has its centre in the {part} part of the {kind}, {terms}?",
        "Look at the {part} part of the {kind}, {terms}. Which of these structures lies there?",
        "Only one of these lies in the {part} part of the {kind}, {terms}. Which one?",
        "Which of these would you find in the {part} part of the {kind}, {terms}?",
        "What can be found in the {part} part of the {kind}, {terms}?",
    ),
    "which_at_box": (
        "Which structure does the box {box} enclose ({form})?",
        "What fills the box {box} ({form})?",
        "The box {box} ({form}) was drawn tightly around one structure. Which one?",
        "Look at the region {box} ({form}). Which structure does it frame?",
        "Name the structure whose outline the box {box} touches on all sides ({form}).",
        "A reader marked {box} ({form}). What was marked?",
    ),
    "present": (
        "Can {x} be seen in this {kind}?",
        "Does this {kind} show {x}?",
        "Look for {x}. Is any part visible in this {kind}?",
        "Would you find {x} in this {kind}?",
        "Does any part of {x} appear in this {kind}?",
        "Decide whether this {kind} contains {x}.",
    ),
    "which_present": (
        "Which of these structures can be seen in this {kind}?",
        "Only one of these appears in the {kind}. Which one?",
        "Which of these does the {kind} show?",
        "One of these structures is there, the others are not. Which one is there?",
        "Which of these would you be able to outline in this {kind}?",
        "What does this {kind} contain?",
    ),
    "which_absent": (
        "Which of these structures cannot be seen in this {kind}?",
        "All but one of these appear in the {kind}. Which one does not?",
        "Which of these does the {kind} not show?",
        "One of these structures is missing from the {kind}. Which one?",
        "Which of these would you look for in vain in this {kind}?",
        "What does this {kind} lack?",
    ),
    "largest": (
        "Which of these structures is the largest by {size}?",
        "Which of these has the largest {size} in this {kind}?",
        "Compare the {size} of these structures. Which is the largest?",
        "Rank these by {size}: which comes first?",
        "Which of these takes up the most room in this {kind}, by {size}?",
    ),
    "largest/2": (
        "Which has the larger {size} in this {kind}, {pair}?",
        "Compare {both}: which is larger by {size}?",
        "By {size}, is it {pair} that is larger?",
        "Which takes up more room in this {kind}, {pair}?",
        "Of the two, {both}, which is the larger one by {size}?",
    ),
    "smallest": (
        "Which of these structures is the smallest by {size}?",
        "Which of these has the smallest {size} in this {kind}?",
        "Compare the {size} of these structures. Which is the smallest?",
        "Rank these by {size}: which comes last?",
        "Which of these takes up the least room in this {kind}, by {size}?",
    ),
    "smallest/2": (
        "Which has the smaller {size} in this {kind}, {pair}?",
        "Compare {both}: which is smaller by {size}?",
        "By {size}, is it {pair} that is smaller?",
        "Which takes up less room in this {kind}, {pair}?",
        "Of the two, {both}, which is the smaller one by {size}?",
    ),
    "how_large": (
        "What {size} {does} {x} have in this {kind}?",
        "How large would you measure {x} to be in this {kind}, by {size}?",
        "Estimate the {size} of {x} in this {kind}.",
        "Into which range does the {size} of {x} fall?",
        "If {x} were outlined in this {kind}, what {size} would come out?",
    ),
    "direction": (
        "In which direction from {y} does one find {x}, {terms}?",
        "Seen from {y}, mainly in which direction {is} {x} to be found, {terms}?",
        "Going from {y} to {x}, which way does one mainly move, {terms}?",
        "Starting at the centre of {y}, which way leads to {x}, {terms}?",
        "How {is} {x} placed relative to {y}, {terms}?",
        "Compare the centres: on which side of {y} {is} {x}, {terms}?",
    ),
    "direction/2": (
        "Seen from {y}, {is} {x} to be found {either}, {terms}?",
        "Going from {y} to {x}, does one mainly move {either}, {terms}?",
        "Which word tells how {x} {is} placed relative to {y}, {terms}: {either}?",
        "Compare the centre of {x} with that of {y}: does it lie {either}, {terms}?",
        "Starting at the centre of {y}, which way leads to {x}, {either}, {terms}?",
    ),
    "nearest": (
        "Which of these is nearest to {x}, from centre to centre?",
        "From the centre of {x}, which of these has the shortest way to its centre?",
        "Measure from centre to centre: which of these is closest to {x}?",
        "Which of these structures has its centre closest to that of {x}?",
        "Of these structures, which is the nearest neighbour of {x} by the distance of centres?",
    ),
    "nearest/2": (
        "Which is nearer to {x} from centre to centre, {pair}?",
        "From the centre of {x}, is the way shorter to {pair}?",
        "Measure from centre to centre: {is} {x} closer to {pair}?",
        "Is the centre of {x} closer to that of {pair}?",
        "Of the two, {both}, which has its centre closer to {x}?",
    ),
    "which_direction": (
        "Which of these lies further {towards} than {x}, {terms}?",
        "Compared with {x}, which of these is placed further {towards}, {terms}?",
        "Only one of these is found when one goes on {towards} from the centre of {x}, {terms}. Which one?",
        "Only one of these has its centre further {towards} than {x}, {terms}. Which one?",
        "Take {x} as a landmark. Which of these is found further {towards}, {terms}?",
    ),
    "host": (
        "Which organ holds {x}?",
        "In which organ {does} {x} sit?",
        "What structure surrounds {x}?",
        "In which of these organs {does} {x} replace tissue?",
        "To which organ would you assign {x}?",
        "In which of these {has} {x} grown?",
    ),
    "brightness": (
        "How {does} {x} look against the surroundings?",
        "Compared with the tissue around, how {does} {x} appear?",
        "{Does} {x} appear brighter or darker than what surrounds {it}?",
        "What is the brightness of {x} relative to the surroundings?",
        "In grey level, how {does} {x} differ from the tissue around?",
    ),
    "count": (
        "Into how many separate parts {does} {x} fall in this {kind}?",
        "How many separate foci of {x} can be counted in this {kind}?",
        "Count the separate areas marked as {x}. How many are there?",
        "How many pieces that do not touch make up {x} in this {kind}?",
        "In this {kind}, how many disconnected parts {does} {x} have?",
    ),
    "lesion_side": (
        "On which side of the middle of the {kind} {is} {x}, {terms}?",
        "Which half of the {kind} holds the centre of {x}, {terms}?",
        "{Is} {x} centred left or right of the middle of the {kind}, {terms}?",
        "To which side of the {kind} {is} {x} to be assigned, {terms}?",
        "Give the side of {x} in this {kind}, {terms}.",
    ),
    "lesion_quadrant": (
        "In which part of the {kind} {is} {x}, {terms}?",
        "Which part of the {kind} would you search for {x}, {terms}?",
        "Seen from the middle of the {kind}, where is the centre of {x}, {terms}?",
        "Report the place of {x} in the {kind}, {terms}.",
        "The {kind} is cut into four through its middle. Which of the four {is} {x} centred in, {terms}?",
    ),
    "lesion_extent": (
        "What is the {size} of {x} in this {kind}?",
        "How much {size} {does} {x} take up in this {kind}?",
        "Measure {x}: in which range is its {size}?",
        "What {size} would you report for {x}?",
        "Outlining {x} in this {kind} gives which {size}?",
    ),
}


# --- A question out of its parts: wording, options in random order, facts and what to look at.


Choice = tuple[str, str]
"""An option and its fact."""

MOST_NEEDS = 3
_AGREEING = {"is": "are", "does": "do", "has": "have", "it": "them"}


@dataclass(frozen=True, slots=True)
class QuestionDraft:
    """A question before it is worded."""

    family: str
    ask: str
    about: tuple[str, ...]
    right: Choice
    wrong: Sequence[Choice]
    needs: Sequence[str]
    values: Mapping[str, str] = field(default_factory=dict)


def write(places: Places, dice: Dice, draft: QuestionDraft) -> DataQuestion:
    """Word a draft."""
    choices = dice.shuffled([draft.right, *draft.wrong])
    options = tuple(option for option, _ in choices)
    phrases = PHRASES.get(f"{draft.ask}/{len(options)}") or PHRASES[draft.ask]
    scene = places.scene
    text = dice.pick(phrases).format(
        # "The volume of the liver in this volume" would mean two things by one word.
        kind=dice.pick([k for k in KINDS[scene.kind] if k != draft.values.get("size")]),
        terms=dice.pick(TERMS[scene.space]),
        pair=listed([the(o) for o in options], "or"),
        both=listed([the(o) for o in options]),
        either=listed(options, "or"),
        **_agreeing(draft.values.get("x", "")),
        **draft.values,
    )
    order = {option: i for i, option in enumerate(options)}
    needs = sorted(draft.needs[:MOST_NEEDS], key=lambda name: order.get(name, -1))
    return DataQuestion(
        family=draft.family,
        ask=draft.ask,
        about=draft.about,
        text=text,
        options=options,
        answer=order[draft.right[0]],
        facts=tuple(fact for _, fact in choices),
        needs=tuple(needs),
    )


def _agreeing(name: str) -> dict[str, str]:
    """Verbs and a pronoun, as an object, that agree with a structure; also with a large first letter."""
    found = {one: many if is_plural(name) else one for one, many in _AGREEING.items()}
    return found | {capital(one): capital(word) for one, word in found.items()}


def some(dice: Dice, pool: Sequence[str], count: int) -> list[str]:
    """Draw among the first of a pool that has the hardest first."""
    return dice.shuffled(pool[: count + 2])[:count] if len(pool) >= count else []


def rivals(dice: Dice, pool: Sequence[str]) -> list[str]:
    """Three wrong options out of a pool that has the hardest first; one if there are not three; none if there is none."""
    return some(dice, pool, 3) or some(dice, pool, 1)


def few(dice: Dice, wrong: Sequence[Choice]) -> list[Choice]:
    """Three of the wrong options; one if there are not three; none if there is none."""
    return dice.shuffled(wrong)[: 3 if len(wrong) >= 3 else 1]
