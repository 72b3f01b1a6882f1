"""Ask a case: from file pixels and a question to a trace with every look in model, voxel and patient coordinates."""

from __future__ import annotations

import reprlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Case, Problem, Source, Stack, Trace
from unireason.grounding import answer as umrg
from unireason.grounding import crop
from unireason.grounding import trace as traces
from unireason.grounding.profile import CropSource, Profile, letters_of, scale_line
from unireason.imaging import geometry, serialize
from unireason.imaging.raster import content
from unireason.metrics.answers import answer_choice, contradicts
from unireason.model import checkpoint as checkpoints
from unireason.model import tokens
from unireason.model.checkpoint import Checkpoint
from unireason.model.files import locate

from .case import EncodedCase, Regions, Request
from .local import LocalEngine, OnToken
from .sampling import Sampling
from .session import Budget, Session


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How to ask, apart from the question.

    Attributes:
        sampling: How tokens are chosen; greedy by default, with the repetition penalty of the checkpoint's ``generation_config.json``.
        samples: Responses a question; sample n uses the seed ``sampling.seed + n``, or that of its question plus n.
        window: See ``imaging.present.choose``; None takes the profile's.
        slices: Model slices of a volume; None takes the profile's.
        crop_source: What looks show: "model", "native" or "none"; None takes the profile's.
        max_looks: Looks at most; None takes the profile's.
        max_new_tokens: Sampled tokens at most, in one round or many; None takes the profile's limits, of all rounds and of each.
    """

    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1
    window: str | None = None
    slices: int | None = None
    crop_source: CropSource | None = None
    max_looks: int | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
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
        seed: Seed of its first sample; None takes that of the sampling, which all questions of a call share.
    """

    text: str
    options: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check the types; a bare text would be taken letter by letter, and a set has no order."""
        if not isinstance(self.text, str):
            raise FormatError(f"a question of the type {type(self.text).__name__}", "a text")
        options: Any = self.options
        if isinstance(options, str | bytes | Set | Mapping) or not isinstance(options, Iterable):
            raise FormatError(
                f"options={reprlib.repr(options)}",
                "a list of texts in order",
                'write options=["yes", "no"], or none for an open question',
            )
        object.__setattr__(self, "options", tuple(options))
        wrong = [option for option in self.options if not isinstance(option, str)]
        if wrong:
            raise FormatError(f"the option {reprlib.repr(wrong[0])} is of the type {type(wrong[0]).__name__}", "a text")

    def seed_of(self, sample: int, sampling: Sampling) -> int:
        """The seed of one of its samples, counted from 0."""
        return (sampling.seed if self.seed is None else self.seed) + sample


def options_from(how: Mapping[str, Any]) -> AskOptions:
    """Settings from keyword arguments; ``sampling=None`` takes the default, an unknown name is a FormatError."""
    try:
        return replace(AskOptions(), **{**how, "sampling": how.get("sampling") or Sampling()})
    except TypeError as error:
        raise FormatError(f"unknown setting: {error}", f"some of: {', '.join(AskOptions.__dataclass_fields__)}") from error


# --- How many threads torch uses.


_TINY = 30_000_000  # parameters


def set_threads(checkpoint: Checkpoint, threads: int | None = None) -> int:
    """Set the threads of this process and tell how many torch uses now.

    None takes one for a network below 30 million parameters on a CPU and leaves torch alone else.
    """
    if threads is not None and threads < 1:
        raise ModelError(f"{threads} threads", "at least 1")
    tiny = checkpoint.device.type == "cpu" and sum(p.numel() for p in checkpoint.network.parameters()) < _TINY
    if threads is not None or tiny:
        torch.set_num_threads(threads or 1)
    return torch.get_num_threads()


# --- Ask a case: from file pixels and a question to a trace with every look in model, voxel and patient coordinates.


_KEPT_CASES = 2
Readable = Any  # what `unireason.read` reads: a path, or an image in memory
_MOST_QUOTED = 256  # characters of an answer in a problem


def load(
    ref: str | Path,
    *,
    device: Any = None,
    dtype: Any = None,
    profile: Profile | None = None,
    grounding: Profile | None = None,
    threads: int | None = None,
    engine: Sequence[str] = (),
) -> Reasoner:
    """Load a checkpoint for asking.

    Args:
        ref: "phantom", a checkpoint folder or a hub id.
        device: Torch device; None takes CUDA where there is one.
        dtype: "bf16", "fp32" or None (see ``model.checkpoint.load``).
        profile: Prompt profile; None takes the checkpoint's own, or the built-in "default".
        grounding: The same for implicit questions; the built-in one is "umrg".
        threads: Torch threads; None chooses (see ``engine.threads.set_threads``).
        engine: What generates: nothing or "local" for the weights in this process; "vllm" for vLLM in this process; or addresses of vLLM
            servers of the same checkpoint. Device and threads are then theirs.

    Raises:
        ModelError: If the checkpoint cannot be found or used.
        FormatError: If its profile cannot be read.
    """
    local = not engine or list(engine) == ["local"]
    ready = checkpoints.load(ref, device=device, dtype=dtype, profile=profile, weights=local)
    ready = replace(ready, grounding=grounding) if grounding else ready
    if local:
        set_threads(ready, threads)
        return Reasoner(ready)
    from .served import connect

    return Reasoner(ready, engine=connect(ready, str(locate(ref)), engine, dtype=dtype))


class Reasoner:
    """Asks one model about cases. The encodings of the last two cases are kept for later questions."""

    def __init__(self, checkpoint: checkpoints.Checkpoint, *, engine: Any = None) -> None:
        """Wrap a checkpoint; a back end has ``encode`` and ``generate`` and is a ``LocalEngine`` by default."""
        self.checkpoint = checkpoint
        self.engine: Any = engine or LocalEngine(checkpoint)
        self._encoded: OrderedDict[tuple[Any, ...], tuple[Case, EncodedCase]] = OrderedDict()
        self._grounder: Reasoner | None = None

    def __repr__(self) -> str:
        return f"Reasoner({self.about})"

    def asking(self, profile: Profile, grounding: Profile) -> Reasoner:
        """The same model and engine with other profiles."""
        return Reasoner(replace(self.checkpoint, profile=profile, grounding=grounding), engine=self.engine)

    @property
    def about(self) -> str:
        """The model in a line: its name, its size, the type of its weights, its device."""
        model = self.checkpoint
        size = sum(p.numel() for p in model.network.parameters()) / 1e6
        where = getattr(self.engine, "place", f"{str(model.dtype).removeprefix('torch.')} on {model.device}")
        return f"{model.name}, {size:,.1f}M weights, {where}"

    def ask(
        self, case: Case | Readable, question: str, *, options: Sequence[str] = (), on_token: OnToken | None = None, **how: Any
    ) -> Trace:
        """Ask one question once.

        Args:
            case: From ``unireason.read``, or what it reads, such as a path; who asks more than once reads once.
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
        _check_once(how)
        asked = [Question(question, options)]  # type: ignore[arg-type]  # made a tuple there
        return self.ask_many(case, asked, on_token=on_token, **how)[0][0]

    def ask_many(
        self, case: Case | Readable, questions: Sequence[Question | str], *, on_token: OnToken | None = None, **how: Any
    ) -> list[list[Trace]]:
        """Ask several questions about one case, each several times, in one go.

        Args:
            case: From ``unireason.read``, or what it reads, such as a path; who asks more than once reads once.
            questions: Questions; a plain text is an open question. None gives an empty list.
            on_token: Called with (question number x samples + sample number, token id, text).
            **how: Fields of ``AskOptions``.

        Returns:
            For every question its traces, one a sample.

        Raises:
            FormatError: If a question, an option or a setting cannot be used.
            ModelError: If the case does not fit the model's context.
        """
        chosen, case = options_from(how), _case(case)
        if isinstance(questions, str | Question):
            raise FormatError("questions is one question", "a list of questions", "use ask for one")
        asked = [q if isinstance(q, Question) else Question(q) for q in questions]
        begun = time.perf_counter()
        encoded = self.encode(case, window=chosen.window, slices=chosen.slices)
        spent = time.perf_counter() - begun
        return self._answered([(case, encoded, asked)], chosen, {"encode": round(spent, 3)}, on_token)[0]

    def ask_cases(self, asked: Sequence[tuple[Case, EncodedCase, Sequence[Question]]], **how: Any) -> list[list[list[Trace]]]:
        """Ask several questions about each of several cases, encoded with the same window and slices, in one go.

        For every case what ``ask_many`` returns; ``window`` and ``slices`` of ``AskOptions`` do nothing here.
        """
        return self._answered(asked, options_from(how), {}, None)

    def ask_shown(self, asked: Sequence[tuple[Case, EncodedCase, Question, Regions | None]], **how: Any) -> list[Trace]:
        """Ask about pictures that need not be those of the case, and answer looks with other regions: for checks of evidence.

        Args:
            asked: For every question the case, which gives places in file and patient and the provenance; what the model sees, from
                ``engine.encode``, of the case's model frame; the question; and where its looks are cut, None where the boxes say. None
                gives an empty list. Questions on one encoding share it.
            **how: Fields of ``AskOptions`` except ``samples``, ``window`` and ``slices``, which do nothing here.

        Returns:
            One trace a question; a look that was shown nothing is not executed.

        Raises:
            FormatError: If a question or a setting cannot be used.
            ModelError: If the case does not fit the model's context.
        """
        _check_once(how)
        chosen = options_from(how)
        requests = [replace(self._request(case, encoded, q, chosen, 0), regions=where) for case, encoded, q, where in asked]
        chosen = self._resolved(chosen)
        sessions = self.engine.generate(requests, chosen.sampling)
        return [
            self.trace(case, encoded, session, q, self._provenance(encoded, chosen, q.seed_of(0, chosen.sampling), {}))
            for session, (case, encoded, q, _) in zip(sessions, asked, strict=True)
        ]

    def ground(self, case: Case | Readable, question: str, *, on_token: OnToken | None = None, **how: Any) -> Trace:
        """Ask one implicit question once: what a picture is asked for is answered by a place.

        Args:
            case: An image, which is answered by a rectangle and two points in it, or a volume, answered by a cuboid; to ask about one
                slice of a volume take it (``data.regions.picture``).
            question: The question; it describes a structure and need not name it.
            on_token: As for ``ask``.
            **how: Fields of ``AskOptions`` except ``samples``.

        Returns:
            The trace; ``engine.pointing.target`` reads the box and the two points of its answer.

        Raises:
            FormatError: If the question or a setting cannot be used.
            ModelError: If the case does not fit the model's context.
        """
        _check_once(how)
        return self.ground_many(case, [question], on_token=on_token, **how)[0][0]

    def ground_many(
        self, case: Case | Readable, questions: Sequence[Question | str], *, on_token: OnToken | None = None, **how: Any
    ) -> list[list[Trace]]:
        """Ask several implicit questions about one case in the words of ``checkpoint.grounding``, each several times.

        Args:
            case: An image or a volume.
            questions: Implicit questions; a plain text takes the seed of the sampling. None gives an empty list.
            on_token: As for ``ask_many``.
            **how: Fields of ``AskOptions``.

        Returns:
            For every question its traces, one a sample. What is wrong with an answer is among the problems of its trace.

        Raises:
            FormatError: As for ``ground``.
            ModelError: If the case does not fit the model's context.
        """
        case = _case(case)
        if self._grounder is None:
            # Prompts of the two tasks share no prefix: each keeps encodings of its own, behind one engine.
            self._grounder = Reasoner(replace(self.checkpoint, profile=self.checkpoint.grounding), engine=self.engine)
        asked = self._grounder.ask_many(case, questions, on_token=on_token, **how)

        def judged(trace: Trace) -> Trace:
            """With what is wrong in its boxed answer, and about the place that it names."""
            reading = umrg.read(trace.raw_text, dims=2 if trace.frame.kind == "image" else 3)
            return replace(
                trace, problems=_merged(trace.problems, (*reading.problems, *umrg.place_problems(reading, trace.frame)))
            )

        return [[judged(trace) for trace in samples] for samples in asked]

    def encode(self, case: Case, *, window: str | None = None, slices: int | None = None) -> EncodedCase:
        """Serialize and encode a case, or take it from the last two."""
        key = (id(case), content(case.pixels), window, slices)  # its owner may have filled the array again
        found = self._encoded.get(key)
        if found is not None and found[0] is case:
            self._encoded.move_to_end(key)
            return found[1]
        encoded: EncodedCase = self.engine.encode(self.stack(case, window=window, slices=slices))
        self._encoded[key] = (case, encoded)
        while len(self._encoded) > _KEPT_CASES:
            self._encoded.popitem(last=False)
        return encoded

    def stack(self, case: Case, *, window: str | None = None, slices: int | None = None) -> Stack:
        """The pictures of a case at the size that the profile asks for."""
        profile = self.checkpoint.profile
        window = window or profile.window
        if case.kind == "volume":
            depth, height, width = profile.volume_shape
            return serialize(case, depth=slices or depth, size=(height, width), window=window)
        return serialize(case, size=profile.image_size, window=window)

    def trace(self, case: Case, encoded: EncodedCase, session: Session, question: Question, provenance: dict[str, Any]) -> Trace:
        """Turn a finished session into a trace."""
        executions = [_execution(look, encoded, case) for look in session.looks]
        made = make_trace(self.checkpoint, session, question, executions=executions, source=case.source, provenance=provenance)
        scope, model = self.checkpoint.scope, self.checkpoint
        if scope is None:
            return made
        return replace(made, scope=scope.check(case.source, question.options, implicit=model.profile is model.grounding))

    def _answered(
        self,
        asked: Sequence[tuple[Case, EncodedCase, Sequence[Question]]],
        chosen: AskOptions,
        seconds: Mapping[str, float],
        on_token: OnToken | None,
    ) -> list[list[list[Trace]]]:
        begun = time.perf_counter()
        rows = [(case, encoded, q, n) for case, encoded, questions in asked for q in questions for n in range(chosen.samples)]
        requests = [self._request(case, encoded, q, chosen, n) for case, encoded, q, n in rows]
        chosen = self._resolved(chosen)
        sessions = iter(self.engine.generate(requests, chosen.sampling, on_token=on_token))
        more = {"seconds": {**seconds, "generate": round(time.perf_counter() - begun, 3)}}

        def made(case: Case, encoded: EncodedCase, q: Question, n: int) -> Trace:
            said = self._provenance(encoded, chosen, q.seed_of(n, chosen.sampling), more)
            return self.trace(case, encoded, next(sessions), q, said)

        return [
            [[made(case, encoded, q, n) for n in range(chosen.samples)] for q in questions] for case, encoded, questions in asked
        ]

    def _resolved(self, chosen: AskOptions) -> AskOptions:
        """The settings with the checkpoint's repetition penalty where none is given."""
        if chosen.sampling.repetition_penalty is not None:
            return chosen
        return replace(chosen, sampling=replace(chosen.sampling, repetition_penalty=self.checkpoint.repetition_penalty))

    def _request(self, case: Case, encoded: EncodedCase, question: Question, chosen: AskOptions, sample: int) -> Request:
        profile, stack = self.checkpoint.profile, encoded.stack
        scale = scale_line(case.geometry.spacing_mm, case.geometry.shape, encoded.frame) if profile.scale else ""
        messages = profile.parts(stack.kind, question.text, question.options, n_slices=len(stack.slices), scale=scale)
        asked = chosen.max_new_tokens
        budget = Budget(
            max_looks=profile.max_looks if chosen.max_looks is None else chosen.max_looks,
            max_new_tokens=profile.max_new_tokens if asked is None else asked,
            max_round_tokens=profile.max_round_tokens(stack.kind) if asked is None else asked,  # a number that was asked for wins
            max_context=self.checkpoint.max_context,
        )
        prompt = tokens.prompt_ids(self.checkpoint, messages, encoded.prepared.grid_thw)
        seed = question.seed_of(sample, chosen.sampling)
        return Request(encoded, prompt, budget, seed, chosen.crop_source or profile.crops, profile=profile)

    def _provenance(self, encoded: EncodedCase, chosen: AskOptions, seed: int, more: dict[str, Any]) -> dict[str, Any]:
        model, profile = self.checkpoint, self.checkpoint.profile
        elsewhere = getattr(self.engine, "place", "")
        here = {} if elsewhere else {"dtype": str(model.dtype).removeprefix("torch."), "device": str(model.device)}
        return {
            "checkpoint": {"name": model.name, "sha256": model.sha256, "hashed": model.hashed, **here},
            "profile": {"name": profile.name, "sha256": profile.sha256},
            "engine": elsewhere or type(self.engine).__name__,
            "window": encoded.stack.window,
            "crop_source": chosen.crop_source or profile.crops,
            "sampling": _told(chosen.sampling),
            "seed": seed,
            "versions": dict(model.versions),
            **more,
        }


def _case(given: Case | Readable) -> Case:
    """A case as it is; anything else is read."""
    if isinstance(given, Case):
        return given
    from unireason.imaging import read

    return read(given)


def make_trace(
    checkpoint: checkpoints.Checkpoint,
    session: Session,
    question: Question,
    *,
    executions: Sequence[traces.Execution],
    source: Source | None = None,
    provenance: dict[str, Any] | None = None,
) -> Trace:
    """The trace of a finished session; ``executions`` says for every executed look its crops and, where known, its place in the file."""
    kept = tokens.collapse_pads(session.response, checkpoint.ids.image_pad)
    text = tokens.readable(checkpoint, kept)
    letters = letters_of(question.options)
    steps, problems = traces.steps_from_text(
        text,
        executions=executions,
        choose=lambda answer: answer_choice(answer, letters, question.options),
        opened=checkpoint.profile.assistant_prefix.rstrip().endswith("<think>"),
        frame=session.frame,
        released=checkpoint.profile.crops == "published",
    )
    said = next((step.text for step in reversed(steps) if step.type == "answer"), "")
    if question.options and contradicts(said, letters, question.options):
        problems = (*problems, Problem("choice_text_mismatch", said[:_MOST_QUOTED]))
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


def _told(sampling: Sampling) -> dict[str, Any]:
    """How tokens were chosen; what does nothing goes without saying."""
    idle = {"seed"}
    if sampling.repetition_penalty in (None, 1):
        idle.add("repetition_penalty")
    if sampling.logprobs == "raw":
        idle.add("logprobs")
    return {k: v for k, v in asdict(sampling).items() if k not in idle}


def _check_once(how: Mapping[str, Any]) -> None:
    if how.get("samples", 1) != 1:
        raise FormatError(f"{how['samples']} samples of one trace", "1", "ask for many")


def _execution(look: Any, encoded: EncodedCase, case: Case) -> traces.Execution:
    """Where a look was really cut, in file and patient."""
    cut = crop.extent(look.crops, encoded.frame.kind)
    box_voxel = geometry.model_to_voxel(cut.coords, encoded.frame, case.geometry)
    return traces.Execution(look.crops, box_voxel, geometry.voxel_to_world_bounds(box_voxel, case.geometry))


def _merged(of_text: Sequence[Problem], more: Sequence[Problem]) -> tuple[Problem, ...]:
    """Problems of the text first; of the others those of another kind."""
    known = {problem.code for problem in of_text}
    return (*of_text, *(problem for problem in more if problem.code not in known))
