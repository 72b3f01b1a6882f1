"""What is asked, and how: a question, and the settings that all questions of one call share."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from unireason.errors import FormatError
from unireason.grounding.prompts import CropSource

from .sampling import Sampling


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How to ask, apart from the question.

    Attributes:
        sampling: How tokens are chosen; greedy by default.
        samples: Responses a question; sample n uses the seed ``sampling.seed + n``, or that of its question plus n.
        window: See ``imaging.window.choose``.
        slices: Model slices of a volume; None takes the profile's.
        crop_source: What looks show: "model", "native" or "none"; None takes the profile's.
        max_looks: Looks at most; None takes the profile's.
        max_new_tokens: Sampled tokens at most, in one round or many; None takes the profile's limits, of all rounds and of each.
    """

    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1
    window: str = "auto"
    slices: int | None = None
    crop_source: CropSource | None = None
    max_looks: int | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            FormatError: If there are no samples, or slices are not a positive whole number.
        """
        for name in ("samples", "slices"):
            value = getattr(self, name)
            if (value is not None or name == "samples") and (type(value) is not int or value < 1):
                raise FormatError(f"{name} is {value!r}", "a whole number of at least 1")


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its options.

    Attributes:
        text: The question.
        options: Option texts in order A, B, ...; none for an open question.
        seed: Seed of its first sample; None takes that of the sampling, which all questions of a call share.
    """

    text: str
    options: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check the types; a bare text would be taken letter by letter, and a set has no order.

        Raises:
            FormatError: If the question is no text, or the options are no list of texts.
        """
        if not isinstance(self.text, str):
            raise FormatError(f"a question of the type {type(self.text).__name__}", "a text")
        options: Any = self.options
        if isinstance(options, str | bytes | Set | Mapping) or not isinstance(options, Iterable):
            raise FormatError(
                f"options={reprlib.repr(options)}",
                "a list of texts in order",
                'write options=["yes", "no"], or none for an open question',
            )
        object.__setattr__(self, "options", tuple(options))
        wrong = [option for option in self.options if not isinstance(option, str)]
        if wrong:
            raise FormatError(f"the option {reprlib.repr(wrong[0])} is of the type {type(wrong[0]).__name__}", "a text")

    def seed_of(self, sample: int, sampling: Sampling) -> int:
        """The seed of one of its samples, counted from 0."""
        return (sampling.seed if self.seed is None else self.seed) + sample


def options_from(how: Mapping[str, Any]) -> AskOptions:
    """Settings from keyword arguments; ``sampling=None`` takes the default.

    Raises:
        FormatError: If a name is unknown or a value out of range.
    """
    try:
        return replace(AskOptions(), **{**how, "sampling": how.get("sampling") or Sampling()})
    except TypeError as error:
        raise FormatError(f"unknown setting: {error}", f"some of: {', '.join(AskOptions.__dataclass_fields__)}") from error
