"""One reward for one response: the terms that a run asked for, each by its name, and what was measured on the way.

It reads a finished Trace and the truth of its question. It knows nothing of training, networks or files; the evidence term, which
needs a second generation, is added afterwards by ``with_evidence``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from unireason.core.errors import FormatError
from unireason.core.types import Trace

from . import spatial
from .outcome import Measures, measure, open_outcome, outcome


@dataclass(frozen=True, slots=True)
class Weights:
    """What a response earns. The defaults are the published weights, without pay for looks that show nothing; every further term is off.

    Attributes:
        answer: Weight of the right answer.
        format: Weight of the format.
        must_look: True if the format asks for at least one executed look, for questions with a grounded reasoning.
        must_show: True if looks that show nothing (``outcome.empty_looks``) spoil the box half of the format, like a box that does not
            read well, and earn no bonus; False pays them as the published reward does.
        spatial: Mode of the spatial reward for implicit grounding; volumes have "soft" only.
        mask: Share of the spatial reward that the Dice of a mask takes over (``with_mask``), in [0, 1].
        evidence: Weight of the evidence contrast (``with_evidence``).
        looks: Bonus of a response with a look executed before ``</think>``.
        length: Taken off for every 100 sampled tokens.

    Source: weights of answer and format from arXiv 2606.11740.
    """

    answer: float = 0.8
    format: float = 0.2
    must_look: bool = True
    must_show: bool = True
    spatial: spatial.Mode = "soft"
    mask: float = 0.0
    evidence: float = 0.0
    looks: float = 0.0
    length: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("must_look", "must_show", "spatial") and not 0 <= value < math.inf:
                raise FormatError(f"the reward weight {field.name} is {value}", "a number of at least 0")
        if self.mask > 1:
            raise FormatError(f"the share of the mask is {self.mask}", "a number from 0 to 1")
        if self.spatial not in get_args(spatial.Mode):
            raise FormatError(f"the reward mode {self.spatial!r}", " or ".join(get_args(spatial.Mode)))


@dataclass(frozen=True, slots=True)
class Letter:
    """The truth of a question with options.

    Attributes:
        letter: The right option, in either case.
    """

    letter: str


@dataclass(frozen=True, slots=True)
class RewardTexts:
    """The truth of an open question.

    Attributes:
        texts: Answers that count as right, at least one.
        tolerance: By how much an amount may be off, in the unit in which the texts give it.
        more: What has to be named besides, and of each the texts that count.
    """

    texts: tuple[str, ...]
    tolerance: float = 0.0
    more: tuple[tuple[str, ...], ...] = ()


Truth = Letter | RewardTexts | spatial.Gold | spatial.Gold3D


@dataclass(frozen=True, slots=True)
class Scores:
    """What one response earned.

    Attributes:
        terms: Addends of the reward, already weighted: "answer" and "format", or "spatial"; always "looks", "length", "evidence".
        parts: The scores behind them, unweighted: the keys of ``outcome``, or those of the spatial reward with its raw ``score``.
        measures: What was measured.
    """

    terms: dict[str, float]
    parts: dict[str, float]
    measures: Measures

    @property
    def reward(self) -> float:
        """The one number: the sum of the terms."""
        return math.fsum(self.terms.values())

    @property
    def right(self) -> bool:
        """True if the answer is right; False for implicit grounding, where right is a matter of degree."""
        return self.parts.get("answer") == 1.0


def score(trace: Trace, truth: Truth, weights: Weights | None = None, *, grounded: bool = True) -> Scores:
    """Score one response.

    Args:
        trace: The response, its raw text with special tokens kept.
        truth: The truth of its question.
        weights: What counts how much; None takes the defaults.
        grounded: False for a question that is answered without looking: it is not asked to look and gets no bonus for it.

    Returns:
        Its scores. With the default weights the reward lies in [0, 1] for every kind of question; a trace without steps earns 0.

    Raises:
        FormatError: If the truth does not fit the question, tokens are missing for the length term, or the mode has no 3D form.
    """
    weights = weights or Weights()
    measured = measure(trace)
    if isinstance(truth, Letter | RewardTexts):
        how: dict[str, Any] = {
            "must_look": weights.must_look and grounded,
            "must_show": weights.must_show,
            "answer_weight": weights.answer,
            "format_weight": weights.format,
        }
        parts = (
            outcome(trace, truth.letter, **how)
            if isinstance(truth, Letter)
            else open_outcome(trace, truth.texts, more=truth.more, tolerance=truth.tolerance, **how)
        )
        terms = {"answer": weights.answer * parts["answer"], "format": weights.format * parts["format"]}
        bonus = weights.looks * parts["looked"] * grounded
    else:
        if isinstance(truth, spatial.Gold):
            parts, most = spatial.umrg_reward(trace.raw_text, truth, mode=weights.spatial), spatial.MAXIMUM[weights.spatial]
        elif weights.spatial == "soft":
            parts, most = spatial.umrg_reward_3d(trace.raw_text, truth), spatial.MAXIMUM_3D
        else:
            raise FormatError(f"the reward mode {weights.spatial!r} for a volume", "soft", "set spatial = 'soft'")
        terms, bonus = {"spatial": parts["score"] / most}, 0.0
    if weights.length and trace.tokens is None:
        raise FormatError("a trace without tokens", "its tokens, which the length term counts")
    length = 0.0 - weights.length * measured.sampled_tokens / 100
    return Scores({**terms, "looks": bonus, "length": length, "evidence": 0.0}, parts, measured)


def with_evidence(scores: Scores, value: float, weights: Weights) -> Scores:
    """The same scores with the evidence term filled in: what ``outcome.contrast`` said, in [0, 1]."""
    if not 0 <= value <= 1:
        raise FormatError(f"an evidence contrast of {value}", "a number from 0 to 1")
    return replace(scores, terms={**scores.terms, "evidence": weights.evidence * value})


def with_mask(scores: Scores, dice: float, weights: Weights) -> Scores:
    """The same scores of an implicit answer with the mask's share of the spatial reward filled in.

    ``dice`` is that of the mask made of the answer's box and points, in [0, 1]; 0 for an answer of which none can be made.
    """
    if not 0 <= dice <= 1 or "spatial" not in scores.terms:
        raise FormatError(f"a Dice of {dice} for a response with {', '.join(scores.terms)}", "0 to 1, for an implicit question")
    shares = {"spatial": (1 - weights.mask) * scores.terms["spatial"], "mask": weights.mask * dice}
    return replace(scores, terms={**scores.terms, **shares}, parts={**scores.parts, "mask_dice": dice})
