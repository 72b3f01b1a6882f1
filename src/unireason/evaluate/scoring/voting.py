"""Self-consistency: the answer that most of several samples to one question give, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unireason.errors import FormatError
from unireason.metrics.answers import answer_words


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome of a vote.

    Attributes:
        index: The first sample that says the winning answer; its verdict and trace stand for the question. 0 if no sample can be read.
        said: The winning answer as that sample says it; "" if no sample can be read.
        agreement: Share of all samples that say it, unreadable ones among them; 0 if no sample can be read.
        tied: Other answers that have as many votes, in the order they were first said.
        counts: Votes of every answer, in the order they were first said; unreadable samples have no vote.
    """

    index: int
    said: str
    agreement: float
    tied: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]


def vote(said: Sequence[str]) -> Vote:
    """Let the samples to one question vote.

    Answers are the same if their words are (``metrics.answers.answer_words``). Of answers with as many votes the one said first wins: the
    order of samples is random, so this neither favours a letter nor looks at the truth.

    Args:
        said: What every sample says (``Verdict.said``), in the order sampled; "" for one that cannot be read.

    Returns:
        The vote.

    Raises:
        FormatError: If there is no sample.

    Source: X. Wang et al., Self-Consistency, arXiv 2203.11171, section 2 (majority vote); the tie rule is ours.
    """
    if not said:
        raise FormatError("a vote without samples", "at least one")
    places: dict[tuple[str, ...], list[int]] = {}
    for place, text in enumerate(said):
        if words := answer_words(text):
            places.setdefault(words, []).append(place)
    if not places:
        return Vote(0, "", 0.0, (), ())
    ranked = sorted(places.values(), key=len, reverse=True)  # stable: the order first said stays among equals
    winner = ranked[0]
    return Vote(
        index=winner[0],
        said=said[winner[0]],
        agreement=len(winner) / len(said),
        tied=tuple(said[other[0]] for other in ranked[1:] if len(other) == len(winner)),
        counts=tuple((said[own[0]], len(own)) for own in places.values()),
    )
