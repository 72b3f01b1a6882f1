"""The policy asked by the serving engine: the same crops, the same budgets, the same token ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from unireason.core.errors import FormatError
from unireason.core.types import Box3D, Stack, Trace
from unireason.data.frames import structure_mask
from unireason.data.records import SampleRecord
from unireason.engine.case import EncodedCase, Regions, Request, known_case
from unireason.engine.local import LocalEngine
from unireason.engine.masks import masks_of
from unireason.engine.reasoner import Question, make_trace
from unireason.engine.sampling import Picker, Sampling, checked_sum, make_sampler
from unireason.engine.session import Budget, Session
from unireason.grounding import answer
from unireason.grounding.profile import Profile
from unireason.grounding.trace import Execution
from unireason.metrics.boxes import box_iou, mask_dice
from unireason.model.checkpoint import Checkpoint
from unireason.rewards.compose import Letter, RewardTexts, Truth
from unireason.rewards.spatial import Gold, Gold3D

from .cases import Cases, CaseSamples, Unreadable
from .config import MaskExpert
from .policy import Encoder, Pictures

Look = Callable[[Pictures], list[torch.Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class RolloutPrompt:
    """A question to be rolled out."""

    case: CaseSamples
    sample: SampleRecord
    pictures: Pictures
    stack: Stack | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rolled:
    """One response."""

    asked: RolloutPrompt
    session: Session
    trace: Trace
    seed: int = 0


class Roller:
    """Asks the policy."""

    def __init__(self, checkpoint: Checkpoint, encoder: Encoder, look: Look, *, rows: int, max_new_tokens: int = 0) -> None:
        self.checkpoint, self.encoder = checkpoint, encoder
        self._look, self._rows, self._most = look, rows, max_new_tokens

    def profile(self, asked: RolloutPrompt) -> Profile:
        """How a question is asked; never with text read anew, because what is learned are the ids that were sampled."""
        return replace(self.encoder.profile(asked.sample), reread=False)

    def budget(self, asked: RolloutPrompt) -> Budget:
        """Limits of a response."""
        profile = self.profile(asked)
        return Budget(
            max_looks=profile.max_looks,
            max_new_tokens=self._most or profile.max_new_tokens,
            max_round_tokens=max(profile.max_round_tokens(asked.case.kind), self._most),
            max_context=self.checkpoint.max_context,
        )

    def roll(self, questions: Sequence[RolloutPrompt], sampling: Sampling, seeds: Sequence[Sequence[int]]) -> list[list[Rolled]]:
        """Sample responses."""
        encoded: dict[str, EncodedCase] = {}
        requests = []
        for asked, own in zip(questions, seeds, strict=True):
            case = encoded.get(asked.case.id) or encoded.setdefault(asked.case.id, self._encode(asked))
            prompt = self.encoder.prompt(asked.sample, case.frame)
            profile = self.profile(asked)
            requests += [Request(case, prompt, self.budget(asked), seed, profile.crops, profile=profile) for seed in own]
        sessions = iter(self._sessions(requests, sampling))
        return [[self._rolled(asked, next(sessions), one) for one in own] for asked, own in zip(questions, seeds, strict=True)]

    def again(self, rolled: Sequence[Rolled], regions: Sequence[Regions]) -> list[Rolled]:
        """Repeat trajectories up to their first look, show another region there, and let the policy go on greedily."""
        encoded: dict[str, EncodedCase] = {}
        requests, opening = [], []
        for one, where in zip(rolled, regions, strict=True):
            name = one.asked.case.id
            case = encoded.get(name) or encoded.setdefault(name, self._encode(one.asked))
            profile = self.profile(one.asked)
            requests.append(Request(case, one.session.prompt, self.budget(one.asked), 0, profile.crops, where, profile))
            first = one.session.sampled.index(False)
            opening.append(one.session.response[:first])
        sessions = self._sessions(requests, Sampling(), opening)
        return [self._rolled(one.asked, session) for one, session in zip(rolled, sessions, strict=True)]

    def _sessions(self, requests: Sequence[Request], sampling: Sampling, openings: Sequence[Sequence[int]] = ()) -> list[Session]:
        """Responses, case after case: only one prompt's cache is in memory at a time, and none when the policy is updated."""
        by_case: dict[int, list[int]] = {}
        for place, request in enumerate(requests):
            by_case.setdefault(id(request.case), []).append(place)
        made: dict[int, Session] = {}
        for places in by_case.values():
            own = [openings[place] for place in places] if openings else [()] * len(places)

            def picker(row: int, how: Sampling, seed: int, forbidden: torch.Tensor, own: Sequence[Sequence[int]] = own) -> Picker:
                return OpenedCase(make_sampler(row, how, seed, forbidden), own[row])

            engine = LocalEngine(self.checkpoint, picker=picker, max_rows=self._rows)
            made |= zip(places, engine.generate([requests[place] for place in places], sampling), strict=True)
            case = requests[places[0]].case
            case.prefix = case.features = None
        return [made[place] for place in range(len(requests))]

    def _encode(self, asked: RolloutPrompt) -> EncodedCase:
        seen = self._look(asked.pictures)
        return known_case(self.checkpoint, asked.pictures, asked.case.kind, seen, stack=asked.stack)

    def _rolled(self, asked: RolloutPrompt, session: Session, seed: int = 0) -> Rolled:
        return rolled_of(self.encoder, asked, session, seed)


def rolled_of(encoder: Encoder, asked: RolloutPrompt, session: Session, seed: int = 0) -> Rolled:
    """A finished response with its trace."""
    question = Question(asked.sample.question.text, asked.sample.question.options)
    executions = [Execution(look.crops) for look in session.looks]
    asking = replace(encoder.checkpoint, profile=encoder.profile(asked.sample))
    return Rolled(asked, session, make_trace(asking, session, question, executions=executions), seed)


class OpenedCase:
    """Takes given tokens first and chooses only what follows."""

    def __init__(self, inner: Picker, opening: Sequence[int]) -> None:
        """Wrap a picker."""
        self._inner, self._left = inner, list(reversed(opening))

    def pick(self, logits: torch.Tensor) -> tuple[int, float]:
        """The next token and its log-probability."""
        if not self._left:
            return self._inner.pick(logits)
        token, scores = self._left.pop(), logits.float()
        return token, float(scores[token] - checked_sum(scores))


def seeds(seed: int, step: int, questions: Sequence[str], samples: int, draw: int = 0) -> list[list[int]]:
    """Seeds of the responses to all questions of a draw of a step, of which each process takes those of its own."""
    out, seen = [], Counter[str]()
    for question in questions:
        entropy = [seed, step, *question.encode(), *([_AGAIN + seen[question]] if seen[question] else [])]
        entropy += [_DRAWN + draw] if draw else []
        out.append([int(s) >> 2 for s in np.random.SeedSequence(entropy).generate_state(samples, np.uint64)])
        seen[question] += 1
    return out


_AGAIN, _DRAWN = 256, 1 << 20  # above every byte of a name, and every count of questions


# --- What a sample of a data set expects of a response.


def truth(sample: SampleRecord) -> Truth:
    """The truth of a sample."""
    if sample.task == "umrg":
        if sample.box is None or sample.points is None:
            raise FormatError(f"sample {sample.id} has no box and points", "both, for implicit grounding")
        return Gold3D(sample.box, sample.points) if isinstance(sample.box, Box3D) else Gold(sample.box, sample.points)
    question = sample.question
    if question.options:
        return Letter(question.letter)
    first, *more = question.gold or ((question.right,),)
    return RewardTexts(first, question.tolerance, tuple(more))


def looks(sample: SampleRecord) -> bool:
    """True if the reasoning of a sample looks at something: only then is a response asked to look too."""
    return any(not isinstance(part, str) for part in sample.reasoning)


def answer_iou(trace: Trace, sample: SampleRecord) -> float | None:
    """IoU of the box of an implicit answer with the true one, 0 without a usable box; None for other questions."""
    if sample.task != "umrg" or sample.box is None:
        return None
    box = answer.read(trace.raw_text, dims=2 if sample.kind == "image" else 3, way="strict").box
    return 0.0 if box is None else box_iou(box, sample.box)


def gold(sample: SampleRecord) -> str:
    """The truth in words, for people."""
    if sample.task == "umrg":
        return f"{sample.category} {list(sample.box.coords) if sample.box else ''}".strip()
    question = sample.question
    return f"{question.letter}. {question.right}" if question.options else question.right


# --- A frozen segmentation expert in the loop: what the mask is worth that it makes of a response's box and points.


class Outliner:
    """Outlines the answers of implicit questions. The expert never learns; what it makes of a case once serves all responses to it."""

    def __init__(self, cases: Cases, settings: MaskExpert) -> None:
        """Prepare the expert."""
        from unireason.segment.expert import make_expert

        self._cases = cases
        self._expert = make_expert(settings.expert, weights=settings.weights or None)

    def dice(self, rolled: Sequence[Rolled]) -> list[float]:
        """Dice of the mask of each response to one implicit question with the true mask, 0 where there is no usable box."""
        if not rolled:
            return []
        asked = rolled[0].asked
        loaded = self._cases.loaded(asked.case)
        true = structure_mask(loaded, asked.sample.target)
        if not true.any():
            raise Unreadable(asked.case.id, "the mask of what is asked about is empty")
        marked = [masks_of(one.trace, loaded.case, self._expert) for one in rolled]
        answers = [next((m.segmentation.mask for m in found if m.look == 0), None) for found in marked]
        return [0.0 if mask is None else mask_dice(mask, true) for mask in answers]
