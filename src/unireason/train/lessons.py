"""What one step of the small model's training is made of: packs of questions, surveys and option drills.

* *Questions* are the samples a user would meet, their options shuffled anew each time.
* A *survey* lists all structures of a view with their boxes, without looks: many boxes a picture.
* A *drill* has no picture: option lists and, many times over, an option's text followed by its letter. A small model does not find out
  by itself that a letter stands for the option beside it; a minute of drill teaches it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unireason.data.primer.questions import QUADRANTS, RELATIONS, Question
from unireason.data.primer.reasoning import write
from unireason.data.sources.phantom import ORGANS
from unireason.types import Frame

from .cohort import View
from .collate import Coder, Pack, Row, pack, prompt, response

SURVEY_QUESTION = "List all structures."
NAMES = tuple(o.name for o in ORGANS)
OPTION_SETS = (NAMES, NAMES, QUADRANTS, RELATIONS, ("yes", "no"), ("brighter", "darker"))


def shuffled(question: Question, rng: np.random.Generator) -> Question:
    """The same question with its options in another order; facts that belong to options move along."""
    order = rng.permutation(len(question.options))
    options = tuple(question.options[i] for i in order)
    aligned = len(question.facts) == len(question.options)
    targets = options if question.targets == question.options else question.targets
    return replace(
        question,
        options=options,
        answer=int(np.flatnonzero(order == question.answer)[0]),
        facts=tuple(question.facts[i] for i in order) if aligned else question.facts,
        targets=targets,
    )


def _row(coder: Coder, prefix: Row, suffix: list[int]) -> Row:
    row = Row(next=prefix.next)
    row.text(suffix, label=False)
    return row


def _survey(coder: Coder, view: View, prefix: Row, rng: np.random.Generator) -> Row:
    """Every structure with the numbers of its box, in random order; boxes are not looks here, so nothing is injected."""
    _, suffix = prompt(coder, view.frame, SURVEY_QUESTION, ())
    row = _row(coder, prefix, suffix)
    regions = list(view.scene.regions.values())
    order = rng.permutation(len(regions))
    listed = ",".join(f" {regions[i].name} [{','.join(str(int(c)) for c in regions[i].box.coords)}]" for i in order)
    row.text(coder.ids(f"<think>Listed{listed}."), label=True)
    return row


def view_pack(coder: Coder, view: View, rng: np.random.Generator, *, most: int) -> Pack:
    """Questions on one view and one survey, sharing the pictures.

    Args:
        coder: Tokenizer, profile and picture limits.
        view: The view; must show at least one structure.
        rng: Draws the questions and the order of their options.
        most: Questions at most.
    """
    chosen = [view.questions[i] for i in rng.permutation(len(view.questions))[:most]]
    prefix, _ = prompt(coder, view.frame, SURVEY_QUESTION, ())
    rows = [_survey(coder, view, prefix, rng)]
    for question in chosen:
        sample = write(shuffled(question, rng), view.scene)
        _, suffix = prompt(coder, view.frame, sample.question, sample.options)
        row = _row(coder, prefix, suffix)
        response(coder, view.frame, sample, row)
        rows.append(row)
    return pack(prefix, rows, view.pictures, tags=["survey", *(q.family for q in chosen)])


def drill_pack(coder: Coder, rng: np.random.Generator, *, rows: int = 16, queries: int = 10) -> Pack:
    """Option lists with many bindings or comparisons each; loss on what follows from the list and the numbers only.

    Two rows in three bind: an option's text, then its letter. The third compares: two structures with their sizes, then the larger one
    and its letter.
    """
    prefix = Row()
    prefix.text(coder.ids("<|im_start|>user\n"), label=False)
    packed = []
    for number in range(rows):
        compare = number % 3 == 2
        words = NAMES if compare else OPTION_SETS[int(rng.integers(len(OPTION_SETS)))]
        count = 2 if compare else min(len(words), int(rng.integers(2, 5)))
        options = [str(w) for w in rng.permutation(words)[:count]]
        _, suffix = prompt(coder, Frame(28, 28, 1, "image"), "Which?", options)
        row = _row(coder, prefix, suffix)
        for choice in rng.integers(len(options), size=queries // (1 + compare)):
            if compare:
                _comparison(coder, row, options, rng)
                continue
            row.text(coder.ids(f" So {options[choice]}"), label=False)
            row.text(coder.ids(f" {'ABCD'[choice]}"), label=True)
            row.text(coder.ids("."), label=False)
        packed.append(row)
    return pack(prefix, packed, np.zeros((0, 28, 28), np.uint8), tags=["drill"] * rows)


def _comparison(coder: Coder, row: Row, options: list[str], rng: np.random.Generator) -> None:
    """Two sizes of clearly different value, drawn evenly on a logarithmic scale, and which is larger."""
    small = int(np.exp(rng.uniform(np.log(6), np.log(70))))
    large = int(np.ceil(small * rng.uniform(1.15, 2.0))) + 1
    sizes = [small, large] if rng.random() < 0.5 else [large, small]
    larger = int(np.argmax(sizes))
    row.text(coder.ids(f" The {options[0]} size {sizes[0]}. The {options[1]} size {sizes[1]}. So"), label=False)
    row.text(coder.ids(f" {options[larger]} {'ABCD'[larger]}"), label=True)
    row.text(coder.ids("."), label=False)


def phrases(views: list[View]) -> list[str]:
    """All words and fixed phrases that views and drills use, with their leading blanks: the vocabulary of a small tokenizer."""
    import re

    fixed = [f" {t}" for group in OPTION_SETS for t in group]
    fixed += [
        " lesion",
        *(f"\n{x}." for x in "ABCD"),
        *(f" {x}" for x in "ABCD"),
        "system\n",
        "user\n",
        "assistant\n",
        "<|im_end|>\n",
    ]
    texts = [SURVEY_QUESTION, "<think>Listed", " So", "Which?", "You read a medical image.", "You read a medical scan."]
    for view in views:
        for question in view.questions:
            sample = write(question, view.scene)
            texts += [sample.question, *(p for p in sample.reasoning if isinstance(p, str))]
    words = {w for t in texts for w in re.findall(r" ?[A-Za-z]{2,}", t.replace("<think>", "").replace("</think>", "\n"))}
    return sorted(words | {f for f in fixed if not f.startswith("<|")})
