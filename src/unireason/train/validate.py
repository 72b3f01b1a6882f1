"""A policy asked validation questions while it trains: greedily, always the same ones, by the engine that serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from unireason.engine.sampling import Sampling
from unireason.rewards.compose import Weights, score
from unireason.rewards.outcome import looks_iou

from .config import Grpo
from .context import TrainContext
from .rollout import Rolled, answer_iou, looks, truth
from .sampler import BatchPlan, PackUnit

_ROWS = 16
_NAMES = ("accuracy", "accuracy_2d", "accuracy_3d", "reward", "crop_rate", "box_iou", "answer_iou")


def validation_units(context: TrainContext) -> tuple[PackUnit, ...]:
    """The questions: an even mixture of images and volumes where there are both."""
    settings = context.settings
    cases = context.cases.cases(settings.data.validation)
    held = {kind: sum(len(c.samples) for c in cases if c.kind == kind) for kind in ("image", "volume")}
    count = min(settings.run.eval_samples, sum(held.values()))
    if not count:
        return ()
    both = all(held.values()) and min(held.values()) * 2 >= count
    run = replace(settings.run, steps=1)
    return BatchPlan(cases, samples=count, together=4, images=0.5 if both else -1.0, run=run).step(0)


def validate(context: TrainContext, units: Sequence[PackUnit]) -> dict[str, float]:
    """What the model answers, as means over all processes."""
    asked = [a for unit in context.crew.mine(units) for a in context.questions(unit)]
    with context.serving(rows=_ROWS) as roller:
        rolled = [group[0] for group in roller.roll(asked, Sampling(), [[0]] * len(asked))] if asked else []
    settings = context.settings
    weights = Weights(must_show=settings.reward.must_show) if isinstance(settings, Grpo) else Weights()
    marks = [_marks(one, weights) for one in rolled]
    sums = context.crew.sums([s for k in _NAMES for s in (sum(m.get(k, 0.0) for m in marks), float(sum(k in m for m in marks)))])
    return {f"eval_{k}": total / n for k, total, n in zip(_NAMES, sums[::2], sums[1::2], strict=True) if n}


def _marks(rolled: Rolled, weights: Weights) -> dict[str, float]:
    sample = rolled.asked.sample
    scores = score(rolled.trace, truth(sample), weights, grounded=looks(sample))
    marks = {"reward": scores.reward, "crop_rate": float(scores.measures.looked)}
    if "answer" in scores.parts:
        dimension = "2d" if sample.kind == "image" else "3d"
        marks |= {"accuracy": scores.parts["answer"], f"accuracy_{dimension}": scores.parts["answer"]}
    answered = answer_iou(rolled.trace, sample)
    if answered is not None:
        return marks | {"answer_iou": answered}
    ious = looks_iou(rolled.trace, sample.looks)
    return marks | ({"box_iou": fmean(ious)} if ious else {})
