"""What goes through the network in a step, in numbers: trees of a prefix and its rows, pictures and regions.

A tree is what ``train.network`` makes of the samples on one case, or of a group of responses; lengths are means and need not be whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from unireason.train.settings.grpo import Grpo
from unireason.train.settings.planned import Planned
from unireason.train.settings.sft import Sft

from .shape import Vision

DELIMITERS = 2
"""Tokens around every picture."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of one size.

    Attributes:
        count: How many.
        patches: Patches of each.
        tokens: Visual tokens of each, without delimiters.
    """

    count: float
    patches: float
    tokens: float

    @property
    def placed(self) -> float:
        """Tokens that all of them take in a sequence."""
        return self.count * (self.tokens + DELIMITERS)


@dataclass(frozen=True, slots=True)
class Tree:
    """A prefix and its rows.

    Attributes:
        count: Such trees a step over all processes.
        prefix: Tokens of the prefix.
        rows: Rows behind it.
        row: Tokens of a row.
        written: Tokens of a row that the assistant wrote.
        case: Pictures of the case, in the prefix.
        crops: Regions of one row.
    """

    count: float
    prefix: float
    rows: float
    row: float
    written: float
    case: Pictures
    crops: Pictures

    @property
    def tokens(self) -> float:
        """Tokens of one tree."""
        return self.prefix + self.rows * self.row


@dataclass(frozen=True, slots=True)
class Workload:
    """A run in numbers.

    Attributes:
        trees: The trees of a mean step: those of images, then those of volumes; a kind without samples is left out.
        steps: Steps of the run.
        epochs: Passes over the data that these are.
        samples: Samples (for GRPO: questions) a step.
        cases: Pictures of cases an epoch, as (count, visual tokens of each).
    """

    trees: tuple[Tree, ...]
    steps: int
    epochs: float
    samples: int
    cases: tuple[tuple[float, float], ...]

    def total(self, name: str) -> float:
        """A number of tokens a step over all processes: "tokens", "prompt", "written" or "injected"."""
        return sum(tree.count * _tokens(tree)[name] for tree in self.trees)


def _tokens(tree: Tree) -> dict[str, float]:
    written, injected = tree.rows * tree.written, tree.rows * tree.crops.placed
    return {"tokens": tree.tokens, "prompt": tree.tokens - written - injected, "written": written, "injected": injected}


def workload(settings: Sft | Grpo, planned: Planned, vision: Vision) -> Workload:
    """The numbers of a run.

    Args:
        settings: The run.
        planned: Sizes of its data.
        vision: The vision tower, which says how many tokens a picture is.
    """
    samples = settings.rollout.prompts if isinstance(settings, Grpo) else settings.samples
    images = planned.images if settings.data.images == -1 else settings.data.images
    run = settings.run
    steps = run.steps or max(1, -(-round(run.epochs * planned.samples) // samples))
    kinds = (
        (images, _pictures(1, planned.image_size, vision), planned.crops),
        (1 - images, _pictures(planned.slices, planned.slice_size, vision), planned.volume_crops),
    )
    trees = [
        _tree(settings, planned, share * samples, case, _crops(crops, planned, vision)) for share, case, crops in kinds if share
    ]
    shared = 1.0 if isinstance(settings, Grpo) else _shared(settings, planned)
    cases = tuple((share * planned.samples / shared * case.count, case.tokens) for share, case, _ in kinds if share)
    return Workload(tuple(trees), steps, steps * samples / planned.samples, samples, cases)


def _shared(settings: Sft, planned: Planned) -> float:
    return min(float(settings.together), planned.shared)


def _tree(settings: Sft | Grpo, planned: Planned, samples: float, case: Pictures, crops: Pictures) -> Tree:
    """Questions on one case share its pictures; responses to one question share all of the prompt."""
    response = planned.response + crops.placed
    if isinstance(settings, Grpo):
        prefix = case.placed + planned.text
        return Tree(samples, prefix, settings.rollout.samples, response, planned.response, case, crops)
    shared = _shared(settings, planned)
    return Tree(samples / shared, case.placed, shared, planned.text + response, planned.response, case, crops)


def _pictures(count: int, size: tuple[int, int], vision: Vision) -> Pictures:
    """Pictures of a size in pixels; sides are whole visual tokens, as in the model frame."""
    side = vision.patch * vision.merge
    tokens = max(1, round(size[0] / side)) * max(1, round(size[1] / side))
    return Pictures(count, tokens * vision.merge**2, tokens)


def _crops(count: float, planned: Planned, vision: Vision) -> Pictures:
    return Pictures(count, planned.crop_tokens * vision.merge**2, planned.crop_tokens)
