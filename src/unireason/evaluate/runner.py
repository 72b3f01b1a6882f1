"""The one road of asking: cases wait until there are enough, are asked together, and what cannot be asked is given up and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from unireason.core.errors import UniReasonError
from unireason.core.types import Case
from unireason.engine.case import EncodedCase
from unireason.engine.reasoner import Reasoner
from unireason.evaluate.suites.base import Entry

TOGETHER = 40
"""Responses that are generated together, or as many as the questions on one case need."""
PATCHES, BYTES = 131_072, 1 << 30
"""Of cases that wait: patches that the network sees, what it keeps of them grows with these; and pixels in memory."""

T = TypeVar("T")


def asked_at_once(model: Reasoner) -> int:
    """Responses that a model is asked for at once; of an engine elsewhere several fillings, so that it seldom runs empty."""
    return max(TOGETHER, 4 * getattr(getattr(model, "engine", None), "in_flight", 0))


class Unread:
    """Questions that an evaluation has given up."""

    def __init__(self, total: int, share: float, known: Mapping[str, str] | None = None) -> None:
        """Take the number of all questions, the share of them that may be lost, and those given up before."""
        self._total, self._share = total, share
        self.problems: dict[str, str] = dict(known or {})

    def give_up(self, entries: Sequence[Entry], error: UniReasonError) -> None:
        """Give up questions."""
        for entry in entries:
            self.problems.setdefault(entry.id, str(error))
        if len(self.problems) > self._share * self._total:
            raise UniReasonError(
                f"{len(self.problems)} of {self._total} questions cannot be asked; of {entries[0].case!r}: {error}",
                f"at most {self._share:.1%}",
                "repair the files and start again, or allow a larger share (--skip); what was answered is kept",
            ) from error

    def kept(self, entries: Sequence[Entry]) -> list[Entry]:
        """Questions that were not given up."""
        return [entry for entry in entries if entry.id not in self.problems]

    def told(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """How many were given up (``n``), and why by question (``questions``), in the order of all questions, as plain JSON values."""
        return {"n": len(self.problems), "questions": {e.id: self.problems[e.id] for e in entries if e.id in self.problems}}


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One question, asked in one way; ``hook`` makes what answers its looks, where the boxes do not."""

    entry: Entry
    way: str = ""
    hook: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """Pictures that wait to be asked about; ``name`` is the case whose pictures they are."""

    name: str
    case: Case
    encoded: EncodedCase
    jobs: Sequence[Job]


class Runner(Generic[T]):
    """Asks what waits. Several cases go through the network together, and not more than fit into memory."""

    def __init__(
        self,
        ask: Callable[[Sequence[Waiting]], Sequence[Sequence[T]]],
        unread: Unread,
        *,
        samples: int = 1,
        together: int = TOGETHER,
    ) -> None:
        """Take what answers every job of every case, what counts the lost ones, responses a job, and responses to be asked at once."""
        self._ask, self._unread, self._samples, self._together = ask, unread, samples, together
        self.waiting: list[Waiting] = []

    @property
    def is_full(self) -> bool:
        """Whether what waits is to be asked now."""
        responses = self._samples * sum(len(own.jobs) for own in self.waiting)
        patches = sum(t * h * w for own in self.waiting for t, h, w in own.encoded.prepared.grid_thw)
        pixels = sum(own.case.pixels.nbytes + own.encoded.stack.native.nbytes for own in self.waiting)
        return responses >= self._together or patches >= PATCHES or pixels >= BYTES

    def answers(self) -> Iterator[tuple[Waiting, Job, T]]:
        """Ask all that waits; where a job does not fit the model, all are asked by themselves, and its question is given up."""
        waiting, self.waiting = self.waiting, []
        return self._answers(waiting)

    def _answers(self, waiting: Sequence[Waiting]) -> Iterator[tuple[Waiting, Job, T]]:
        jobs = [(own, job) for own in waiting for job in own.jobs]
        if not jobs:
            return
        try:
            found = self._ask(waiting)
        except UniReasonError as error:
            if len(jobs) == 1:
                self._unread.give_up([jobs[0][1].entry], error)
                return
        else:
            flat = (one for own in found for one in own)
            yield from ((own, job, one) for (own, job), one in zip(jobs, flat, strict=True))
            return
        for own, job in jobs:
            yield from self._answers([Waiting(own.name, own.case, own.encoded, [job])])
