"""Which questions every evaluation asks, and how many of them may stay without an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unireason.errors import FormatError

from .unread import SKIP


@dataclass(frozen=True, slots=True)
class Settings:
    """Which questions are asked.

    Attributes:
        count: Questions at most; None takes all.
        seed: Of the choice of questions, of all that is drawn for them and of resampling.
        skip: Share of questions that may stay without an answer because their case cannot be read or fed.
        again: Ask again what could not be asked when the folder was written; what was answered stays.
    """

    count: int | None = None
    seed: int = 0
    skip: float = SKIP
    again: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            FormatError: If a number is out of range.
        """
        check_least(self, {"seed": 0, "count": 1})
        if not 0 <= self.skip <= 1:
            raise FormatError(f"the share of questions that may be skipped is {self.skip}", "a number from 0 to 1")


def check_least(settings: Any, least: Mapping[str, int]) -> None:
    """Refuse settings that are no whole numbers, or too small; None is left to mean what it means.

    Raises:
        FormatError: If one is out of range.
    """
    for name, low in least.items():
        value = getattr(settings, name)
        if value is not None and (type(value) is not int or value < low):
            raise FormatError(f"{name} is {value!r}", f"a whole number of at least {low}")
