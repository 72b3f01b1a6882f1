"""Choosing the next token from logits. Every row has its own random numbers, so that a row does not depend on its neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from unireason.core.errors import FormatError, ModelError
from unireason.model.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 takes the most probable token; above 0 draws from the sharpened or flattened distribution.
        top_p: Draw from the most probable tokens whose probabilities reach this sum, in (0, 1].
        top_k: Draw from that many most probable tokens; 0 for all.
        seed: Seed of the first sample; sample n of a question uses seed + n.
        repetition_penalty: Logits of ids that stand in the prompt or the response already are divided by it where they are positive and
            multiplied where they are negative, also when the most probable token is taken; 1 changes nothing. None takes that of the
            checkpoint's ``generation_config.json`` in ``Reasoner``, and 1 elsewhere.

        logprobs: Which log-probability a row records of a drawn token: "raw" at temperature 1 and before any cut, "processed" that
            of the distribution it was drawn from, behind temperature, top_k and top_p. At temperature 0 both are raw.

    Source: repetition penalty of CTRL, arXiv 1909.05858, section 4.1.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    repetition_penalty: float | None = None
    logprobs: Literal["raw", "processed"] = "raw"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise FormatError(f"the temperature is {self.temperature}", "a number from 0 upwards")
        if not 0 < self.top_p <= 1:
            raise FormatError(f"top_p is {self.top_p}", "a number above 0, up to 1")
        if type(self.top_k) is not int or self.top_k < 0:
            raise FormatError(f"top_k is {self.top_k!r}", "a whole number from 0 upwards")
        if self.repetition_penalty is not None and not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise FormatError(f"the repetition penalty is {self.repetition_penalty}", "a number above 0")
        if self.logprobs not in ("raw", "processed"):
            raise FormatError(f"the log-probabilities are {self.logprobs!r}", "'raw' or 'processed'")
        if type(self.seed) is not int or not 0 <= self.seed < 2**62:
            raise FormatError(f"the seed is {self.seed!r}", "a whole number from 0 to 2^62")


class Picker(Protocol):
    """Chooses the tokens of one row."""

    def pick(self, logits: torch.Tensor) -> tuple[int, float]:
        """(token, log-probability) for float logits (vocabulary,)."""


class Sampler:
    """Draws the tokens of one row."""

    def __init__(self, sampling: Sampling, seed: int, forbidden: torch.Tensor) -> None:
        """Start a row."""
        self._sampling, self._forbidden = sampling, forbidden
        self._random = torch.Generator().manual_seed(seed)

    def pick(self, logits: torch.Tensor) -> tuple[int, float]:
        """Choose the next token."""
        scores = logits.float().masked_fill(self._forbidden.to(logits.device), -math.inf)
        total = checked_sum(scores)
        if self._sampling.temperature == 0:
            token = int(scores.argmax())
            return token, float(scores[token] - total)
        token, logprob = self._draw(scores)
        return token, logprob if self._sampling.logprobs == "processed" else float(scores[token] - total)

    def _draw(self, scores: torch.Tensor) -> tuple[int, float]:
        """A token and its log-probability: the inverse of the cumulative distribution, in float64 for the sake of long tails."""
        chances = (scores.double() / self._sampling.temperature).softmax(0)
        order = None
        if self._sampling.top_k or self._sampling.top_p < 1:
            chances, order = chances.sort(descending=True, stable=True)
            if self._sampling.top_k:
                chances = chances[: self._sampling.top_k]
        sums = chances.cumsum(0)
        if order is not None:
            # A token belongs to the nucleus if those before it do not reach top_p yet: the first always does.
            sums = sums[: int((sums - chances < self._sampling.top_p).sum())]
        drawn = torch.rand((), generator=self._random, dtype=torch.float64).item() * float(sums[-1])
        place = min(int((sums <= drawn).sum()), int((sums < sums[-1]).sum()))
        logprob = float((chances[place] / sums[-1]).log())
        return place if order is None else int(order[place]), logprob


class Repetition:
    """The repetition penalty of one row: which ids it has seen, and what that does to its logits."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], forbidden: torch.Tensor) -> None:
        """Start behind a prompt."""
        self._penalty = sampling.repetition_penalty or 1.0
        self._seen = torch.zeros_like(forbidden)
        self._new = list(prompt)

    def restart(self, ids: Sequence[int]) -> None:
        """Forget all ids but these, which now stand in prompt and response."""
        self._seen = torch.zeros_like(self._seen)
        self._new = list(ids)

    def saw(self, ids: Sequence[int]) -> None:
        """Take ids that now stand in the response."""
        self._new += ids

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (vocabulary,) after the penalty."""
        if self._penalty == 1:
            return logits
        self._seen[self._new] = True
        self._new = []
        scores = logits.float()
        return torch.where(self._seen, torch.where(scores > 0, scores / self._penalty, scores * self._penalty), scores)


def checked_sum(scores: torch.Tensor) -> torch.Tensor:
    """The logarithm of the sum of exponentials of logits (vocabulary,), of which some may be minus infinity.

    A sum that is not finite is a ModelError: NaN among the logits would be taken for the most probable token.
    """
    total = scores.logsumexp(0)
    if not math.isfinite(total):
        raise ModelError(
            f"the language model answers with numbers that are not finite (a sum of {float(total)})",
            "finite numbers",
            "its weights are damaged, or float32 is needed: load them again, with dtype fp32",
        )
    return total


PickerFactory = Callable[[int, Sampling, int, torch.Tensor], Picker]


def make_sampler(row: int, sampling: Sampling, seed: int, forbidden: torch.Tensor) -> Picker:
    """The usual picker of a row; its place among the requests plays no role."""
    del row
    return Sampler(sampling, seed, forbidden)


def forbidden_ids(checkpoint: Checkpoint) -> torch.Tensor:
    """bool (vocabulary,): picture and turn tokens, and rows of the output layer that no token belongs to."""
    network: Any = checkpoint.network
    mask = torch.zeros(network.get_output_embeddings().weight.shape[0], dtype=torch.bool)
    mask[len(checkpoint.tokenizer) :] = True
    mask[list(checkpoint.ids.forbidden)] = True
    return mask.to(checkpoint.device)
