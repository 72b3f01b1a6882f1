"""Small runs over a suite for the tests of evaluations: rows and results of known answers, folders with pictures, no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

from unireason.core.types import AnswerStep, Frame, LookStep, TextStep, Trace
from unireason.evaluate.scoring import TAGS, ScoredRow, breakdown, calibration
from unireason.grounding.trace import to_json

OPTIONS = ("left kidney", "right kidney", "spleen", "liver")


def trace(question: str, said: str, *, look: bool = True, thought: str = "", options: Sequence[str] = OPTIONS) -> dict[str, Any]:
    """A trace as JSON that looks once at most and then answers."""
    steps: list[Any] = [TextStep(thought or "The structure lies on the right; I look there.")]
    if look:
        steps += [
            LookStep("<|box|>", (20.0, 30.0, 2.0, 90.0, 80.0, 5.0), executed=True, label="organ"),
            TextStep("It is bright."),
        ]
    steps.append(AnswerStep(f"{said}. it is" if said else "hard to say", said or None))
    return to_json(Trace(question, tuple(options), tuple(steps), Frame(112, 112, 8, "volume"), "end_of_turn"))


def row(number: int, right: bool, **changes: Any) -> dict[str, Any]:
    """Question ``number`` of patient ``number // 2``; B is right, and C is said by who is wrong."""
    said = changes.pop("said", "B" if right else "C")
    question = changes.get("question", f"Which organ is marked, number {number}?")
    look, thought = changes.pop("look", True), changes.pop("thought", "")
    options = changes.get("options", OPTIONS)
    overlap = changes.get("overlap", 0.75 if right else 0.25)
    published = {"unireason_med": right, "m3d": None}
    one = {
        "said": said,
        "right": right,
        "published": published,
        "overlap": overlap,
        "probability": None,
        "looks": int(look),
        "trace": trace(question, said, look=look, thought=thought, options=options),
    }
    tags = {
        "family": ("position", "size", "count")[number % 3],
        "modality": "CT",
        "structure": "kidney" if number % 2 else "spleen",
    }
    return {
        "id": f"q{number:04d}",
        "case": f"case-{number // 2}",
        "patient": f"p{number // 2}",
        "kind": "volume" if number % 4 else "image",
        "tags": tags,
        "question": question,
        "options": list(options),
        "letter": "B" if options else "",
        "answers": [options[1]] if options else ["kidney"],
        "said": said,
        "right": right,
        "published": published,
        "agreement": None,
        "tied": False,
        "overlap": overlap,
        "ious": [] if overlap is None else [overlap],
        "probability": 0.9 if right else 0.4,
        "sample": 0,
        "problem": "",
        "seconds": 0.2,
        "samples": [one],
        "picture": f"pictures/{number:04d}.png" if look else "",
    } | changes


def rows_of(pattern: Iterable[bool]) -> list[dict[str, Any]]:
    """Rows whose questions are right as the pattern says."""
    return [row(n, right) for n, right in enumerate(pattern)]


def results_of(rows: Sequence[Mapping[str, Any]], *, name: str = "phantom", **changes: Any) -> dict[str, Any]:
    """The results of a run over these rows by the model ``name``."""
    scored = [
        ScoredRow(
            *(r["id"], r["patient"], {**r["tags"], "kind": r["kind"]}, len(r["options"]), r["said"], r["right"], r["published"]),
            letter=r["letter"],
            own=r.get("own_boxes", ""),
            true=r.get("true_boxes", ""),
        )
        for r in rows
    ]
    right = [r["right"] for r in rows]
    overlaps = [r["overlap"] for r in rows if r["overlap"] is not None]
    manifest = {
        "kind": "run",
        "suite": "phantom",
        "rule": "the option letter that the answer names",
        "questions": len(rows),
        "questions_sha256": "ab" * 32,
        "seed": 0,
        "samples": 1,
        "vote": 0,
        "sampling": {"temperature": 0.0, "top_p": 1.0, "top_k": 0},
        "limits": {"max_looks": None, "max_new_tokens": None},
        "crop_source": None,
        "checkpoint": {"name": name, "sha256": "cd" * 32, "hashed": "files", "dtype": "torch.float32"},
        "profile": {"name": "phantom", "sha256": "ef" * 32},
        "versions": {"unireason": "0.1.0", "torch": "2.13.0"},
    }
    return {
        "kind": "run",
        "suite": "phantom",
        "rule": manifest["rule"],
        "n": len(rows),
        "patients": len({r["patient"] for r in rows}),
        "samples": 1,
        "vote": 0,
        "scores": breakdown(scored, seed=0, by=(*TAGS, "kind"), resamples=200),
        "calibration": {name: calibration([r[name] for r in rows], right) for name in ("overlap", "probability")},
        "grounding": {
            "looks": len(overlaps),
            "mean_box_iou": fmean(overlaps) if overlaps else None,
            "ci95_patients": [0.4, 0.6],
            "iou_at_50": 0.5,
            "looked": fmean(any(one["looks"] for one in r["samples"]) for r in rows),
        },
        "sampling": None,
        "left_out": {},
        "unreadable": sum(bool(r["problem"]) for r in rows),
        "seconds": 12.0,
        "questions_a_second": len(rows) / 12,
        "manifest": manifest,
    } | changes


def write_folder(folder: Path, rows: Sequence[Mapping[str, Any]], **changes: Any) -> Path:
    """The folder of a finished run, its pictures tiles with a bright box."""
    results = results_of(rows, **changes)
    (folder / "pictures").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(results["manifest"]))
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for place, r in enumerate(rows):
        if r["picture"]:
            pixels = np.random.default_rng(place).integers(30, 90, (14, 14, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
            pixels[30:80, [20, 21, 88, 89]] = pixels[[30, 31, 78, 79], 20:90] = (76, 194, 255)
            Image.fromarray(pixels).save(folder / r["picture"])
    return folder
