"""Many tasks against one endpoint: bounded concurrency, kept replies, one repair, an end to budgets and to dead endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from unireason.errors import UniReasonError

from . import prompt
from .budget import Account, Bill, Spent
from .cache import Reply, ReplyCache, key_of
from .client import ChatClient, EndpointError, tokens_of
from .protocol import Annotation, Dropped, Task
from .settings import LlmSettings
from .verify import Fault, Reading, read

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one task, before the budget is settled.

    Attributes:
        result: The annotation, or why there is none.
        spent: What its replies used up.
        repaired: True if the second text was the valid one.
    """

    result: Annotation | Dropped
    spent: Spent
    repaired: bool = False


class Run:
    """One pass over tasks.

    Args:
        url: Full address of the chat completions.
        model: Name of the model there.
        settings: Limits, sampling, budget, cache.
        spent: What earlier passes used up.
        failures: Failures in a row at the end of the pass before.

    Attributes:
        asked: Replies got from the endpoint.
        cached: Replies found on disk.
        failures: Failures in a row so far.
        account: What was paid.
    """

    def __init__(self, url: str, model: str, settings: LlmSettings, spent: Spent, failures: int) -> None:
        self._url, self._model, self._settings = url, model, settings
        self._cache = ReplyCache(settings.cache)
        self.asked = self.cached = 0
        self.failures = failures
        self.account = Account(settings, spent)

    async def outcomes(self, tasks: Sequence[Task], annotator: str) -> list[Outcome | None]:
        """One outcome a task, in order; None for tasks that were not begun because the budget was used up.

        Raises:
            UniReasonError: See ``LlmAnnotator.annotate``.
        """
        found: list[Outcome | None] = [None] * len(tasks)
        waiting = iter(enumerate(tasks))
        async with ChatClient(self._url, self._model, self._settings) as client:
            workers = [
                asyncio.ensure_future(self._work(client, waiting, found, annotator))
                for _ in range(min(self._settings.concurrency, len(tasks)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return found

    async def _work(
        self, client: ChatClient, waiting: Iterator[tuple[int, Task]], found: list[Outcome | None], annotator: str
    ) -> None:
        """Take the next task until none is left; all workers share ``waiting``, so tasks begin in their order."""
        for index, task in waiting:
            missing = [n for n in task.question.needs if n not in task.scene.structures]
            if missing or not task.question.needs:
                found[index] = Outcome(
                    Dropped(task.id, "no_structure", f"needs {', '.join(missing) or 'nothing'}"[:200]), Spent()
                )
                continue
            asked = prompt.messages(task, self._settings.rules)
            async with self.account.room(tokens_of(sum(len(m["content"]) for m in asked))) as bill:
                if bill is None:
                    return
                result, repaired = await self._one(client, task, asked, annotator, bill)
                found[index] = Outcome(result, bill.spent, repaired)

    async def _one(
        self, client: ChatClient, task: Task, asked: list[prompt.Message], annotator: str, bill: Bill
    ) -> tuple[Annotation | Dropped, bool]:
        """What comes of a task, and whether its second text was the valid one."""
        settings = self._settings
        try:
            reply = await self._reply(client, asked, bill)
            reading, repaired = _read(task, reply, settings), False
            if reading.faults and settings.repair and not bill.over:
                reply = await self._reply(client, prompt.repair(asked, reply.text, reading.faults), bill)
                reading = _read(task, reply, settings)
                repaired = not reading.faults
        except EndpointError as failure:
            if failure.code != "budget":
                self._failed(failure)
            return Dropped(task.id, failure.code, failure.detail[:200]), False
        if reading.faults:
            first = reading.faults[0]
            return Dropped(task.id, first.code, first.detail[:200]), False
        return Annotation(reading.reasoning, annotator), repaired

    async def _reply(self, client: ChatClient, messages: list[prompt.Message], bill: Bill) -> Reply:
        """A reply from disk, else from the endpoint, then kept."""
        key = key_of(self._url, self._model, messages, self._settings.sampling())
        kept = self._cache.get(key)
        if kept is not None:
            self.cached += 1
            bill.kept(kept.prompt_tokens, kept.completion_tokens)
            return kept
        reply = await client.ask(messages, bill)
        self.asked += 1
        self.failures = 0
        self._cache.put(key, reply)
        return reply

    def _failed(self, failure: EndpointError) -> None:
        """Count failures in a row; an endpoint that is down must end the run, not drop every task that is left.

        Raises:
            UniReasonError: If there were too many, or the endpoint was never reached at all.
        """
        self.failures += 1
        remedy = "check address and server, then start again: replies got so far are kept"
        if failure.code == "unreachable" and not self.asked:
            raise UniReasonError(
                f"the endpoint cannot be reached ({failure.detail})", "a server that listens", remedy
            ) from failure
        if self.failures >= self._settings.give_up_after:
            came = f"the endpoint gave no usable reply {self.failures} times in a row ({failure.code}: {failure.detail})"
            raise UniReasonError(came, "an endpoint that answers", remedy) from failure


def _read(task: Task, reply: Reply, settings: LlmSettings) -> Reading:
    reading = read(task, reply.text, settings.rules)
    if reading.faults and reply.finish == "length":
        cut = Fault("cut_off", "The text was cut off because it was too long; write less.")
        return Reading(reading.reasoning, (cut, *reading.faults))
    return reading


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a loop of its own, also where the calling thread runs one already (notebooks)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
