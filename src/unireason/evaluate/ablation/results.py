"""From the folders of finished runs to one object: scores of every arm, differences to the reference, verdicts on the claims."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from unireason import __version__
from unireason.errors import FormatError, UniReasonError
from unireason.evaluate.benchmark.rows import Answered, answered
from unireason.evaluate.journal import RESULTS, ROWS, read_rows
from unireason.files import json_text
from unireason.metrics.crossed import Crossed, crossed_difference, crossed_mean
from unireason.metrics.intervals import too_few

from .config import Ablation, Claim
from .exposure import Exposure, exposures
from .jobs import Job

GROUPS = ("image", "volume", "all")
Table = list[list[float]]


@dataclass(frozen=True, slots=True)
class Runs:
    """The answers of all arms and seeds to the same questions.

    Attributes:
        ids: Questions, in one order for all.
        answers: By arm, seed after seed, by question.
        manifests: By arm, seed after seed, what was asked of what.
    """

    ids: tuple[str, ...]
    answers: Mapping[str, tuple[Mapping[str, Answered], ...]]
    manifests: Mapping[str, tuple[Mapping[str, Any], ...]]

    def chosen(self, group: str) -> list[str]:
        """Questions of a group: "image", "volume" or "all"."""
        own = next(iter(self.answers.values()))[0]
        return [name for name in self.ids if group in ("all", own[name].scored.tags.get("kind"))]

    def patients(self, names: Sequence[str]) -> list[str]:
        """Whom questions are about."""
        own = next(iter(self.answers.values()))[0]
        return [own[name].scored.patient for name in names]

    def table(self, arm: str, names: Sequence[str], value: Callable[[Answered], float]) -> Table:
        """A value of all answers of an arm (seeds, questions)."""
        return [[value(seed[name]) for name in names] for seed in self.answers[arm]]


def summary(config: Ablation, jobs: Sequence[Job]) -> dict[str, Any]:
    """The results of an ablation whose jobs have all ended.

    Args:
        config: The ablation.
        jobs: All its jobs.

    Returns:
        Plain JSON values (docs/how-to/ablate.md).

    Raises:
        FormatError: If arms or seeds were asked different questions, or a file is damaged.
        UniReasonError: If a file is missing.
    """
    runs = read_runs(jobs)
    seen = exposures(config, jobs)
    reference = config.reference
    return {
        "kind": "ablation",
        "reference": reference,
        "seeds": list(config.seeds),
        "arms": [
            {"name": arm.name, "title": arm.title, **_arm(runs, arm.name), **_exposure(seen[arm.name])} for arm in config.arms
        ],
        "differences": [
            {"arm": arm.name, "than": reference, "on": group, **_difference(runs, arm.name, reference, group)}
            for arm in config.arms
            if arm.name != reference
            for group in GROUPS
            if runs.chosen(group)
        ],
        "claims": [
            {"text": claim.text, "better": claim.better, "than": claim.than, "on": claim.on or "all", **_claim(runs, claim)}
            for claim in config.claims
        ],
        "scope": _scope(jobs),
        "manifest": _manifest(config, jobs, runs),
    }


def read_runs(jobs: Sequence[Job]) -> Runs:
    """The answers in the folders of all evaluations.

    Raises:
        FormatError: If two of them were asked different questions, or a file is damaged.
        UniReasonError: If a file is missing.
    """
    answers: dict[str, list[Mapping[str, Answered]]] = {}
    manifests: dict[str, list[Mapping[str, Any]]] = {}
    first: tuple[Job, tuple[str, ...], Any] | None = None
    for job in (j for j in jobs if j.what == "eval"):
        manifest = _object(job.folder / RESULTS)["manifest"]
        rows = {row.scored.id: row for row in read_rows(job.folder / ROWS, answered)}
        asked = manifest.get("questions_sha256")
        first = first or (job, tuple(rows), asked)
        if set(rows) != set(first[1]) or asked != first[2]:
            raise FormatError(
                f"{job.name} and {first[0].name} were asked different questions", "the same questions of all arms and seeds"
            )
        answers.setdefault(job.arm, []).append(rows)
        manifests.setdefault(job.arm, []).append(manifest)
    if first is None or not first[1]:
        raise FormatError("the evaluations hold no answers", "at least one question")
    return Runs(first[1], {a: tuple(v) for a, v in answers.items()}, {a: tuple(v) for a, v in manifests.items()})


def _scope(jobs: Sequence[Job]) -> dict[str, Any] | None:
    """The ``scope`` of the evaluation with the most questions outside; None where none is told."""
    found = [_object(job.folder / RESULTS).get("scope") for job in jobs if job.what == "eval"]
    return max((own for own in found if own), key=lambda own: own["outside"] or 0, default=None)


def verdict(interval: Sequence[float]) -> str:
    """ "holds" if the interval of a difference lies above 0, "does not hold" if below, "undecided" otherwise."""
    low, high = interval
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def _arm(runs: Runs, arm: str) -> dict[str, Any]:
    return {group: _scores(runs, arm, group) for group in GROUPS if runs.chosen(group)}


def _scores(runs: Runs, arm: str, group: str) -> dict[str, Any]:
    names = runs.chosen(group)
    patients = runs.patients(names)
    right = crossed_mean(runs.table(arm, names, _right), clusters=patients)
    return {
        "n": len(names),
        "patients": len(set(patients)),
        "too_few_patients": too_few(len(set(patients))),
        "chance": fmean(runs.table(arm, names, _chance)[0]),
        "accuracy": right.mean,
        "ci95": _ends(right, 0.0),
        "seeds": list(right.seeds),
        "looked": fmean(map(fmean, runs.table(arm, names, lambda answer: float(answer.looked)))),
        **_overlap(runs, arm, names),
    }


def _overlap(runs: Runs, arm: str, names: Sequence[str]) -> dict[str, Any]:
    """Overlap of true looks, each a column of its own; those of a patient hang together."""
    answers = runs.answers[arm]
    patients = [answers[0][name].scored.patient for name in names for _ in answers[0][name].ious]
    if not patients:
        return {"mean_box_iou": None, "mean_box_iou_ci95": None, "mean_box_iou_seeds": None}
    found = crossed_mean([[iou for name in names for iou in seed[name].ious] for seed in answers], clusters=patients)
    return {"mean_box_iou": found.mean, "mean_box_iou_ci95": _ends(found, 0.0), "mean_box_iou_seeds": list(found.seeds)}


def _right(answer: Answered) -> float:
    return float(answer.scored.right)


def _chance(answer: Answered) -> float:
    return 1 / answer.scored.options if answer.scored.options else 0.0


def _difference(runs: Runs, arm: str, than: str, group: str) -> dict[str, Any]:
    names = runs.chosen(group)
    tables = [runs.table(name, names, _right) for name in (arm, than)]
    found = crossed_difference(tables[0], tables[1], clusters=runs.patients(names))
    return {"difference": found.mean, "ci95": _ends(found, -1.0), "seeds": list(found.seeds)}


def _claim(runs: Runs, claim: Claim) -> dict[str, Any]:
    group = claim.on or "all"
    if not runs.chosen(group):
        raise FormatError(f"no question is about a {group}, as the claim {claim.text!r} needs", "such questions")
    found = _difference(runs, claim.better, claim.than, group)
    return {**found, "verdict": verdict(found["ci95"])}


def _ends(found: Crossed, least: float) -> list[float]:
    """The ends of an interval inside [least, 1]; all of it where one seed and one patient say nothing of others."""
    low, high = found.interval if found.freedom >= 1 else (least, 1.0)
    return [max(least, low), min(1.0, high)]


def _exposure(own: Exposure) -> dict[str, Any]:
    return {
        "steps": own.steps,
        "samples_a_step": own.samples_a_step,
        "exposure": {"samples": own.samples, "image": own.image, "volume": own.volume},
    }


def _manifest(config: Ablation, jobs: Sequence[Job], runs: Runs) -> dict[str, Any]:
    depends = json_text({job.name: job.sha256 for job in jobs}, sort_keys=True)
    first = next(iter(runs.manifests.values()))[0]
    return {
        "config_sha256": hashlib.sha256(depends.encode()).hexdigest(),
        "suite": config.evaluate.suite,
        "rule": first.get("rule", ""),
        "questions": len(runs.ids),
        "questions_sha256": first.get("questions_sha256", ""),
        "checkpoints": {arm: [m.get("checkpoint", {}).get("sha256", "") for m in own] for arm, own in runs.manifests.items()},
        "profiles": {arm: own[0].get("profile", {}).get("name", "") for arm, own in runs.manifests.items()},
        "versions": {"unireason": __version__, **first.get("versions", {})},
        "commands": [["unireason", *job.command] for job in jobs],
    }


def _object(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["manifest"].get("")
    except OSError as error:
        raise UniReasonError(f"'{path}' cannot be read ({error.strerror})", "the results of 'unireason eval run'") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"'{path}' is broken ({error!r})", "the results of 'unireason eval run'") from error
    return found
