"""Who is told what a run does: the trainers call a watcher, and know nothing of progress bars, pages and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from unireason.types import Scored

__all__ = ["Scored", "Silent", "Watcher"]


class Watcher(Protocol):
    """What a trainer tells while it goes on. Every process has one; only the main one should show anything."""

    def begun(self, facts: str) -> None:
        """Called once when everything is loaded.

        Args:
            facts: Device, weights and samples, in words.
        """

    def step(self, stage: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """Called after every optimiser step, when its line is in the log.

        Args:
            stage: What kind of step, such as "sft" or "grpo".
            step: Steps done, from 1.
            total: Steps in all.
            values: What was measured; names that begin with ``eval_`` come from an evaluation after this step.
        """

    def resumed(self, stage: str, step: int, total: int, remark: str) -> None:
        """Called once if the run goes on from a saved state.

        Args:
            stage: What kind of step.
            step: Steps that the state has done.
            total: Steps in all.
            remark: What a person should know, such as a jump of the learning rate; "" for nothing.
        """

    def skipped(self, case: str, reason: str) -> None:
        """Called for a case that cannot be read and is left out.

        Args:
            case: Its identifier.
            reason: Why, in words.
        """

    def traces(self, step: int, scored: Sequence[Scored]) -> None:
        """Called with sample responses to look at, those of one group in a row.

        Args:
            step: The step whose rollouts they are.
            scored: The responses; empty is allowed.
        """

    def done(self, checkpoint: Path) -> None:
        """Called once at the end.

        Args:
            checkpoint: The folder of the finished checkpoint.
        """


class Silent:
    """A watcher that does nothing."""

    def begun(self, facts: str) -> None:
        """Does nothing."""

    def step(self, stage: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """Does nothing."""

    def resumed(self, stage: str, step: int, total: int, remark: str) -> None:
        """Does nothing."""

    def skipped(self, case: str, reason: str) -> None:
        """Does nothing."""

    def traces(self, step: int, scored: Sequence[Scored]) -> None:
        """Does nothing."""

    def done(self, checkpoint: Path) -> None:
        """Does nothing."""
