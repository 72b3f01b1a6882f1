"""Settings of supervised fine-tuning on grounded reasoning."""

from __future__ import annotations

from dataclasses import dataclass, field

from .shared import Cache, Data, Model, Optim, Run


@dataclass(frozen=True, slots=True)
class Sft:
    """A run of ``unireason train sft``.

    Attributes:
        model: What is trained.
        data: On what.
        optim: How weights are stepped.
        run: How long.
        cache: Pictures and features on disk.
        samples: Samples a step over all processes.
        together: Samples at most on one case that share its pictures in one step.
        sigma: Width in pixels of the bell over neighbouring numbers in place of a one-hot target; 0 for plain cross-entropy. Needs a
            tokenizer that has one token a whole number.
    """

    model: Model
    data: Data
    optim: Optim = field(default_factory=Optim)
    run: Run = field(default_factory=Run)
    cache: Cache = field(default_factory=Cache)
    samples: int = 64
    together: int = 4
    sigma: float = 0.0
