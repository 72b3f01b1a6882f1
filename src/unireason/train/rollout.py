"""The policy asked by the serving engine: the same crops, the same budgets, the same token ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from unireason.data.records import SampleRecord
from unireason.engine.case import EncodedCase, Regions, Request, known_case
from unireason.engine.local import LocalEngine
from unireason.engine.reasoner import Question, make_trace
from unireason.engine.sampling import Picker, Sampling, checked_sum, make_sampler
from unireason.engine.session import Budget, Session
from unireason.grounding.steps import Execution
from unireason.model.checkpoint import Checkpoint
from unireason.types import Stack, Trace

from .feed.cases import CaseSamples
from .network.encode import Encoder, Pictures

Look = Callable[[Pictures], list[torch.Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question to be rolled out.

    Attributes:
        case: Its case.
        sample: The question with its truth.
        pictures: Pictures of the case, uint8 (H, W) or (H, W, 3).
        stack: The case as serialised, where the profile shows native crops; else None.
    """

    case: CaseSamples
    sample: SampleRecord
    pictures: Pictures
    stack: Stack | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rolled:
    """One response.

    Attributes:
        asked: The question.
        session: The finished trajectory.
        trace: The same as steps.
        seed: What its tokens were drawn with; no other response of a step has it.
    """

    asked: Asked
    session: Session
    trace: Trace
    seed: int = 0


class Roller:
    """Asks the policy.

    Args:
        checkpoint: The policy's weights, used in place.
        encoder: Writes prompts.
        look: Visual features of pictures.
        rows: Responses generated together at most.
        max_new_tokens: Sampled tokens at most a response; 0 takes the profile's.
    """

    def __init__(self, checkpoint: Checkpoint, encoder: Encoder, look: Look, *, rows: int, max_new_tokens: int = 0) -> None:
        self.checkpoint, self.encoder = checkpoint, encoder
        self._look, self._rows, self._most = look, rows, max_new_tokens

    def budget(self, asked: Asked) -> Budget:
        """Limits of a response."""
        profile = self.encoder.profile(asked.sample)
        return Budget(
            max_looks=profile.max_rounds,
            max_new_tokens=self._most or profile.max_new_tokens,
            max_round_tokens=max(profile.max_round_tokens(asked.case.kind), self._most),
            max_context=self.checkpoint.max_context,
        )

    def roll(self, questions: Sequence[Asked], sampling: Sampling, seeds: Sequence[Sequence[int]]) -> list[list[Rolled]]:
        """Sample responses.

        Args:
            questions: Questions; those on one case share its prefix.
            sampling: How tokens are chosen.
            seeds: For every question the seed of each of its responses.

        Returns:
            For every question its responses.
        """
        encoded: dict[str, EncodedCase] = {}
        requests = []
        for asked, own in zip(questions, seeds, strict=True):
            case = encoded.get(asked.case.id) or encoded.setdefault(asked.case.id, self._encode(asked))
            prompt = self.encoder.prompt(asked.sample, case.frame)
            crops = self.encoder.profile(asked.sample).crops
            requests += [Request(case, prompt, self.budget(asked), seed, crops) for seed in own]
        sessions = iter(self._sessions(requests, sampling))
        return [[self._rolled(asked, next(sessions), one) for one in own] for asked, own in zip(questions, seeds, strict=True)]

    def again(self, rolled: Sequence[Rolled], regions: Sequence[Regions]) -> list[Rolled]:
        """Repeat trajectories up to their first look, show another region there, and let the policy go on greedily.

        Args:
            rolled: Responses with at least one executed look.
            regions: For each, where to cut in place of what its boxes say.
        """
        encoded: dict[str, EncodedCase] = {}
        requests, opening = [], []
        for one, where in zip(rolled, regions, strict=True):
            name = one.asked.case.id
            case = encoded.get(name) or encoded.setdefault(name, self._encode(one.asked))
            crops = self.encoder.profile(one.asked.sample).crops
            requests.append(Request(case, one.session.prompt, self.budget(one.asked), 0, crops, where))
            first = one.session.sampled.index(False)
            opening.append(one.session.response[:first])
        sessions = self._sessions(requests, Sampling(), opening)
        return [self._rolled(one.asked, session) for one, session in zip(rolled, sessions, strict=True)]

    def _sessions(self, requests: Sequence[Request], sampling: Sampling, openings: Sequence[Sequence[int]] = ()) -> list[Session]:
        """Responses, case after case: only one prompt's cache is in memory at a time, and none when the policy is updated.

        A finished session still holds its case, and the cache of a long prompt is larger than all that is said about it.
        """
        by_case: dict[int, list[int]] = {}
        for place, request in enumerate(requests):
            by_case.setdefault(id(request.case), []).append(place)
        made: dict[int, Session] = {}
        for places in by_case.values():
            own = [openings[place] for place in places] if openings else [()] * len(places)

            def picker(row: int, how: Sampling, seed: int, forbidden: torch.Tensor, own: Sequence[Sequence[int]] = own) -> Picker:
                return Opened(make_sampler(row, how, seed, forbidden), own[row])

            engine = LocalEngine(self.checkpoint, picker=picker, max_rows=self._rows)
            made |= zip(places, engine.generate([requests[place] for place in places], sampling), strict=True)
            case = requests[places[0]].case
            case.prefix = case.features = None
        return [made[place] for place in range(len(requests))]

    def _encode(self, asked: Asked) -> EncodedCase:
        seen = self._look(asked.pictures)
        return known_case(self.checkpoint, asked.pictures, asked.case.kind, seen, stack=asked.stack)

    def _rolled(self, asked: Asked, session: Session, seed: int = 0) -> Rolled:
        question = Question(asked.sample.question.text, asked.sample.question.options)
        executions = [Execution(look.crops) for look in session.looks]
        asking = replace(self.checkpoint, profile=self.encoder.profile(asked.sample))
        return Rolled(asked, session, make_trace(asking, session, question, executions=executions), seed)


class Opened:
    """Takes given tokens first and chooses only what follows."""

    def __init__(self, inner: Picker, opening: Sequence[int]) -> None:
        """Wrap a picker.

        Args:
            inner: Chooses behind the opening.
            opening: Sampled tokens to repeat.
        """
        self._inner, self._left = inner, list(reversed(opening))

    def pick(self, logits: torch.Tensor) -> tuple[int, float]:
        """The next token and its log-probability."""
        if not self._left:
            return self._inner.pick(logits)
        token, scores = self._left.pop(), logits.float()
        return token, float(scores[token] - checked_sum(scores))


def seeds(seed: int, step: int, questions: Sequence[str], samples: int) -> list[list[int]]:
    """Seeds of the responses to all questions of a step, of which each process takes those of its own.

    They follow from the run's seed, the step, the question and the place in the group. A question that a step holds again has others each
    time: a group must not repeat another.
    """
    out, seen = [], Counter[str]()
    for question in questions:
        entropy = [seed, step, *question.encode(), *([_AGAIN + seen[question]] if seen[question] else [])]
        out.append([int(s) >> 2 for s in np.random.SeedSequence(entropy).generate_state(samples, np.uint64)])
        seen[question] += 1
    return out


_AGAIN = 256  # above every byte of a name
