"""A trace as JSON and back, without loss. The layout is versioned: ``SCHEMA`` here, the text in docs/reference/trace.md."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.types import AnswerStep, Crop, Frame, LookStep, Problem, ScopeCheck, Source, Step, TextStep, Tokens, Trace

from . import crop, grammar

VISION_START = "<|vision_start|>"

_TAGS = re.compile(r"<\|[a-z_]{1,40}\|>|</?(?i:think)>")
_CLAUSE = re.compile(r"[.;!?\n,]")
_ARTICLES = {"the", "a", "an", "this", "that", "its", "another"}
_CONNECTORS = {
    *("at", "in", "on", "is", "are", "lies", "seen", "here", "located"),
    *("see", "look", "looking", "shown", "within", "to"),
}
_LABEL_CHARS, _LABEL_WORDS = 200, 6


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """What came of one box whose region was shown to the model.

    Attributes:
        crops: The regions, in slice order; at least one.
        box_voxel: What they show together, in the file's own index space.
        box_world_mm: Axis-aligned LPS bounds in millimetres; None without geometry.
    """

    crops: tuple[Crop, ...]
    box_voxel: tuple[float, ...] | None = None
    box_world_mm: tuple[float, ...] | None = None


def steps_from_text(
    text: str,
    *,
    executions: Sequence[Execution] = (),
    choose: Callable[[str], str | None],
    opened: bool = False,
    frame: Frame | None = None,
    released: bool = False,
) -> tuple[tuple[Step, ...], tuple[Problem, ...]]:
    """Read a response as text, looks and an answer.

    A box was executed if injected pictures stand right behind it, that is ``<|vision_start|>``: those tokens cannot be sampled,
    so the text itself says which boxes they are. Looks behind ``</think>`` come first; the text of the answer step
    leaves them out.

    Args:
        text: The response, special tokens kept, image pads collapsed or not.
        executions: What was executed, in order; one for each box with pictures behind it.
        choose: Names the option letter of an answer text, or None (see ``metrics.answers``).
        opened: True if the prompt already opened the think block.
        frame: The model frame, so that boxes that leave it are told ("box_outside_frame"); None where it is not known.
        released: True if boxes are read as the published code does it (``grammar.parse``).

    Returns:
        (steps, problems). A response whose think block never closes has no answer step; the empty text has no steps. Boxes with
        more picture tags behind them than were executed (a model may spell a tag letter by letter) give "spelled_tag".

    Raises:
        FormatError: If there are more executions than boxes with pictures behind them.
    """
    parsed = grammar.parse(text, released=released)
    shown = [found.end for found in parsed.boxes if text.startswith(VISION_START, found.end)]
    if len(shown) < len(executions):
        raise FormatError(
            f"{len(executions)} executed looks for a text with {len(shown)}", "one for each box with pictures behind it"
        )
    spelled = [Problem("spelled_tag", VISION_START, end) for end in shown[len(executions) :]]
    _, answer, think_problems = grammar.split_think(text, opened=opened)
    answer_start = len(text) - len(answer) if answer else len(text)
    steps: list[Step] = []
    executed, last_end = dict(zip(shown, executions, strict=False)), 0
    for found in parsed.boxes:
        _add_text(steps, text[last_end : min(found.start, answer_start)])
        clause_start = max(last_end, answer_start) if found.start >= answer_start else last_end
        steps.append(_look(found, _label(text[clause_start : found.start]), executed.get(found.end)))
        last_end = found.end
    _add_text(steps, text[last_end:answer_start])
    if answer:
        said = _clean(_without_boxes(answer, [f for f in parsed.boxes if f.start >= answer_start], answer_start))
        steps.append(AnswerStep(said, choose(said)))
    outside = [
        Problem(code, found.text, found.start) for found in parsed.boxes if frame for code in crop.frame_flaws(found.box, frame)
    ]
    problems = sorted([*parsed.problems, *think_problems, *spelled, *outside], key=lambda p: p.start)
    return tuple(steps), tuple(problems)


def _look(found: grammar.FoundBox, label: str, execution: Execution | None) -> LookStep:
    if execution is None:
        return LookStep(found.text, found.box.coords, label=label)
    return LookStep(
        found.text,
        found.box.coords,
        box_voxel=execution.box_voxel,
        box_world_mm=execution.box_world_mm,
        slices=tuple(crop.slice_index for crop in execution.crops),
        crops=execution.crops,
        executed=True,
        label=label,
    )


def _add_text(steps: list[Step], raw: str) -> None:
    said = _clean(raw)
    if said:
        steps.append(TextStep(said))


def _clean(raw: str) -> str:
    return _TAGS.sub("", raw).strip()


def _without_boxes(answer: str, boxes: Sequence[grammar.FoundBox], offset: int) -> str:
    pieces, position = [], 0
    for found in boxes:
        pieces.append(answer[position : found.start - offset])
        position = found.end - offset
    return "".join([*pieces, answer[position:]])


def _label(before: str) -> str:
    """The words that name what a box shows: those behind the last article of the clause in front of it, at most six."""
    said = _clean(before[-_LABEL_CHARS:]).rstrip(" :(-\u2013")
    words = _CLAUSE.split(said)[-1].replace(":", " ").split()
    while words and words[-1].lower() in _CONNECTORS:
        words.pop()
    articles = [i for i, word in enumerate(words) if word.lower() in _ARTICLES]
    return " ".join(words[articles[-1] + 1 if articles else 0 :][-_LABEL_WORDS:])


# --- JSON Schema (draft 2020-12) of a trace. The reference text is docs/reference/trace.md.


SCHEMA_ID = "unireason.trace/1"

_TEXT = {"type": "string"}
_INDEX = {"type": "integer", "minimum": 0}
_IDS = {"type": "array", "items": _INDEX}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _numbers(*sizes: int, of: str = "number") -> dict[str, Any]:
    fixed = [{"type": "array", "items": {"type": of}, "minItems": n, "maxItems": n} for n in sizes]
    return fixed[0] if len(fixed) == 1 else {"anyOf": fixed}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_CROP = _object(
    {
        "slice": _INDEX,
        "box_model": _numbers(4, of="integer"),
        "origin": {"enum": ["model", "native"]},
        "grid_thw": _or_null(_numbers(3, of="integer")),
        "size": _numbers(2, of="integer"),
        "png": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"},
    },
    optional=("png",),
)
_TEXT_STEP = _object({"type": {"const": "text"}, "text": _TEXT})
_LOOK_STEP = _object(
    {
        "type": {"const": "look"},
        "text": _TEXT,
        "label": _TEXT,
        "box_model": _numbers(4, 6),
        "box_voxel": _or_null(_numbers(4, 6)),
        "box_world_mm": _or_null(_numbers(6)),
        "slices": _IDS,
        "crops": {"type": "array", "items": _CROP},
        "executed": {"type": "boolean"},
    }
)
_ANSWER = {"choice": _or_null(_TEXT), "text": _TEXT}
_ANSWER_STEP = _object({"type": {"const": "answer"}, **_ANSWER})
_SIDE = {"type": "integer", "minimum": 1}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": SCHEMA_ID,
    "title": "One question, what the model looked at, and its answer",
    **_object(
        {
            "schema": {"const": SCHEMA_ID},
            "question": _TEXT,
            "options": {"type": "array", "items": _TEXT},
            "answer": _object(_ANSWER),
            "steps": {"type": "array", "items": {"oneOf": [_TEXT_STEP, _LOOK_STEP, _ANSWER_STEP]}},
            "frame": _object({"width": _SIDE, "height": _SIDE, "depth": _SIDE, "kind": {"enum": ["image", "volume"]}}),
            "finish": _TEXT,
            "problems": {
                "type": "array",
                "items": _object({"code": _TEXT, "text": _TEXT, "start": {"type": "integer", "minimum": -1}}),
            },
            "source": _or_null(_object({"name": _TEXT, "format": _TEXT, "sha256": _TEXT})),
            "provenance": {"type": "object"},
            "tokens": _or_null(
                _object(
                    {
                        "prompt": _IDS,
                        "response": _IDS,
                        "sampled": {"type": "array", "items": {"type": "boolean"}},
                        "logprobs": {"type": "array", "items": {"type": "number"}},
                    }
                )
            ),
            "raw_text": _TEXT,
            "scope": _object(
                {"stated": _TEXT, "inside": _or_null({"type": "boolean"}), "remarks": {"type": "array", "items": _TEXT}}
            ),
        },
        optional=("scope",),
    ),
}


# --- A trace as JSON and back, without loss. The layout is versioned: ``SCHEMA`` here, the text in docs/reference/trace.md.


_MAX_SIDE = 16384


def to_json(trace: Trace, *, crops: Literal["none", "png"] = "none") -> dict[str, Any]:
    """Turn a trace into plain JSON values.

    Args:
        trace: Any trace, also one without looks, answer or tokens.
        crops: "png" keeps the pixels of every crop, base64; "none" only their sizes.

    Returns:
        A dictionary that fits ``SCHEMA`` and that ``json.dumps(..., allow_nan=False)`` accepts.

    Raises:
        FormatError: If a number is not finite, or the provenance holds other than plain JSON values.
    """
    answer, frame, tokens = trace.answer, trace.frame, trace.tokens
    try:
        provenance = json.loads(json.dumps(dict(trace.provenance), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"the provenance of a trace is not plain JSON: {error}") from error
    return {
        "schema": SCHEMA_ID,
        "question": trace.question,
        "options": list(trace.options),
        "answer": {"choice": answer.choice, "text": answer.text},
        "steps": [_step_out(step, crops == "png") for step in trace.steps],
        "frame": {"width": int(frame.width), "height": int(frame.height), "depth": int(frame.depth), "kind": frame.kind},
        "finish": trace.finish,
        "problems": [{"code": p.code, "text": p.text, "start": int(p.start)} for p in trace.problems],
        "source": None
        if trace.source is None
        else {"name": trace.source.name, "format": trace.source.format, "sha256": trace.source.sha256},
        "provenance": provenance,
        "tokens": None
        if tokens is None
        else {
            "prompt": [int(t) for t in tokens.prompt],
            "response": [int(t) for t in tokens.response],
            "sampled": [bool(s) for s in tokens.sampled],
            "logprobs": _floats(tokens.logprobs),
        },
        "raw_text": trace.raw_text,
        "scope": {**asdict(trace.scope), "remarks": list(trace.scope.remarks)},
    }


def from_json(data: Any) -> Trace:
    """Read a trace back.

    Args:
        data: What ``json.loads`` made of a trace.

    Returns:
        The trace. A crop whose pixels were not kept has an array of shape (h, w, 0): its size is known, its content is not.

    Raises:
        FormatError: If the layout, the schema version or a value is wrong; the message names the place.
    """
    top = _Node(data, "trace").keys(*SCHEMA["required"], optional=("scope",))
    if top["schema"].value != SCHEMA_ID:
        raise FormatError(f"a trace of schema {top['schema'].value!r}", SCHEMA_ID)
    question, options = top["question"].text(), tuple(o.text() for o in top["options"].items())
    steps = tuple(_step_in(s) for s in top["steps"].items())
    field = top["frame"].keys("width", "height", "depth", "kind")
    kind = cast("Literal['image', 'volume']", field["kind"].one_of("image", "volume"))
    frame = Frame(field["width"].whole(low=1), field["height"].whole(low=1), field["depth"].whole(low=1), kind)
    finish = top["finish"].text()
    fields = (problem.keys("code", "text", "start") for problem in top["problems"].items())
    problems = tuple(Problem(p["code"].text(), p["text"].text(), p["start"].whole(low=-1)) for p in fields)
    source: Source | None = None
    tokens: Tokens | None = None
    if top["source"].value is not None:
        field = top["source"].keys("name", "format", "sha256")
        source = Source(field["name"].text(), field["format"].text(), field["sha256"].text())
    provenance = top["provenance"].mapping()
    if top["tokens"].value is not None:
        field = top["tokens"].keys("prompt", "response", "sampled", "logprobs")
        prompt, response = field["prompt"].wholes(), field["response"].wholes()
        sampled, logprobs = tuple(s.flag() for s in field["sampled"].items()), field["logprobs"].numbers()
        if len(sampled) != len(response) or len(logprobs) not in (0, len(response)):
            raise top["tokens"].wrong("as many flags (and log-probabilities, or none) as response ids")
        tokens = Tokens(prompt, response, sampled, logprobs)
    raw_text, scope = top["raw_text"].text(), ScopeCheck()
    if "scope" in top:
        field = top["scope"].keys("stated", "inside", "remarks")
        inside = None if field["inside"].value is None else field["inside"].flag()
        scope = ScopeCheck(field["stated"].text(), inside, tuple(r.text() for r in field["remarks"].items()))
    trace = Trace(question, options, steps, frame, finish, problems, source, provenance, tokens, raw_text, scope)
    if _answer_in(top["answer"].keys("choice", "text")) != trace.answer:
        raise FormatError("the answer of the trace is not the answer of its last answer step", "the same text and choice")
    return trace


def _floats(values: Iterable[float]) -> list[float]:
    plain = [float(v) for v in values]
    if not all(math.isfinite(v) for v in plain):
        raise FormatError(f"a trace holds the numbers {plain}", "finite ones")
    return plain


def _step_out(step: Step, with_png: bool) -> dict[str, Any]:
    if isinstance(step, TextStep):
        return {"type": "text", "text": step.text}
    if isinstance(step, AnswerStep):
        return {"type": "answer", "text": step.text, "choice": step.choice}
    return {
        "type": "look",
        "text": step.text,
        "label": step.label,
        "box_model": _floats(step.box_model),
        "box_voxel": None if step.box_voxel is None else _floats(step.box_voxel),
        "box_world_mm": None if step.box_world_mm is None else _floats(step.box_world_mm),
        "slices": [int(s) for s in step.slices],
        "crops": [_crop_out(crop, with_png) for crop in step.crops],
        "executed": bool(step.executed),
    }


def _crop_out(crop: Crop, with_png: bool) -> dict[str, Any]:
    height, width = crop.pixels.shape[:2]
    out: dict[str, Any] = {
        "slice": int(crop.slice_index),
        "box_model": [int(v) for v in crop.box_model],
        "origin": crop.origin,
        "grid_thw": None if crop.grid_thw is None else [int(v) for v in crop.grid_thw],
        "size": [int(height), int(width)],
    }
    if with_png and crop.pixels.size:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(crop.pixels)).save(buffer, format="PNG", optimize=False)
        out["png"] = base64.b64encode(buffer.getvalue()).decode("ascii")
    return out


class _Node:
    """One value of a JSON document together with its place, so that every complaint can name it."""

    def __init__(self, value: Any, place: str) -> None:
        self.value, self.place = value, place

    def wrong(self, expected: str) -> FormatError:
        return FormatError(f"{self.place} is {reprlib.repr(self.value)}", expected)

    def keys(self, *names: str, optional: tuple[str, ...] = ()) -> dict[str, _Node]:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        missing = sorted(set(names) - set(self.value))
        unknown = sorted(str(k) for k in set(self.value) - set(names) - set(optional))
        if missing or unknown:
            raise FormatError(f"{self.place} lacks {missing} and has the unknown keys {unknown}", f"the keys {list(names)}")
        return {key: _Node(value, f"{self.place}.{key}") for key, value in self.value.items()}

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [_Node(value, f"{self.place}[{i}]") for i, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return self.value

    def one_of(self, *words: str) -> str:
        if self.value not in words:
            raise self.wrong(" or ".join(words))
        return str(self.value)

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def whole(self, *, low: int = 0, high: int = 2**53) -> int:
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.wrong(f"a whole number from {low} to {high}")
        return self.value

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.wrong("a number")
        try:
            plain = float(self.value)
        except OverflowError as error:
            raise self.wrong("a number of ordinary size") from error
        if not math.isfinite(plain):
            raise self.wrong("a finite number")
        return plain

    def numbers(self, *sizes: int) -> tuple[float, ...]:
        found = tuple(item.number() for item in self.items())
        if sizes and len(found) not in sizes:
            raise self.wrong(f"a list of {' or '.join(map(str, sizes))} numbers")
        return found

    def wholes(self, size: int | None = None, *, low: int = 0) -> tuple[int, ...]:
        found = tuple(item.whole(low=low) for item in self.items())
        if size is not None and len(found) != size:
            raise self.wrong(f"a list of {size} whole numbers")
        return found

    def mapping(self) -> Mapping[str, Any]:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return dict(self.value)


def _step_in(node: _Node) -> Step:
    kind = node.value.get("type") if isinstance(node.value, dict) else None
    if kind == "text":
        return TextStep(node.keys("type", "text")["text"].text())
    if kind == "answer":
        return _answer_in(node.keys("type", "text", "choice"))
    if kind != "look":
        raise node.wrong('a step of type "text", "look" or "answer"')
    names = ("type", "text", "label", "box_model", "box_voxel", "box_world_mm", "slices", "crops", "executed")
    field = node.keys(*names)
    return LookStep(
        text=field["text"].text(),
        box_model=field["box_model"].numbers(4, 6),
        box_voxel=None if field["box_voxel"].value is None else field["box_voxel"].numbers(4, 6),
        box_world_mm=None if field["box_world_mm"].value is None else field["box_world_mm"].numbers(6),
        slices=field["slices"].wholes(),
        crops=tuple(_crop_in(c) for c in field["crops"].items()),
        executed=field["executed"].flag(),
        label=field["label"].text(),
    )


def _answer_in(field: dict[str, _Node]) -> AnswerStep:
    return AnswerStep(field["text"].text(), None if field["choice"].value is None else field["choice"].text())


def _crop_in(node: _Node) -> Crop:
    field = node.keys("slice", "box_model", "origin", "grid_thw", "size", optional=("png",))
    height, width = (side.whole(low=1, high=_MAX_SIDE) for side in _pair(field["size"]))
    grid = None if field["grid_thw"].value is None else field["grid_thw"].wholes(3, low=1)
    return Crop(
        box_model=cast("tuple[int, int, int, int]", field["box_model"].wholes(4)),
        slice_index=field["slice"].whole(),
        pixels=_png_in(field["png"], height, width) if "png" in field else np.zeros((height, width, 0), np.uint8),
        grid_thw=cast("tuple[int, int, int] | None", grid),
        origin=cast("Literal['model', 'native']", field["origin"].one_of("model", "native")),
    )


def _pair(node: _Node) -> list[_Node]:
    items = node.items()
    if len(items) != 2:
        raise node.wrong("[height, width]")
    return items


def _png_in(node: _Node, height: int, width: int) -> NDArray[np.uint8]:
    """Decode a crop; its header must announce the declared size before any pixel is unpacked."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(base64.b64decode(node.text(), validate=True)), formats=("PNG",)) as picture:
            if picture.size != (width, height) or picture.mode not in ("L", "RGB"):
                raise node.wrong(f"a grey or RGB picture of {width} x {height} pixels")
            return np.array(picture, dtype=np.uint8)
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"{node.place} is not a readable PNG: {error}") from error
