"""Ask a case: from file pixels and a question to a trace with every look in model, voxel and patient coordinates."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unireason.errors import FormatError
from unireason.grounding import trace as traces
from unireason.grounding.prompts import Profile, letters_of
from unireason.imaging import geometry, serialize
from unireason.metrics.answers import answer_choice
from unireason.model import checkpoint as checkpoints
from unireason.model import tokens
from unireason.types import Case, Problem, Source, Stack, Trace

from .case import CropSource, EncodedCase, Request
from .local import LocalEngine, OnToken
from .sampling import Sampling
from .session import Budget, Session
from .threads import set_threads

_KEPT_CASES = 2


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How to ask, apart from the question.

    Attributes:
        sampling: How tokens are chosen; greedy by default.
        samples: Responses a question; sample n uses the seed ``sampling.seed + n``.
        window: See ``imaging.window.choose``.
        slices: Model slices of a volume; None takes the profile's.
        crop_source: "model" or "native".
        max_looks: Looks at most; None takes the profile's.
        max_new_tokens: Sampled tokens at most; None takes the profile's.
    """

    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1
    window: str = "auto"
    slices: int | None = None
    crop_source: CropSource = "model"
    max_looks: int | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            FormatError: If there are no samples, or slices are not a positive whole number.
        """
        for name in ("samples", "slices"):
            value = getattr(self, name)
            if (value is not None or name == "samples") and (type(value) is not int or value < 1):
                raise FormatError(f"{name} is {value!r}", "a whole number of at least 1")


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its options.

    Attributes:
        text: The question.
        options: Option texts in order A, B, ...; none for an open question.
    """

    text: str
    options: tuple[str, ...] = ()


def load(
    ref: str | Path, *, device: Any = None, dtype: Any = None, profile: Profile | None = None, threads: int | None = None
) -> Reasoner:
    """Load a checkpoint for asking.

    Args:
        ref: "phantom", a checkpoint folder or a hub id.
        device: Torch device; None takes CUDA where there is one.
        dtype: "bf16", "fp32" or None (see ``model.checkpoint.load``).
        profile: Prompt profile; None takes the checkpoint's own, or the built-in "default".
        threads: Torch threads; None chooses (see ``engine.threads.set_threads``).

    Raises:
        ModelError: If the checkpoint cannot be found or used.
        FormatError: If its profile cannot be read.
    """
    ready = checkpoints.load(ref, device=device, dtype=dtype, profile=profile)
    set_threads(ready, threads)
    return Reasoner(ready)


class Reasoner:
    """Asks one model about cases. The encodings of the last two cases are kept for later questions."""

    def __init__(self, checkpoint: checkpoints.Checkpoint, *, engine: Any = None) -> None:
        """Wrap a checkpoint.

        Args:
            checkpoint: From ``model.checkpoint.load`` or ``assemble``.
            engine: A back end with ``encode`` and ``generate``; ``LocalEngine`` by default.
        """
        self.checkpoint = checkpoint
        self.engine: Any = engine or LocalEngine(checkpoint)
        self._encoded: OrderedDict[tuple[Any, ...], tuple[Case, EncodedCase]] = OrderedDict()

    def ask(
        self, case: Case, question: str, *, options: Sequence[str] = (), on_token: OnToken | None = None, **how: Any
    ) -> Trace:
        """Ask one question once.

        Args:
            case: From ``unireason.read``.
            question: The question.
            options: Option texts in order A, B, ...; none for an open question.
            on_token: Called for every sampled token with (0, token id, text it completes).
            **how: Fields of ``AskOptions`` except ``samples``.

        Returns:
            The trace. A question that the model leaves unanswered is a trace without answer, not an error.

        Raises:
            FormatError: If the question, an option or a setting cannot be used.
            ModelError: If the case does not fit the model's context.
        """
        if how.get("samples", 1) != 1:
            raise FormatError(f"{how['samples']} samples of one trace", "1", "call ask_many")
        asked = [Question(question, tuple(options))]
        return self.ask_many(case, asked, on_token=on_token, **how)[0][0]

    def ask_many(
        self, case: Case, questions: Sequence[Question | str], *, on_token: OnToken | None = None, **how: Any
    ) -> list[list[Trace]]:
        """Ask several questions about one case, each several times, in one go.

        Args:
            case: From ``unireason.read``.
            questions: Questions; a plain text is an open question. None gives an empty list.
            on_token: Called with (question number x samples + sample number, token id, text).
            **how: Fields of ``AskOptions``.

        Returns:
            For every question its traces, one a sample.

        Raises:
            FormatError: If a question, an option or a setting cannot be used.
            ModelError: If the case does not fit the model's context.
        """
        chosen = _options(how)
        asked = [q if isinstance(q, Question) else Question(q) for q in questions]
        begun = time.perf_counter()
        encoded = self.encode(case, window=chosen.window, slices=chosen.slices)
        ready = time.perf_counter()
        requests = [self._request(encoded, q, chosen, n) for q in asked for n in range(chosen.samples)]
        sessions = self.engine.generate(requests, chosen.sampling, on_token=on_token)
        seconds = {"encode": round(ready - begun, 3), "generate": round(time.perf_counter() - ready, 3)}
        made: Iterator[Trace] = (
            self.trace(case, encoded, session, q, self._provenance(encoded, chosen, n, {"seconds": seconds}))
            for session, (q, n) in zip(sessions, ((q, n) for q in asked for n in range(chosen.samples)), strict=True)
        )
        return [[next(made) for _ in range(chosen.samples)] for _ in asked]

    def encode(self, case: Case, *, window: str = "auto", slices: int | None = None) -> EncodedCase:
        """Serialize and encode a case, or take it from the last two.

        Raises:
            FormatError: If the window or the number of slices cannot be used.
            ModelError: If the pictures cannot be fed.
        """
        key = (id(case), window, slices)
        found = self._encoded.get(key)
        if found is not None and found[0] is case:
            self._encoded.move_to_end(key)
            return found[1]
        encoded: EncodedCase = self.engine.encode(self.stack(case, window=window, slices=slices))
        self._encoded[key] = (case, encoded)
        while len(self._encoded) > _KEPT_CASES:
            self._encoded.popitem(last=False)
        return encoded

    def stack(self, case: Case, *, window: str = "auto", slices: int | None = None) -> Stack:
        """The pictures of a case at the size that the profile asks for.

        Raises:
            FormatError: If the window or the number of slices cannot be used.
        """
        profile = self.checkpoint.profile
        if case.kind == "volume":
            depth, height, width = profile.volume_shape
            return serialize(case, depth=slices or depth, size=(height, width), window=window)
        return serialize(case, size=profile.image_size, window=window)

    def trace(self, case: Case, encoded: EncodedCase, session: Session, question: Question, provenance: dict[str, Any]) -> Trace:
        """Turn a finished session into a trace."""
        executions = [_execution(look, encoded, case) for look in session.looks]
        return make_trace(self.checkpoint, session, question, executions=executions, source=case.source, provenance=provenance)

    def _request(self, encoded: EncodedCase, question: Question, chosen: AskOptions, sample: int) -> Request:
        profile, stack = self.checkpoint.profile, encoded.stack
        messages = profile.parts(stack.kind, question.text, question.options, n_slices=len(stack.slices))
        budget = Budget(
            max_looks=profile.max_rounds if chosen.max_looks is None else chosen.max_looks,
            max_new_tokens=profile.max_new_tokens if chosen.max_new_tokens is None else chosen.max_new_tokens,
            max_round_tokens=profile.max_round_tokens(stack.kind),
            max_context=self.checkpoint.max_context,
        )
        prompt = tokens.prompt_ids(self.checkpoint, messages, encoded.prepared.grid_thw)
        return Request(encoded, prompt, budget, chosen.sampling.seed + sample, chosen.crop_source)

    def _provenance(self, encoded: EncodedCase, chosen: AskOptions, sample: int, more: dict[str, Any]) -> dict[str, Any]:
        model, profile = self.checkpoint, self.checkpoint.profile
        return {
            "checkpoint": {
                "name": model.name,
                "sha256": model.sha256,
                "hashed": model.hashed,
                "dtype": str(model.dtype).removeprefix("torch."),
                "device": str(model.device),
            },
            "profile": {"name": profile.name, "sha256": profile.sha256},
            "engine": type(self.engine).__name__,
            "window": encoded.stack.window,
            "crop_source": chosen.crop_source,
            "sampling": {k: v for k, v in asdict(chosen.sampling).items() if k != "seed"},
            "seed": chosen.sampling.seed + sample,
            "versions": dict(model.versions),
            **more,
        }


def make_trace(
    checkpoint: checkpoints.Checkpoint,
    session: Session,
    question: Question,
    *,
    executions: Sequence[traces.Execution],
    source: Source | None = None,
    provenance: dict[str, Any] | None = None,
) -> Trace:
    """The trace of a finished session.

    Args:
        checkpoint: Whose tokens these are.
        session: The session.
        question: What was asked.
        executions: For every executed look its crops and, where known, its place in file and patient.
        source: Provenance of the case.
        provenance: Plain values to keep.
    """
    kept = tokens.collapse_pads(session.response, checkpoint.ids.image_pad)
    text = tokens.readable(checkpoint, kept)
    letters = letters_of(question.options)
    steps, problems = traces.steps_from_text(
        text,
        executions=executions,
        choose=lambda answer: answer_choice(answer, letters),
        opened=checkpoint.profile.assistant_prefix.rstrip().endswith("<think>"),
    )
    return Trace(
        question=question.text,
        options=question.options,
        steps=steps,
        frame=session.frame,
        finish=session.finish or "",
        problems=_merged(problems, session.problems),
        source=source,
        provenance=provenance or {},
        tokens=session.tokens(),
        raw_text=text,
    )


def _options(how: dict[str, Any]) -> AskOptions:
    sampling = how.get("sampling")
    try:
        return replace(AskOptions(), **{**how, "sampling": sampling or Sampling()})
    except TypeError as error:
        raise FormatError(f"unknown setting: {error}", f"some of: {', '.join(AskOptions.__dataclass_fields__)}") from error


def _execution(look: Any, encoded: EncodedCase, case: Case) -> traces.Execution:
    box_voxel = geometry.model_to_voxel(look.box, encoded.frame, case.geometry)
    return traces.Execution(look.crops, box_voxel, geometry.voxel_to_world_bounds(box_voxel, case.geometry))


def _merged(of_text: Sequence[Problem], of_session: Sequence[Problem]) -> tuple[Problem, ...]:
    """Problems of the text first; of the session those that the text does not show."""
    known = {problem.code for problem in of_text}
    return (*of_text, *(problem for problem in of_session if problem.code not in known))
