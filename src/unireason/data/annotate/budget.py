"""What an endpoint may be paid, and what it was: every reply counts, whatever became of it, and requests under way count beforehand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .settings import LlmSettings


@dataclass(frozen=True, slots=True)
class Spent:
    """What replies used up, kept ones included.

    Attributes:
        replies: How many there were.
        tokens: Prompt and reply tokens.
        money: Their price.
    """

    replies: int = 0
    tokens: int = 0
    money: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(self.replies + other.replies, self.tokens + other.tokens, self.money + other.money)

    def over(self, settings: LlmSettings) -> bool:
        """True once one of the budgets is used up."""
        return any(have >= limit for have, limit in self._limited(settings))

    def within(self, settings: LlmSettings) -> bool:
        """True unless a budget is exceeded."""
        return all(have <= limit for have, limit in self._limited(settings))

    def _limited(self, settings: LlmSettings) -> list[tuple[float, float]]:
        limits = (settings.budget_requests, settings.budget_tokens, settings.budget_money)
        return [(h, m) for h, m in zip((self.replies, self.tokens, self.money), limits, strict=True) if m is not None]


class Account:
    """The account of one pass over tasks, shared by all that ask at the same time.

    Args:
        settings: Budgets and prices.
        spent: What earlier passes used up.

    Attributes:
        spent: What was used up so far, kept replies included.
        prompt_tokens: Prompt tokens that the endpoint was paid for.
        completion_tokens: Reply tokens that it was paid for.
        retried: Requests sent again after a failure.
    """

    def __init__(self, settings: LlmSettings, spent: Spent) -> None:
        self._settings, self.spent = settings, spent
        self.prompt_tokens = self.completion_tokens = self.retried = 0
        self._under_way: list[Spent] = []
        self._dearest = Spent()
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    @property
    def over(self) -> bool:
        """True once a budget is used up."""
        return self.spent.over(self._settings)

    @asynccontextmanager
    async def room(self, prompt_tokens: int) -> AsyncIterator[Bill | None]:
        """Wait until the budget has room for a task beside those under way, first come first served.

        A task that is alone may begin as long as anything is left, so that the last one goes over by one reply at most.

        Args:
            prompt_tokens: What its request will take, roughly.

        Yields:
            Its bill; None if the budget is used up.
        """
        settings = self._settings
        first = self._most(prompt_tokens)
        most = first.plus(self._most(prompt_tokens + settings.max_tokens)) if settings.repair else first
        async with self._turn:
            while self._under_way and not self._with(most).within(settings):
                self._freed.clear()
                await self._freed.wait()
            begins = not self.over
            if begins:
                self._under_way.append(most)
        try:
            yield Bill(self) if begins else None
        finally:
            if begins:
                self._under_way.remove(most)
                self._freed.set()

    def add(self, cost: Spent) -> None:
        """Count a reply."""
        self.spent = self.spent.plus(cost)
        self._dearest = Spent(1, max(cost.tokens, self._dearest.tokens), max(cost.money, self._dearest.money))

    def _with(self, more: Spent) -> Spent:
        for promised in (*self._under_way, self.spent):
            more = more.plus(promised)
        return more

    def _most(self, prompt_tokens: int) -> Spent:
        """What a reply costs at most: by its limits, or as much as the dearest so far."""
        cost, dear = self.cost(prompt_tokens, self._settings.max_tokens), self._dearest
        return Spent(1, max(cost.tokens, dear.tokens), max(cost.money, dear.money))

    def cost(self, prompt_tokens: int, completion_tokens: int) -> Spent:
        """The cost of one reply."""
        return Spent(1, prompt_tokens + completion_tokens, self._settings.price(prompt_tokens, completion_tokens))


class Bill:
    """What one task used up.

    Attributes:
        spent: So far, kept replies included.
    """

    def __init__(self, account: Account) -> None:
        self._account, self.spent = account, Spent()

    @property
    def over(self) -> bool:
        """True once a budget is used up, by whatever task."""
        return self._account.over

    def kept(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a reply that was found on disk."""
        cost = self._account.cost(prompt_tokens, completion_tokens)
        self.spent = self.spent.plus(cost)
        self._account.add(cost)

    def paid(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count a reply that the endpoint sent, usable or not."""
        self._account.prompt_tokens += prompt_tokens
        self._account.completion_tokens += completion_tokens
        self.kept(prompt_tokens, completion_tokens)

    def retried(self) -> None:
        """Count a request that is sent again."""
        self._account.retried += 1
