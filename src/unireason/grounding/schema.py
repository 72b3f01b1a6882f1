"""JSON Schema (draft 2020-12) of a trace. The reference text is docs/reference/trace.md."""

from __future__ import annotations

from typing import Any

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
                {
                    "stated": _TEXT,
                    "inside": _or_null({"type": "boolean"}),
                    "remarks": {"type": "array", "items": _TEXT},
                }
            ),
        },
        optional=("scope",),
    ),
}
