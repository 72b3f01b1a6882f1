"""What one step of the base model's training is made of: trees of questions, surveys and option drills.

* *Questions* are about one view, their options shuffled anew each time.
* A *survey* lists all structures of a view with their boxes, without looks: many boxes a picture.
* A *drill* has no picture: option lists and, many times over, an option's text followed by its letter. A small model does not find out
  by itself that a letter stands for the option beside it; a minute of drill teaches it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unireason.core.types import Frame
from unireason.data.scene import LETTERS, DataQuestion
from unireason.data.sources.phantom import ORGANS
from unireason.model.tokens import encode_text, prompt_ids
from unireason.model.vision import grid_of
from unireason.train.packing import PrefixTree, TokenRun
from unireason.train.policy import Encoder

from .cohort import View
from .questions import LESION, QUADRANTS, RELATIONS, write

SURVEY, DRILL = "List all structures.", "Which?"
NAMES = tuple(o.name for o in ORGANS)
OPTION_SETS = (NAMES, NAMES, QUADRANTS, RELATIONS, ("yes", "no"), ("brighter", "darker"))
MOST_OPTIONS = 4


def view_tree(encoder: Encoder, view: View, rng: np.random.Generator, *, most: int) -> PrefixTree:
    """Questions on one view and one survey, sharing the pictures."""
    chosen = [view.questions[i] for i in rng.permutation(len(view.questions))[:most]]
    beginning, rest = _prompt(encoder, view.frame, SURVEY)
    pictures = list(view.pictures)
    prefix = encoder.run(beginning, pictures)
    survey = _survey(encoder, view, _row(prefix, rest), rng)
    samples = [write(shuffled(question, rng), view.scene) for question in chosen]
    rows = [row for tree in encoder.trees(samples, view.frame, pictures) for row in tree.rows]
    return PrefixTree(prefix, (survey, *rows), ("survey", *(q.family for q in chosen)))


def drill_tree(encoder: Encoder, rng: np.random.Generator, *, rows: int = 16, queries: int = 10) -> PrefixTree:
    """Option lists with many bindings or comparisons each; loss on what follows from the list and the numbers only."""
    prefix = TokenRun()
    prefix.text(encode_text(encoder.checkpoint, "<|im_start|>user\n"), label=False)
    packed = []
    for number in range(rows):
        compare = number % 3 == 2
        words = NAMES if compare else OPTION_SETS[int(rng.integers(len(OPTION_SETS)))]
        count = 2 if compare else min(len(words), int(rng.integers(2, MOST_OPTIONS + 1)))
        options = [str(w) for w in rng.permutation(words)[:count]]
        row = _row(prefix, _prompt(encoder, Frame(28, 28, 1, "image"), DRILL, options)[1])
        for choice in rng.integers(len(options), size=queries // (1 + compare)):
            pieces = _comparison(options, rng) if compare else _binding(options, int(choice))
            for text, label in zip(pieces, (False, True, False), strict=True):
                row.text(encode_text(encoder.checkpoint, text), label=label)
        packed.append(row)
    return PrefixTree(prefix, tuple(packed), ("drill",) * rows)


def shuffled(question: DataQuestion, rng: np.random.Generator) -> DataQuestion:
    """The same question with its options in another order; facts and looks that belong to options move along."""
    order = rng.permutation(len(question.options))
    options = tuple(question.options[i] for i in order)
    aligned = len(question.facts) == len(question.options)
    return replace(
        question,
        options=options,
        answer=int(np.flatnonzero(order == question.answer)[0]),
        facts=tuple(question.facts[i] for i in order) if aligned else question.facts,
        needs=options if question.needs == question.options else question.needs,
    )


def phrases(views: Sequence[View]) -> list[str]:
    """All words and fixed phrases that views and drills use, with their leading blanks: the vocabulary of a small tokenizer."""
    letters = LETTERS[:MOST_OPTIONS]
    fixed = {f" {t}" for group in OPTION_SETS for t in group} | {f" {LESION}", "system\n", "user\n", "assistant\n"}
    fixed |= {f"\n{x}." for x in letters} | {f" {x}" for x in letters}
    texts = [SURVEY, "Listed", " So", DRILL, "You read a medical image.", "You read a medical scan."]
    for view in views:
        for question in view.questions:
            sample = write(question, view.scene)
            texts += [question.text, *(p for p in sample.reasoning if isinstance(p, str))]
    return sorted({word for text in texts for word in re.findall(r" ?[A-Za-z]{2,}", text)} | fixed)


def _prompt(
    encoder: Encoder, frame: Frame, question: str, options: Sequence[str] = ()
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Prompt ids up to the last picture, and behind it."""
    checkpoint = encoder.checkpoint
    messages = checkpoint.profile.parts(frame.kind, question, options, n_slices=frame.depth)
    ids = prompt_ids(checkpoint, messages, [grid_of(checkpoint, frame.height, frame.width)] * frame.depth)
    split = len(ids) - ids[::-1].index(checkpoint.ids.vision_end)
    return ids[:split], ids[split:]


def _row(prefix: TokenRun, ids: Sequence[int]) -> TokenRun:
    """A row behind a prefix that begins with the rest of a prompt."""
    row = TokenRun(next=prefix.next)
    row.text(ids, label=False)
    return row


def _survey(encoder: Encoder, view: View, row: TokenRun, rng: np.random.Generator) -> TokenRun:
    """Every structure with the numbers of its box, in random order; boxes are not looks here, so nothing is injected."""
    regions = list(view.scene.regions.values())
    order = rng.permutation(len(regions))
    listed = ",".join(f" {regions[i].name} [{','.join(str(int(c)) for c in regions[i].box.coords)}]" for i in order)
    row.text(encode_text(encoder.checkpoint, f"<think>Listed{listed}."), label=True)
    return row


def _binding(options: Sequence[str], choice: int) -> tuple[str, str, str]:
    """An option's text, its letter (to be learned), and the end."""
    return f" So {options[choice]}", f" {LETTERS[choice]}", "."


def _comparison(options: Sequence[str], rng: np.random.Generator) -> tuple[str, str, str]:
    """Two sizes of clearly different value, drawn evenly on a logarithmic scale; which is larger (to be learned); the end."""
    small = int(np.exp(rng.uniform(np.log(6), np.log(70))))
    large = int(np.ceil(small * rng.uniform(1.15, 2.0))) + 1
    sizes = [small, large] if rng.random() < 0.5 else [large, small]
    larger = int(np.argmax(sizes))
    told = f" The {options[0]} size {sizes[0]}. The {options[1]} size {sizes[1]}. So"
    return told, f" {options[larger]} {LETTERS[larger]}", "."
