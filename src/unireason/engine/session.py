"""One sample's state machine: given sampled token ids it says go on, look (inject these ids with these crops), or finished.

It owns the trajectory and decides with token ids; the only text it reads is the span of a box. It knows nothing of torch,
networks, batches or caches, so that every back end and every training loop can drive it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Box, Crop, Frame, Problem, Tokens
from unireason.grounding import crop, grammar
from unireason.model.checkpoint import SpecialIds
from unireason.model.tokens import picture_ids

Finish = Literal["end_of_turn", "invalid_box", "token_budget", "round_budget", "context"]


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one response; none of them can leave a picture half injected.

    Attributes:
        max_looks: Looks at most; 0 allows none.
        max_new_tokens: Sampled tokens at most, over all rounds.
        max_round_tokens: Sampled tokens at most between two looks.
        max_context: Prompt and response ids at most, injected ones included.
    """

    max_looks: int = 10
    max_new_tokens: int = 512
    max_round_tokens: int = 256
    max_context: int = 32768

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("max_looks", "max_new_tokens", "max_round_tokens", "max_context"):
            value, least = getattr(self, name), 0 if name == "max_looks" else 1
            if type(value) is not int or value < least:
                raise FormatError(f"{name} is {value!r}", f"a whole number of at least {least}")


@dataclass(frozen=True, slots=True)
class SessionScene:
    """What a session needs to know of a case.

    Attributes:
        frame: The model frame in which boxes are written.
        cut: Cuts the regions of a plan; every crop has its pixels and its ``grid_thw``. FormatError if one cannot be fed. No crop at
            all means that this look is shown nothing: its box stands, and sampling goes on behind it.
        decode: Text of token ids, special tokens kept.
        merge: Patches a side of one visual token.
    """

    frame: Frame
    cut: Callable[[crop.Plan], tuple[Crop, ...]]
    decode: Callable[[Sequence[int]], str]
    merge: int = 2
    released: bool = False
    """Whether boxes are read and executed as the published code does it (``grammar.parse``, ``crop.plan``)."""
    reread: Callable[[Sequence[int]], list[int]] | None = None
    """Ids of a round's text read anew, which then stand in place of those sampled when a look follows, as in the published code."""
    rollout: bool = False
    """Whether looks follow the published roll-outs of training, for comparisons: rectangles alone, brackets that match, the last look
    shown although nothing follows, and a look that just fits is taken."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """Sample the next token."""


@dataclass(frozen=True, slots=True)
class Inject:
    """Feed these ids (whole pictures: start, pads, end for each crop) behind the token just sampled, then sample on.

    Where ``anew`` is true the ids of this round are others than were sampled: the response is to be fed from its start.
    """

    token_ids: tuple[int, ...]
    crops: tuple[Crop, ...]
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The response is complete, and why."""

    reason: Finish


Decision = GoOn | Inject | Finished


@dataclass(frozen=True, slots=True)
class SessionLook:
    """One executed look: its box as written, and what was injected, in slice order."""

    box: Box
    crops: tuple[Crop, ...]


class Session:
    """The state of one response.

    Attributes:
        prompt: Prompt ids.
        response: Response ids so far, injected ones included.
        sampled: One flag a response id.
        logprobs: One natural log-probability a response id, 0.0 where injected or read anew.
        looks: Executed looks in order.
        replaced: Rounds whose text was read anew to other ids: where they begin in the response, the ids sampled, the ids that stand there.
        problems: What was wrong, in order.
        finish: Why it ended; None while it goes on.
    """

    def __init__(self, prompt: Sequence[int], scene: SessionScene, *, ids: SpecialIds, budget: Budget) -> None:
        """Start a response to prompt ids, pads expanded; ModelError if there are none or they leave no room for one token."""
        if not prompt:
            raise ModelError("the prompt is empty", "at least one token")
        if len(prompt) >= budget.max_context:
            raise ModelError(
                f"the prompt has {len(prompt)} tokens", f"fewer than the context of {budget.max_context}", "use fewer slices"
            )
        self.prompt = tuple(prompt)
        self.response: list[int] = []
        self.sampled: list[bool] = []
        self.logprobs: list[float] = []
        self.looks: list[SessionLook] = []
        self.replaced: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []
        self.problems: list[Problem] = []
        self.finish: Finish | None = None
        self._scene, self._ids, self._budget = scene, ids, budget
        self._forbidden = frozenset(ids.forbidden)
        self._round_start = 0
        self._new = 0
        self._rounds = 0

    @property
    def frame(self) -> Frame:
        """The model frame of the case."""
        return self._scene.frame

    @property
    def crops(self) -> tuple[Crop, ...]:
        """All injected regions in the order of their pictures in the response."""
        return tuple(c for look in self.looks for c in look.crops)

    @property
    def allowance(self) -> int:
        """Tokens that may be sampled from here on, as long as no look comes between."""
        most, in_round = (
            self._budget.max_new_tokens - self._new,
            self._budget.max_round_tokens - (len(self.response) - self._round_start),
        )
        return min(most, in_round, self._room())

    def tokens(self) -> Tokens:
        """The trajectory as a frozen value."""
        return Tokens(self.prompt, tuple(self.response), tuple(self.sampled), tuple(self.logprobs))

    def feed(self, token: int, logprob: float = 0.0) -> Decision:
        """Take one sampled token with its natural log-probability; after ``Inject`` its ids already belong to the response.

        A token after the end, or one that only the engine may write, is a ModelError.
        """
        if self.finish is not None:
            raise ModelError(f"a token came after the response had ended ({self.finish})", "none")
        if token in self._forbidden:
            raise ModelError(f"the picture or turn token {token} was sampled", "other ids", "forbid it in the sampler")
        self._append([token], sampled=True, logprob=logprob)
        self._new += 1
        if token in self._ids.stop:
            return self._end("end_of_turn")
        if token == self._ids.box_end:
            return self._look()
        if self._new >= self._budget.max_new_tokens or len(self.response) - self._round_start >= self._budget.max_round_tokens:
            return self._end("token_budget", Problem("token_budget"))
        if self._room() < 1:
            return self._end("context", Problem("context"))
        return GoOn()

    def _look(self) -> Decision:
        """A box was just closed: execute it or end."""
        released = self._scene.released
        text = self._scene.decode(self.response[self._round_start :] if released else self._span())
        found = self._released_box(text) if released else grammar.last_box(text)
        if found is None:
            problems = grammar.parse(text).problems or (Problem("stray_box_end", text),)
            return self._end("invalid_box", *(Problem(p.code, p.text) for p in problems))
        try:
            plan = crop.plan(found.box, self._scene.frame, released=released)
        except FormatError as error:  # a number that is none, which only the published reading lets through
            return self._end("invalid_box", Problem("not_a_number", str(error)))
        if isinstance(plan, Problem):
            return self._end("invalid_box", plan)
        if self._rounds >= self._budget.max_looks and not self._scene.rollout:
            return self._end("round_budget", Problem("round_budget", found.text))
        if self._new >= self._budget.max_new_tokens:
            return self._end("token_budget", Problem("token_budget", found.text))
        try:
            crops = self._scene.cut(plan)
        except FormatError as error:
            return self._end("invalid_box", Problem("uncut_region", str(error)))
        return self._inject(found, crops)

    def _inject(self, found: grammar.FoundBox, crops: tuple[Crop, ...]) -> Decision:
        """All pictures of a look or none: the response must still have room for one token behind them."""
        ids: list[int] = []
        for region in crops:
            if region.grid_thw is None:
                raise ModelError("a crop came without its grid", "grid_thw in patches")
            ids.extend(picture_ids(self._ids, region.grid_thw, merge=self._scene.merge))
        if len(ids) >= self._room() + self._scene.rollout:
            return self._end("context", Problem("context", found.text))
        anew = self._reread()
        self._append(ids, sampled=False)
        self._round_start = len(self.response)
        self._rounds += 1
        if crops:
            self.looks.append(SessionLook(found.box, crops))
        if self._scene.rollout and (self._room() < 1 or self._rounds >= self._budget.max_looks):
            code: Finish = "context" if self._room() < 1 else "round_budget"
            return self._end(code, Problem(code, found.text))
        # A box without crops was not executed, but it used up its round.
        return Inject(tuple(ids), crops, anew) if crops else GoOn()

    def _released_box(self, text: str) -> grammar.FoundBox | None:
        boxes = grammar.parse(text, released=True).boxes
        if self._scene.rollout:
            boxes = tuple(one for one in boxes if len(one.box.coords) == 4 and ("[" in one.text) == ("]" in one.text))
        return boxes[-1] if boxes else None

    def _reread(self) -> bool:
        """Put the ids of the round's text in place of those sampled; True if they differ. Picture and turn ids are never made that way."""
        start = self._round_start
        sampled = self.response[start:]
        ids = self._scene.reread(sampled) if self._scene.reread else sampled
        if ids == sampled or self._forbidden & set(ids):
            return False
        self.replaced.append((start, tuple(sampled), tuple(ids)))
        for column in (self.response, self.sampled, self.logprobs):
            del column[start:]
        self._append(ids, sampled=True)
        return True

    def _span(self) -> list[int]:
        """The ids of the box that was just closed, tags included; only its end if it was never opened in this round."""
        for index in range(len(self.response) - 1, self._round_start - 1, -1):
            if self.response[index] == self._ids.box_start:
                return self.response[index:]
        return self.response[-1:]

    def _room(self) -> int:
        return self._budget.max_context - len(self.prompt) - len(self.response)

    def _append(self, ids: Sequence[int], *, sampled: bool, logprob: float = 0.0) -> None:
        self.response.extend(ids)
        self.sampled.extend([sampled] * len(ids))
        self.logprobs.extend([logprob] * len(ids))

    def _end(self, reason: Finish, *problems: Problem) -> Finished:
        self.finish = reason
        self.problems.extend(problems)
        return Finished(reason)
