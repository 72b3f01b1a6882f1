"""What each arm was shown: steps, samples and how many of them were images and volumes, so that unequal training cannot hide.

An arm that starts from another one was shown all that that one was shown as well. Responses that GRPO samples are not counted, only the
questions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unireason.errors import FormatError, UniReasonError

from .config import Ablation, Arm
from .jobs import Job


@dataclass(frozen=True, slots=True)
class Exposure:
    """What the first seed of an arm was shown.

    Attributes:
        steps: Optimiser steps (GRPO: batches of rollouts), with those of the arms before.
        samples_a_step: Samples (GRPO: questions) of a step of the arm's own run.
        samples: Samples in all.
        image: Those about images; None where the run file leaves the share to the data.
        volume: Those about volumes; None likewise.
    """

    steps: int
    samples_a_step: int
    samples: int
    image: int | None
    volume: int | None


def exposures(config: Ablation, jobs: Sequence[Job]) -> dict[str, Exposure]:
    """What every arm was shown, by name.

    Raises:
        FormatError: If the log of a run is damaged.
        UniReasonError: If it is missing.
    """
    trained = {job.arm: job for job in jobs if job.what == "train" and job.seed == config.seeds[0]}
    own = {name: _own(job) for name, job in trained.items()}
    return {arm.name: _with_before(config, arm, own) for arm in config.arms}


def _own(job: Job) -> Exposure:
    settings: Mapping[str, Any] = job.depends["settings"]
    each = int(settings["rollout"]["prompts"] if settings["kind"] == "grpo" else settings["samples"])
    steps, samples = _logged(job, each)
    share = settings["data"]["images"]
    # A step holds the share up to one sample, and all steps so far do too (train.feed.plan).
    image = None if share < 0 else int(samples * share + 0.5)
    return Exposure(steps, each, samples, image, None if image is None else samples - image)


def _with_before(config: Ablation, arm: Arm, own: Mapping[str, Exposure]) -> Exposure:
    chain = [own[arm.name]]
    walked = arm
    while walked.after:
        walked = config.arm(walked.after)
        chain.append(own[walked.name])
    return Exposure(
        steps=sum(e.steps for e in chain),
        samples_a_step=chain[0].samples_a_step,
        samples=sum(e.samples for e in chain),
        image=_sum([e.image for e in chain]),
        volume=_sum([e.volume for e in chain]),
    )


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _logged(job: Job, each: int) -> tuple[int, int]:
    """Steps and samples of a run as its log has them; where the log tells no number of samples, ``each`` a step."""
    path = job.folder / "log.jsonl"
    steps: dict[int, int] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            if found["step"] > 0:
                steps[found["step"]] = int(found.get("samples", each))
    except OSError as error:
        raise UniReasonError(f"'{path}' cannot be read ({error.strerror})", "the log of a run") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"'{path}' is broken ({error!r})", "the log of a run") from error
    return len(steps), sum(steps.values())
