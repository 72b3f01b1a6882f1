"""Asks the implicit questions of a suite, those on one picture together, and keeps every answer as it comes.

A question whose picture or mask cannot be read is counted and named, and is part of no mean: it says something of the data, nothing of
the model, and a score of 0 would be taken for a failure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from unireason.core.errors import FormatError, ImageReadError, SizeLimitError, UniReasonError
from unireason.core.types import Box2D, Case, Stack, Trace
from unireason.engine.masks import GroundTarget, target
from unireason.engine.reasoner import Question, Reasoner
from unireason.engine.sampling import Sampling
from unireason.evaluate.suites.base import Entry
from unireason.evaluate.suites.grounding import Mask, PointingSuite, Truth
from unireason.grounding import answer
from unireason.grounding import trace as traces
from unireason.metrics.boxes import box_iou, mask_dice, pdice, pdice_released
from unireason.metrics.statistics import Interval, over_patients, too_few
from unireason.metrics.surface import surface_distances
from unireason.model import files
from unireason.segment.expert import Expert, Prompt

from .results import PointingResults
from .scoring import answer_probability, calibration
from .store import ResultStore, by_case, check_frame, choose, held, make_manifest, seed_of, write_results

TOLERANCE_MM = 2.0
"""Distance of surfaces that still counts as agreement, if nothing else is said."""

SCORES = ("iou", "pdice", "pdice_released", "dice_points", "dice_box", "dice_both", "nsd", "hd95_mm", "found")
"""Names of the scores of a question; docs/reference/grounding-metrics.md says what each is."""

LIMITS: Mapping[str, Interval] = {"hd95_mm": (0.0, math.inf), "pdice_released": (0.0, 2.0)}
"""What a score may be; the others are shares."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundingMeasured:
    """One answer against the truth."""

    scores: Mapping[str, float]
    place: GroundTarget
    mask: Mask | None


def measure(
    case: Case, answers: Sequence[tuple[Truth, Trace]], expert: Expert, *, tolerance_mm: float = TOLERANCE_MM
) -> list[GroundingMeasured]:
    """Hold answers about one picture against the places that were meant; the expert sees all of their boxes and points at once."""
    places = [target(trace, case) for _, trace in answers]
    asked: list[dict[str, Prompt]] = []
    for own in (place.canonical for place in places):
        prompts = {"points": Prompt(points=own.points)} if own.points else {}
        if own.box is not None:
            box = Box2D(*own.box)
            prompts |= {"box": Prompt(box), "both": Prompt(box, own.points)}
        asked.append(prompts)
    flat = [prompt for prompts in asked for prompt in prompts.values()]
    outlined = iter(expert.segment(case, flat) if flat else [])
    steps = case.geometry.spacing_mm or (1.0, 1.0)
    done = []
    for (truth, trace), place, prompts in zip(answers, places, asked, strict=True):
        masks: dict[str, Mask] = {name: next(outlined).mask for name in prompts}
        meant, points = truth.on(trace.frame)
        said = place.model
        two = said.points if len(said.points) == 2 else None
        scores = {
            "iou": 0.0 if said.box is None else box_iou(meant, Box2D(*said.box)),
            "pdice": 0.0 if two is None else pdice(points, two),
            "pdice_released": 0.0 if two is None else pdice_released(points, two),
        }
        for name in ("points", "box", "both"):  # nothing to ask the expert with: no mask
            scores[f"dice_{name}"] = mask_dice(truth.mask, masks[name]) if name in masks else 0.0
        whole = masks.get("both")
        if whole is None or not whole.any():
            diagonal = math.hypot(*(n * step for n, step in zip(truth.mask.shape[::-1], steps, strict=True)))
            scores |= {"nsd": 0.0, "hd95_mm": diagonal, "found": 0.0}
        else:
            distances = surface_distances(truth.mask, whole, spacing_mm=steps)
            scores |= {"nsd": distances.nsd(tolerance_mm), "hd95_mm": distances.hausdorff_mm(), "found": 1.0}
        done.append(GroundingMeasured(scores, place, whole))
    return done


# --- One question of a suite of implicit questions as a row: what was meant, what was answered, and how well both agree.


Row = Mapping[str, Any]
"""Plain JSON values; docs/reference/results.md lists the keys."""

Answer = tuple[Trace, GroundingMeasured]


def make_row(entry: Entry, truth: Truth, answers: Sequence[Answer], *, think_end: int | None) -> Row:
    """The row of a question that was answered."""
    box, points = truth.on(answers[0][0].frame)
    said: list[dict[str, Any]] = []
    for trace, measured in answers:
        place = measured.place.model
        said.append(
            {
                "scores": dict(measured.scores),
                "box": None if place.box is None else list(place.box),
                "points": [list(point) for point in place.points],
                "malformed": bool(answer.read(trace.raw_text).problems),
                "problems": sorted({problem.code for problem in trace.problems}),
                "probability": answer_probability(trace, think_end),
                "trace": traces.to_json(replace(trace, tokens=None)),
            }
        )
    return {
        **_about(entry),
        "unreadable": None,
        "target": {"box": list(box.coords), "points": [list(point) for point in points]},
        "scores": {name: fmean(own["scores"][name] for own in said) for name in SCORES},
        "answers": said,
    }


def unreadable_row(entry: Entry, reason: str) -> Row:
    """The row of a question whose picture or mask cannot be read."""
    return {**_about(entry), "unreadable": reason, "target": None, "scores": None, "answers": []}


def read_row(value: Any) -> Row:
    """A row as it was written."""
    missing = [name for name in SCORES if value["unreadable"] is None and name not in value["scores"]]
    if missing or not isinstance(value["id"], str) or not isinstance(value["answers"], list):
        raise ValueError(f"a row without {', '.join(missing) or 'identifier and answers'}")
    return dict(value)


def _about(entry: Entry) -> dict[str, Any]:
    groups = {name: entry.tags.get(name, "") for name in ("category", "supercategory")}
    return {"id": entry.id, "case": entry.case, "patient": entry.patient, **groups, "question": entry.question}


# --- What the rows of implicit questions come to: means with intervals, flawed answers, and whether a number tells good answers
# from bad.


HEADLINE = ("iou", "pdice_released", "dice_both")
"""The scores of the published leaderboard, in its order; its names are IoU, pDice and Dice."""

HIT_IOU = 0.5
"""Overlap with the true box from which an answer counts as a hit, for calibration alone."""


def summary(rows: Iterable[Row], *, seed: int) -> dict[str, Any]:
    """The results of an evaluation but for what was asked of what."""
    every = list(rows)
    done = [row for row in every if row["unreadable"] is None]
    lost = {row["id"]: row["unreadable"] for row in every if row["unreadable"] is not None}
    if not done:
        example = next(iter(lost.values()), "there are none")
        raise UniReasonError(f"of {len(every)} questions none could be asked ({example})", "pictures with their masks")
    answers = [answer for row in done for answer in row["answers"]]
    problems = Counter(code for answer in answers for code in answer["problems"])
    whole = _scores(done, seed)
    groups: dict[str, Any] = {}
    for key in ("supercategory", "category"):
        names = sorted({row[key] for row in done if row[key]})
        groups[f"by_{key}"] = {name: _scores([row for row in done if row[key] == name], seed) for name in names}
    return {
        "headline": {name: whole["scores"][name]["mean"] for name in HEADLINE},
        **whole,
        "answers": len(answers),
        "found": fmean(answer["scores"]["found"] for answer in answers),
        "malformed": fmean(answer["malformed"] for answer in answers),
        "problems": dict(sorted(problems.items())),
        "unreadable": {"n": len(lost), "questions": lost},
        **groups,
        "calibration": _calibration(done),
    }


def _scores(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    patients = [row["patient"] for row in rows]
    found = {}
    for name in SCORES:
        values = [row["scores"][name] for row in rows]
        interval = over_patients(values, patients, seed=seed, limits=LIMITS.get(name))
        found[name] = {"mean": fmean(values), "ci95_patients": interval}
    count = len(set(patients))
    return {"n": len(rows), "patients": count, "too_few_patients": too_few(count), "scores": found}


def _calibration(rows: Sequence[Row]) -> dict[str, Any]:
    """Do the probability of an answer and, of several, their agreement tell whether the box is a hit?"""
    answers = [answer for row in rows for answer in row["answers"]]
    hits = [answer["scores"]["iou"] >= HIT_IOU for answer in answers]
    found: dict[str, Any] = {"hit": f"the box has an IoU of at least {HIT_IOU} with the true one"}
    if any(answer["probability"] is not None for answer in answers):
        found["answer_probability"] = calibration([answer["probability"] for answer in answers], hits)
    if all(len(row["answers"]) > 1 for row in rows):
        agreements = []  # mean IoU of the answers' boxes with each other; one that is missing agrees with none
        for row in rows:
            boxes = [None if answer["box"] is None else Box2D(*answer["box"]) for answer in row["answers"]]
            agreements.append(fmean(0.0 if a is None or b is None else box_iou(a, b) for a, b in combinations(boxes, 2)))
        found["agreement"] = calibration(agreements, [row["scores"]["iou"] >= HIT_IOU for row in rows])
    return found


# --- Asks the implicit questions of a suite, those on one picture together, and keeps every answer as it comes.


Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class GroundingSettings:
    """How a suite is asked.

    Attributes:
        count: Questions at most; None takes all.
        seed: Of the choice of questions, of sampling and of the bootstrap.
        samples: Answers a question; its scores are their means.
        temperature: Of sampling; 0 is greedy.
        weights: SHA-256 of the expert's weights; "" for one that has none.
        again: Ask again what could not be read when the folder was written; what was answered stays.
        max_new_tokens: Sampled tokens at most an answer; None takes the profile's limits.
    """

    count: int | None = None
    seed: int = 0
    samples: int = 1
    temperature: float = 0.0
    weights: str = ""
    again: bool = False
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check that several answers may differ."""
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise FormatError(f"{self.max_new_tokens} tokens an answer", "at least 1")
        if self.samples < 1 or (self.samples > 1 and self.temperature == 0):
            raise FormatError(
                f"{self.samples} samples at temperature {self.temperature:g}", "one sample, or several at a temperature above 0"
            )

    @property
    def asking(self) -> dict[str, Any]:
        """As keyword arguments of ``Reasoner.ground_many``; questions bring seeds of their own."""
        how: dict[str, Any] = {"samples": self.samples, "sampling": Sampling(temperature=self.temperature)}
        return how if self.max_new_tokens is None else {**how, "max_new_tokens": self.max_new_tokens}


@dataclass(frozen=True, slots=True, eq=False)
class GroundingFound:
    """What an evaluation found.

    Attributes:
        entries: The questions.
        rows: By question.
        results: What ``results.json`` has.
    """

    entries: tuple[Entry, ...]
    rows: Mapping[str, Row]
    results: PointingResults


def evaluate(
    reasoner: Reasoner,
    suite: PointingSuite,
    expert: Expert,
    folder: Path,
    *,
    settings: GroundingSettings | None = None,
    progress: Progress | None = None,
) -> GroundingFound:
    """Ask the implicit questions of a suite and score the answers.

    Args:
        reasoner: The model.
        suite: Where questions come from.
        expert: Makes masks of boxes and points.
        folder: Where ``manifest.json``, ``rows.jsonl`` and ``results.json`` go. A folder with an unfinished evaluation of the same is gone
            on with: what was answered is neither asked again nor counted twice.
        settings: How; None takes every question once, greedily.
        progress: Called with the number of questions done.

    Returns:
        Questions, rows and results (docs/reference/results.md).

    Raises:
        FormatError: If there are no questions, true places are written in another frame than the model's, or the folder holds an
            evaluation of something else.
        ModelError: If a picture does not fit the model or the expert.
        UniReasonError: If a file cannot be read or written, or no question could be read.
    """
    chosen, tell = settings or GroundingSettings(), progress or (lambda done: None)
    entries = choose(suite, chosen.count, chosen.seed)
    wording = reasoner.checkpoint.grounding
    made = {
        **make_manifest("grounding", reasoner, suite, entries, seed=chosen.seed),
        "profile": {"name": wording.name, "sha256": wording.sha256},
        "samples": chosen.samples,
        "temperature": chosen.temperature,
        "expert": {"name": expert.name, "sha256": chosen.weights},
        "tolerance_mm": TOLERANCE_MM,
        **({} if chosen.max_new_tokens is None else {"limits": {"max_new_tokens": chosen.max_new_tokens}}),
    }
    with held(folder):
        journal = ResultStore(folder, made)
        if chosen.again:
            journal.drop(lambda row: row["unreadable"] is not None)
        rows = {row["id"]: row for row in journal.read(read_row)}
        tell(len(rows))
        for case, own in by_case(entries):
            missing = [entry for entry in own if entry.id not in rows]
            if missing:
                new = _rows_of_case(reasoner, suite, expert, chosen, case, missing)
                journal.add(new)
                rows |= {row["id"]: row for row in new}
                tell(len(rows))
        asked = [rows[entry.id] for entry in entries]
        # What lies outside the scope of the model.
        remarks = [row["answers"][0]["trace"].get("scope", {}).get("remarks", []) if row["answers"] else [] for row in asked]
        results = PointingResults.of(
            {
                "kind": "grounding",
                "suite": suite.name,
                "rule": suite.rule,
                **summary(asked, seed=chosen.seed),
                "scope": files.told(reasoner.checkpoint.scope, remarks),
                "left_out": dict(suite.left_out),
                "manifest": made,
            }
        )
        write_results(folder, results.to_json())
    return GroundingFound(tuple(entries), rows, results)


def _rows_of_case(
    reasoner: Reasoner, suite: PointingSuite, expert: Expert, settings: GroundingSettings, name: str, entries: Sequence[Entry]
) -> list[Row]:
    """The rows of questions about one picture, in order."""
    try:
        case = suite.read(name)
    except (ImageReadError, SizeLimitError) as error:
        return [unreadable_row(entry, str(error)) for entry in entries]
    done: dict[str, Row] = {}
    asked: list[tuple[Entry, Truth]] = []
    for entry in entries:
        try:
            asked.append((entry, suite.truth(entry)))
        except (ImageReadError, SizeLimitError) as error:
            done[entry.id] = unreadable_row(entry, str(error))
    many = reasoner.ground_many(
        case, [Question(e.question, seed=seed_of(settings.seed, e.id)) for e, _ in asked], **settings.asking
    )
    pairs: list[tuple[Truth, Trace]] = []
    for (entry, truth), samples in zip(asked, many, strict=True):
        check_frame(entry, samples[0].frame)
        pairs += [(truth, trace) for trace in samples]
    measured = list(zip([trace for _, trace in pairs], measure(case, pairs, expert), strict=True))
    size, end = settings.samples, reasoner.checkpoint.ids.think_end
    for n, (entry, truth) in enumerate(asked):
        done[entry.id] = make_row(entry, truth, measured[n * size : (n + 1) * size], think_end=end)
    return [done[entry.id] for entry in entries]


# --- Examples: the worst and the best answers, with their pictures and masks.


WORST, BEST, OF_ONE_CATEGORY = 24, 12, 2
"""Examples at most, and of them about one category."""


@dataclass(frozen=True, slots=True, eq=False)
class Pointed:
    """One question with its first answer, as people look at it.

    Attributes:
        row: Its row.
        case: The picture.
        stack: What the model saw of it.
        truth: What was meant.
        trace: What was answered.
        mask: What the expert made of the answer; None without a usable place.
    """

    row: Row
    case: Case
    stack: Stack
    truth: Truth
    trace: Trace
    mask: Mask | None


def examples(
    found: GroundingFound, suite: PointingSuite, expert: Expert, reasoner: Reasoner
) -> tuple[list[Pointed], list[Pointed]]:
    """The worst and the best answers by the mask, then by box and points; of few answers half are worst.

    Masks are made again, which costs an outline and no answer; a UniReasonError says that a picture can no longer be read.
    """
    scored = [row for row in found.rows.values() if row["unreadable"] is None]
    ranked = sorted(scored, key=lambda row: (*(row["answers"][0]["scores"][n] for n in ("dice_both", "iou", "pdice")), row["id"]))
    best = _varied(ranked[::-1], min(BEST, len(ranked) // 2))
    worst = [name for name in _varied(ranked, WORST + BEST) if name not in best][:WORST]
    made: dict[str, Pointed] = {}
    for name, own in by_case([entry for entry in found.entries if entry.id in {*worst, *best}]):
        case = suite.read(name)
        stack = reasoner.stack(case)
        said = [traces.from_json(found.rows[entry.id]["answers"][0]["trace"]) for entry in own]
        pairs = [(suite.truth(entry), trace) for entry, trace in zip(own, said, strict=True)]
        for entry, (truth, trace), again in zip(own, pairs, measure(case, pairs, expert), strict=True):
            made[entry.id] = Pointed(found.rows[entry.id], case, stack, truth, trace, again.mask)
    return [made[name] for name in worst], [made[name] for name in best]


def _varied(rows: Sequence[Row], most: int) -> list[str]:
    """The first so many, few of one category."""
    taken: Counter[str] = Counter()
    chosen: list[str] = []
    for row in rows:
        if len(chosen) < most and taken[row["category"]] < OF_ONE_CATEGORY:
            taken[row["category"]] += 1
            chosen.append(row["id"])
    return chosen
