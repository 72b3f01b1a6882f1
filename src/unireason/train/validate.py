"""A policy asked validation questions while it trains: greedily, always the same ones, by the engine that serves."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from unireason.engine.sampling import Sampling
from unireason.rewards.compose import Weights, score
from unireason.rewards.outcome import looks_iou

from .config import Grpo, Sft
from .context import Learner
from .rollout import Rolled, answer_iou, looks, truth
from .sampler import BatchPlan, PackUnit


class Examiner:
    """Asks validation questions."""

    def __init__(self, learner: Learner, settings: Sft | Grpo) -> None:
        """Choose the questions: an even mixture of images and volumes where there are both."""
        self._learner = learner
        cases = learner.cases.cases(settings.data.validation)
        held = {kind: sum(len(c.samples) for c in cases if c.kind == kind) for kind in ("image", "volume")}
        count = min(settings.run.eval_samples, sum(held.values()))
        both = all(held.values()) and min(held.values()) * 2 >= count
        run = replace(settings.run, steps=1)
        self.units: tuple[PackUnit, ...] = ()
        if count:
            self.units = BatchPlan(cases, samples=count, together=4, images=0.5 if both else -1.0, run=run).step(0)

    def ask(self) -> dict[str, float]:
        """Answers by generation."""
        learner = self._learner
        asked = [a for unit in learner.crew.mine(self.units) for a in learner.questions(unit)]
        with learner.serving(rows=_ROWS) as roller:
            rolled = [group[0] for group in roller.roll(asked, Sampling(), [[0]] * len(asked))] if asked else []
        sums: dict[str, float] = {}
        for one in rolled:
            for name, value in _marks(one).items():
                sums[name] = sums.get(name, 0.0) + value
                sums[f"n_{name}"] = sums.get(f"n_{name}", 0.0) + 1
        names = [f"{n}{k}" for k in _NAMES for n in ("", "n_")]
        totals = dict(zip(names, learner.crew.sums([sums.get(n, 0.0) for n in names]), strict=True))
        return {f"eval_{k}": totals[k] / totals[f"n_{k}"] for k in _NAMES if totals[f"n_{k}"]}


_ROWS = 16
_NAMES = ("accuracy", "accuracy_2d", "accuracy_3d", "reward", "crop_rate", "box_iou", "answer_iou")


def _marks(rolled: Rolled) -> dict[str, float]:
    sample = rolled.asked.sample
    scores = score(rolled.trace, truth(sample), Weights(), grounded=looks(sample))
    marks = {"reward": scores.reward, "crop_rate": float(scores.measures.looked)}
    if "answer" in scores.parts:
        dimension = "2d" if sample.kind == "image" else "3d"
        marks |= {"accuracy": scores.parts["answer"], f"accuracy_{dimension}": scores.parts["answer"]}
    answered = answer_iou(rolled.trace, sample)
    if answered is not None:
        return marks | {"answer_iou": answered}
    ious = looks_iou(rolled.trace, sample.looks)
    return marks | ({"box_iou": fmean(ious)} if ious else {})
