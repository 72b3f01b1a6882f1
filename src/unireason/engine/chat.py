"""Other models asked in our words: an OpenAI-compatible chat endpoint gets the same pictures and questions, and its texts become traces.

Such a model cannot be shown what it looks at: a box that it writes stays a box. There are no token ids and no log-probabilities.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from unireason.core.errors import ModelError
from unireason.core.types import Case, Trace
from unireason.grounding import trace as traces
from unireason.grounding.profile import Picture, Profile, letters_of, scale_line
from unireason.metrics.answers import answer_choice
from unireason.model import checkpoint as checkpoints
from unireason.model.files import make_processor

from .case import EncodedCase, prepare_case
from .local import OnToken
from .reasoner import AskOptions, Question, Reasoner
from .sampling import Sampling
from .served import Shown

KEY = "OPENAI_API_KEY"
"""Variable with the endpoint's key; none is sent where it is empty."""

CONCURRENCY, RETRIES, TIMEOUT = 8, 5, 300.0
"""Requests under way at once, how often one is sent again after a failure that may pass, seconds for one."""

_READ = (
    "You are an expert reader of {what}. Think first, inside <think> and </think>. Behind </think> give the final answer; for a "
    "question with options give the letter and the text of the right one."
)
PROFILE = Profile(
    name="chat",
    system_2d=_READ.format(what="medical 2D images"),
    system_3d=_READ.format(what="medical 3D scans, given as slices in order"),
    closing_choice_3d="Answer with one letter out of {letters}.",
    max_rounds=0,
    max_new_tokens=2048,
    scale=True,
)
"""The words where no other profile is named."""


class ChatEngine:
    """A chat endpoint that sees pictures."""

    def __init__(self, url: str, model: str) -> None:
        """Take an address such as https://api.openai.com/v1 and the name of a model there."""
        if not url.startswith(("http://", "https://")):
            raise ModelError(f"the address of the endpoint is {url!r}", "one such as http://127.0.0.1:8000/v1", "give --base-url")
        self._url, self._model = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions", model
        self._key = os.environ.get(KEY, "")
        self._pool = ThreadPoolExecutor(CONCURRENCY)
        self._stop = threading.Event()
        self.in_flight, self.place = CONCURRENCY, f"{model} at {url}"

    def complete(self, asked: Sequence[list[dict[str, Any]]], settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """(text, why it ended) of every list of messages; ModelError if one cannot be had, and then no further one is sent."""
        self._stop.clear()
        jobs = [self._pool.submit(self._one, messages, how) for messages, how in zip(asked, settings, strict=True)]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            self._stop.set()
            for job in jobs:
                job.cancel()
            raise

    def _one(self, messages: list[dict[str, Any]], how: Mapping[str, Any]) -> tuple[str, str]:
        import httpx2

        body = {"model": self._model, "messages": messages, **how}
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        said = ""
        for attempt in range(RETRIES + 1):
            if attempt and self._stop.wait(min(60.0, 2.0**attempt * random.uniform(0.5, 1.0))):
                break
            try:
                answer = httpx2.post(self._url, json=body, headers=headers, timeout=TIMEOUT)
            except httpx2.RequestError as error:
                said = type(error).__name__
                continue
            said = f"status {answer.status_code}: {self._blotted(answer.text)[:200]}"
            if answer.status_code in (408, 409, 425, 429) or answer.status_code >= 500:
                continue
            if answer.status_code in (401, 403):
                raise ModelError(f"the endpoint refuses the key ({said})", "a valid key", f"put it into the variable {KEY}")
            if answer.status_code != 200:
                raise ModelError(
                    f"the endpoint refuses the request ({said})", "a chat model that takes pictures", "check name and address"
                )
            try:
                choice = answer.json()["choices"][0]
                return str(choice["message"]["content"] or ""), str(choice.get("finish_reason") or "")
            except (ValueError, KeyError, IndexError, TypeError):
                said = f"no chat completion: {self._blotted(answer.text)[:120]}"
        raise ModelError(
            f"the endpoint gave no answer ({said})", "an endpoint that answers", "start again: answers so far are kept"
        )

    def _blotted(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


class ChatReasoner(Reasoner):
    """Asks a chat endpoint as a model of ours is asked; ``ask``, ``ask_many`` and ``ask_cases`` work, checks of evidence do not."""

    def __init__(self, engine: ChatEngine, name: str, profile: Profile | None = None) -> None:
        """Take an endpoint, the model's name and a profile; None takes ``PROFILE``."""
        outline = checkpoints.load("phantom", weights=False)
        made = replace(
            outline,
            name=name,
            profile=profile or PROFILE,
            image_processor=make_processor({}),
            sha256="",
            hashed="",
            scope=None,
        )
        super().__init__(made, engine=engine)

    @property
    def about(self) -> str:
        """The model in a line."""
        return str(self.engine.place)

    def encode(self, case: Case, *, window: str | None = None, slices: int | None = None) -> EncodedCase:
        """See ``Reasoner.encode``; nothing is kept, since nothing is computed."""
        return prepare_case(self.checkpoint, self.stack(case, window=window, slices=slices), patches=False)

    def _answered(
        self,
        asked: Sequence[tuple[Case, EncodedCase, Sequence[Question]]],
        chosen: AskOptions,
        seconds: Mapping[str, float],
        on_token: OnToken | None,
    ) -> list[list[list[Trace]]]:
        begun = time.perf_counter()
        rows = [(case, encoded, q, n) for case, encoded, questions in asked for q in questions for n in range(chosen.samples)]
        messages = [self._messages(case, encoded, q) for case, encoded, q, _ in rows]
        how = [_settings(chosen, q.seed_of(n, chosen.sampling), self.checkpoint.profile) for _, _, q, n in rows]
        texts = iter(self.engine.complete(messages, how))
        more = {"seconds": {**seconds, "generate": round(time.perf_counter() - begun, 3)}}

        def made(case: Case, encoded: EncodedCase, q: Question, n: int) -> Trace:
            said = self._provenance(encoded, chosen, q.seed_of(n, chosen.sampling), more)
            text, finish = next(texts)
            return _trace(text, finish, case, encoded, q, said)

        return [
            [[made(case, encoded, q, n) for n in range(chosen.samples)] for q in questions] for case, encoded, questions in asked
        ]

    def ask_shown(self, asked: Any, **how: Any) -> list[Trace]:
        """Not for an endpoint: it cannot be shown other regions in the middle of a response."""
        raise ModelError("a check of evidence by a chat endpoint", "a model whose looks are answered", "use eval run")

    def ground_many(self, case: Any, questions: Any, *, on_token: OnToken | None = None, **how: Any) -> list[list[Trace]]:
        """Not for an endpoint."""
        raise ModelError("implicit questions to a chat endpoint", "a model of this package", "use eval run")

    def _messages(self, case: Case, encoded: EncodedCase, question: Question) -> list[dict[str, Any]]:
        profile, stack = self.checkpoint.profile, encoded.stack
        scale = scale_line(case.geometry.spacing_mm, case.geometry.shape, encoded.frame) if profile.scale else ""
        written = profile.parts(stack.kind, question.text, question.options, n_slices=len(stack.slices), scale=scale)
        urls = [Shown.of(self.checkpoint, picture).url() for picture in encoded.prepared.pictures]

        def content(part: str | Picture) -> dict[str, Any]:
            if isinstance(part, str):
                return {"type": "text", "text": part}
            return {"type": "image_url", "image_url": {"url": urls[part.index]}}

        return [{"role": role, "content": [content(part) for part in parts if part != ""]} for role, parts in written if parts]


def _settings(chosen: AskOptions, seed: int, profile: Profile) -> dict[str, Any]:
    sampling: Sampling = chosen.sampling
    how = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": chosen.max_new_tokens or profile.max_new_tokens,
    }
    return how | ({"seed": seed} if sampling.temperature else {})


def _trace(text: str, finish: str, case: Case, encoded: EncodedCase, question: Question, provenance: dict[str, Any]) -> Trace:
    letters = letters_of(question.options)
    text = text.replace("<|vision_", "< |vision_")  # nothing was shown, whatever the text says
    steps, problems = traces.steps_from_text(
        text,
        executions=(),
        choose=lambda answer: answer_choice(answer, letters, question.options),
        opened=False,
        frame=encoded.frame,
    )
    return Trace(
        question=question.text,
        options=question.options,
        steps=steps,
        frame=encoded.frame,
        finish="token_budget" if finish == "length" else "end_of_turn",
        problems=problems,
        source=case.source,
        provenance=provenance,
        raw_text=text,
    )
