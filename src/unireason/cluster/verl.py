"""GRPO on many machines by verl: what it is registered with.

verl owns processes, weights and updates; the questions, the looks inside a response and what it earns are ours. It asks
``GroundedLoop`` for one response at a time and gives it a server of tokens; the same session as everywhere drives that, and token ids,
mask, log-probabilities and pictures go back as they were sampled, nothing tokenised again. Rows of ``VerlQuestions`` name a case and a
sample; every worker reads and keeps pictures itself.

Imports verl; imported by its workers alone, and by the tests of ``make verl``. Source: HybridFlow, arXiv 2409.19256; verl 0.9.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from unireason.core.config import KIND, build
from unireason.core.errors import ModelError
from unireason.core.store import json_text
from unireason.engine.case import Request, known_case, start_session
from unireason.engine.sampling import Sampling
from unireason.engine.served import Call, Responder, Shown
from unireason.engine.session import Session
from unireason.grounding.profile import load_profile
from unireason.model.checkpoint import load
from unireason.rewards.compose import Scores, Weights, score, with_mask
from unireason.train.cases import CaseSamples
from unireason.train.config import Grpo
from unireason.train.context import as_asked, disk_cache, open_cases
from unireason.train.policy import Encoder
from unireason.train.rollout import Outliner, Rolled, Roller, RolloutPrompt, gold, looks, rolled_of, truth

NAME = "unireason"
"""Name of the agent loop, and of our table in verl's data section."""


class Desk:
    """What a worker needs to ask and to score: the run's settings, its data, the checkpoint without weights."""

    def __init__(self, settings: Grpo, out: Path) -> None:
        """Open everything; no picture is read yet."""
        self.settings = settings
        model = settings.model
        profile = load_profile(model.profile) if model.profile else None
        self.checkpoint = as_asked(load(model.init_from, profile=profile, weights=False), model)
        self.encoder = Encoder.of(self.checkpoint)
        self.cases = open_cases(settings, disk_cache(settings, out))
        self.weights = Weights(**asdict(settings.reward))
        self.outliner = Outliner(self.cases, settings.mask_expert) if settings.reward.mask else None
        self._roller = Roller(
            self.checkpoint, self.encoder, lambda pictures: [], rows=1, max_new_tokens=settings.rollout.max_new_tokens
        )
        self._known: dict[str, dict[str, CaseSamples]] = {}
        self._lock = threading.Lock()  # responses are read and scored in threads, and files are read by one at a time

    def split(self, name: str) -> dict[str, CaseSamples]:
        """The cases of a split by name."""
        if name not in self._known:
            self._known[name] = {case.id: case for case in self.cases.cases(name)}
        return self._known[name]

    def prompt(self, split: str, case: str, sample: str) -> RolloutPrompt:
        """A question with its pictures."""
        with self._lock:
            own = self.split(split)[case]
            stack = self.cases.stack(own) if self.checkpoint.profile.crops in ("native", "published") else None
            return RolloutPrompt(own, next(s for s in own.samples if s.id == sample), self.cases.pictures(own), stack)

    def request(self, asked: RolloutPrompt, room: int) -> Request:
        """The request of a question, of whose response at most ``room`` ids fit, injected ones included."""
        case = known_case(self.checkpoint, asked.pictures, asked.case.kind, [], stack=asked.stack)
        ids = self.encoder.prompt(asked.sample, case.frame)
        budget = self._roller.budget(asked)
        budget = replace(budget, max_context=min(budget.max_context, len(ids) + room))
        profile = self._roller.profile(asked)
        return Request(case, ids, budget, 0, profile.crops, profile=profile)

    def scores(self, rolled: Rolled) -> Scores:
        """What a response earns."""
        sample = rolled.asked.sample
        found = score(rolled.trace, truth(sample), self.weights, grounded=looks(sample))
        if self.outliner and sample.target:
            with self._lock:
                (dice,) = self.outliner.dice([rolled])
            found = with_mask(found, dice, self.weights)
        return found


@lru_cache(maxsize=2)
def _desk(settings: str, out: str) -> Desk:
    table = json.loads(settings)
    return Desk(build(Grpo, {key: value for key, value in table.items() if key != KIND}), Path(out))


def desk_of(data: Mapping[str, Any]) -> Desk:
    """The desk of verl's data section; one a process."""
    own = data[NAME]
    return _desk(str(own["settings"]), str(own["out"]))


class VerlQuestions(torch.utils.data.Dataset[dict[str, Any]]):
    """The questions of one split, for ``data.custom_cls``; ``data_files`` is the name of the split in place of files.

    A row is small: names of case and sample, no pixels. ``index`` is its number.
    """

    def __init__(self, data_files: Any, tokenizer: Any, config: Any, processor: Any = None, max_samples: int = -1) -> None:
        """Read which questions there are."""
        del tokenizer, processor
        names = [data_files] if isinstance(data_files, str) else list(data_files)
        self._rows = [
            (name, case.id, sample) for name in names for case in desk_of(config).split(name).values() for sample in case.samples
        ]
        if max_samples > 0:
            self._rows = self._rows[:max_samples]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The row of a question."""
        split, case, sample = self._rows[index]
        return {
            "raw_prompt": [{"role": "user", "content": sample.question.text}],
            "dummy_tensor": torch.tensor([0], dtype=torch.uint8),
            "index": index,
            "agent_name": NAME,
            "data_source": f"{NAME}/{sample.task}",
            "reward_model": {"style": "rule", "ground_truth": gold(sample)},
            "extra_info": {"index": index, "split": split, "case": case, "sample": sample.id},
            "tools_kwargs": {},
        }


class ManagedServers:
    """verl's servers as a ``TokenEngine`` for one response."""

    place, in_flight = "verl", 1

    def __init__(self, manager: Any, request_id: str, sampling: Mapping[str, Any]) -> None:
        """Take verl's client, the name by which turns of one response reach one server, and verl's sampling parameters."""
        self._manager, self._request_id, self._sampling = manager, request_id, sampling
        self.calls = 0

    async def begin(self) -> int:
        """Nothing to do."""
        return 1 << 31

    async def end(self) -> None:
        """Nothing to do."""

    async def tokens(self, call: Call) -> AsyncIterator[tuple[int, float]]:
        """See ``TokenEngine``. Log-probabilities are 0 where verl asks for none (``calculate_log_probs``)."""
        self.calls += 1
        how = call.sampling.keys() & {"stop_token_ids", "logit_bias", "max_tokens", "skip_special_tokens", "ignore_eos"}
        found = await self._manager.generate(
            self._request_id,
            prompt_ids=call.ids,
            image_data=[image_of(picture) for picture in call.pictures],
            sampling_params={**self._sampling, **{key: call.sampling[key] for key in how}},
        )
        logprobs = found.log_probs or [0.0] * len(found.token_ids)
        for token, logprob in zip(found.token_ids, logprobs, strict=True):
            yield int(token), float(logprob)


def image_of(picture: Shown) -> Image.Image:
    """A picture as verl's processor takes it: already of the size at which the network sees it."""
    return Image.fromarray(picture.pixels)


class GroundedLoop(AgentLoopBase):  # type: ignore[misc]  # verl has no types
    """One response with its looks, for ``rollout.agent.agent_loop_config_path``."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Ask one question of ``VerlQuestions`` once, and score it.

        ModelError for a prompt that does not fit ``rollout.prompt_length``: cut off, its pictures would no longer be those that are fed.
        """
        desk, asked = await asyncio.to_thread(self._asked, row["extra_info"])
        length, room = self.rollout_config.prompt_length, self.rollout_config.response_length
        request = desk.request(asked, room)
        if len(request.prompt) > length:
            raise ModelError(
                f"the prompt of {asked.sample.id} has {len(request.prompt)} tokens",
                f"at most the {length} of data.max_prompt_length",
                "raise it, or take fewer slices",
            )
        session = start_session(desk.checkpoint, request)
        servers = ManagedServers(self.server_manager, f"{asked.case.id}", sampling_params)
        begun = time.perf_counter()
        await Responder(desk.checkpoint, servers, request.budget.max_context).respond(request, session, Sampling())
        generated = time.perf_counter()
        rolled = rolled_of(desk.encoder, asked, session)
        scores = await asyncio.to_thread(desk.scores, rolled)
        metrics = AgentLoopMetrics(generate_sequences=generated - begun, compute_score=time.perf_counter() - generated)
        shown = [Shown.of(desk.checkpoint, p) for p in (*asked.pictures, *(crop.pixels for crop in session.crops))]
        return AgentLoopOutput(
            prompt_ids=list(session.prompt),
            response_ids=list(session.response),
            response_mask=[int(flag) for flag in session.sampled],
            response_logprobs=list(session.logprobs) if sampling_params.get("logprobs") else None,
            multi_modal_data={"images": [image_of(picture) for picture in shown]},
            reward_score=scores.reward,
            num_turns=servers.calls + 1,
            metrics=metrics,
            extra_fields={"reward_extra_info": told_of(session, scores), "looks": looks_of(session)},
        )

    def _asked(self, place: Mapping[str, Any]) -> tuple[Desk, RolloutPrompt]:
        desk = desk_of(self.data_config)
        return desk, desk.prompt(place["split"], place["case"], place["sample"])


TERMS = ("answer", "format", "spatial", "mask", "looks", "length")


def told_of(session: Session, scores: Scores) -> dict[str, float]:
    """What verl logs of a response, the same keys for every one."""
    found = scores.measures
    return {
        "score": scores.reward,
        **{f"reward_{term}": scores.terms.get(term, 0.0) for term in TERMS},
        "right": float(scores.right),
        "looks_taken": float(len(session.looks)),
        "crops": float(found.crops),
        "invalid_boxes": float(found.invalid_boxes),
        "truncated": float(session.finish in ("token_budget", "round_budget", "context")),
    }


def looks_of(session: Session) -> str:
    """The executed looks of a response as JSON: box as written, and of every crop its slice and rectangle in the model frame."""
    return json_text(
        [
            {"box": list(look.box.coords), "crops": [[crop.slice_index, list(crop.box_model)] for crop in look.crops]}
            for look in session.looks
        ]
    )


__all__: Sequence[str] = ("GroundedLoop", "VerlQuestions")
