"""How a run asks: how many questions, how many samples of each, what stands for a question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from unireason.engine.sampling import Sampling
from unireason.errors import FormatError
from unireason.evaluate import settings
from unireason.evaluate.questions import seed_of
from unireason.grounding.prompts import CropSource

TEMPERATURE = 0.7
"""Temperature of several samples if none is asked for."""


@dataclass(frozen=True, slots=True)
class Settings(settings.Settings):
    """How a run asks; which questions, and how many may stay without an answer, see ``evaluate.settings.Settings``.

    Attributes:
        samples: Responses a question.
        vote: The most frequent answer of the first so many samples stands for the question; 0 for the answer of the first sample.
        sampling: How tokens are chosen; its seed is not used, see :meth:`seed_of`.
        max_looks: Looks at most; None takes the profile's.
        max_new_tokens: Sampled tokens at most; None takes the profile's.
        crop_source: What looks show: "model", "native" or "none"; None takes the profile's.
        opened: How the suite was opened, for the manifest: "data" (name of its folder), "split" and "suite_options"; plain JSON values.
    """

    samples: int = 1
    vote: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    max_looks: int | None = None
    max_new_tokens: int | None = None
    crop_source: CropSource | None = None
    opened: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            FormatError: If a number is out of range, more samples vote than there are, or several samples would all be the same.
        """
        settings.Settings.__post_init__(self)  # a class with slots is made twice, and super() knows the first one
        settings.check_least(self, {"samples": 1, "vote": 0, "max_looks": 0, "max_new_tokens": 1})
        if self.vote > self.samples:
            raise FormatError(f"a vote of {self.vote} among {self.samples} samples", "at most as many as there are samples")
        if self.samples > 1 and self.sampling.temperature == 0:
            raise FormatError(
                f"{self.samples} samples at temperature 0 are all the same", "a temperature above 0", "leave it out to take 0.7"
            )

    @classmethod
    def filled(
        cls, *, samples: int | None = None, vote: int = 0, temperature: float | None = None, top_p: float = 1.0, **rest: Any
    ) -> Settings:
        """Settings from what a user has said.

        Args:
            samples: None takes ``vote``, or 1.
            vote: As above.
            temperature: None takes 0 for one sample and 0.7 for several.
            top_p: See ``Sampling``.
            **rest: Other fields of this class.

        Raises:
            FormatError: As the class, or if a sampling parameter is out of range.
        """
        several = samples if samples is not None else max(vote, 1)
        warmth = temperature if temperature is not None else TEMPERATURE if several > 1 else 0.0
        return cls(samples=several, vote=vote, sampling=Sampling(temperature=warmth, top_p=top_p), **rest)

    def seed_of(self, question: str) -> int:
        """Seed of the first sample to a question; it depends on the seed of the run and the question's identifier alone."""
        return seed_of(self.seed, question)

    def manifest(self) -> dict[str, Any]:
        """What of this shapes the rows, as plain JSON values."""
        return {
            "samples": self.samples,
            "vote": self.vote,
            "sampling": {key: value for key, value in asdict(self.sampling).items() if key != "seed"},
            "limits": {"max_looks": self.max_looks, "max_new_tokens": self.max_new_tokens},
            "crop_source": self.crop_source,
            **self.opened,
        }
