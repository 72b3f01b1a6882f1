"""Grounded reasoning by a language model behind an OpenAI-compatible endpoint.

Every reply is read, held against the masks and kept on disk. A faulty text is sent back once with the list of its faults; what fails
again is dropped with the reason. Tasks start in their order and the budget is settled in their order, so that kept replies give
the same result whenever and however often they are used.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unireason.core.errors import FormatError

from .client import DispatchRun, Outcome, run_loop
from .prompt import LlmSettings, Spent, chat_url
from .template import Annotation, Dropped, Task


@dataclass(slots=True)
class LlmStats:
    """What was asked and what came of it, over the life of an annotator."""

    asked: int = 0
    cached: int = 0
    retried: int = 0
    repaired: int = 0
    annotated: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, reasons in alphabetical order."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "dropped": dict(sorted(self.dropped.items()))}


class LlmAnnotator:
    """Asks a language model for reasoning and keeps what the masks confirm.

    A copy sent to another process starts with fresh counts and a fresh budget.

    Args:
        endpoint: Address of the API, such as http://localhost:8000/v1.
        model: Name of the model there.
        settings: Limits, sampling, budget, cache; the defaults if None.

    Attributes:
        name: "llm/<model>".
        stats: Counts so far.

    Raises:
        FormatError: If the address or the name of the model cannot be used.
    """

    def __init__(self, endpoint: str, model: str, *, settings: LlmSettings | None = None) -> None:
        if not model.strip():
            raise FormatError("no model is named", "the name of a model that the endpoint serves")
        self.endpoint, self.model, self.settings = endpoint, model, settings or LlmSettings()
        self.name = f"llm/{model}"
        self.stats = LlmStats()
        self._url = chat_url(endpoint)
        self._spent = Spent()
        self._failures = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.endpoint, self.model, self.settings)

    def annotate(self, tasks: Sequence[Task]) -> list[Annotation | Dropped]:
        """One result a task, in order; it runs an event loop of its own, in any thread. Calls from several threads take turns.

        Raises:
            UniReasonError: If the key or the model is refused, the endpoint is down, or the cache cannot be written. Replies got so
                far are kept.
        """
        if not tasks:
            return []
        with self._lock:
            before = self._spent
            run = DispatchRun(self._url, self.model, self.settings, before, self._failures)
            try:
                outcomes = run_loop(run.outcomes(tasks, self.name))
            finally:
                self._count(run)
            return self._settled(tasks, outcomes, before)

    def _count(self, run: DispatchRun) -> None:
        """Add what one run asked; also after a failure, because it was paid for."""
        stats, settings = self.stats, self.settings
        self._spent = run.account.spent
        stats.asked += run.asked
        stats.cached += run.cached
        stats.retried += run.account.retried
        stats.prompt_tokens += run.account.prompt_tokens
        stats.completion_tokens += run.account.completion_tokens
        stats.cost += settings.price(run.account.prompt_tokens, run.account.completion_tokens)
        self._failures = run.failures

    def _settled(self, tasks: Sequence[Task], outcomes: Sequence[Outcome | None], spent: Spent) -> list[Annotation | Dropped]:
        """Apply the budget in the order of the tasks, and count."""
        results: list[Annotation | Dropped] = []
        for task, outcome in zip(tasks, outcomes, strict=True):
            result: Annotation | Dropped = Dropped(task.id, "budget", "the budget is used up")
            if outcome is not None and not spent.over(self.settings):
                result, spent = outcome.result, spent.plus(outcome.spent)
                self.stats.repaired += outcome.repaired
            if isinstance(result, Dropped):
                self.stats.dropped[result.reason] += 1
            else:
                self.stats.annotated += 1
            results.append(result)
        return results


def _again(endpoint: str, model: str, settings: LlmSettings) -> LlmAnnotator:
    return LlmAnnotator(endpoint, model, settings=settings)
