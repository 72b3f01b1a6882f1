"""Optimisers, their learning rate and their steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from unireason.core.errors import UniReasonError

from .config import Optim


def make_optimizers(parameters: Mapping[str, nn.Parameter], optim: Optim) -> list[torch.optim.Optimizer]:
    """The optimisers of a run.

    Source: AdamW, arXiv 1711.05101; Muon, arXiv 2502.16982.
    """
    matrices = {n for n, p in parameters.items() if optim.optimizer == "muon" and p.ndim == 2 and ".layers." in n}
    others = [p for n, p in parameters.items() if n not in matrices]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(
            torch.optim.Muon(
                [p for n, p in parameters.items() if n in matrices],
                lr=2 * optim.lr,
                weight_decay=optim.weight_decay,
                momentum=0.95,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if others:
        made.append(torch.optim.AdamW(others, lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay))
    for group in (g for o in made for g in o.param_groups):
        group["peak"] = group["lr"]
    return made


def lr_share(optim: Optim, step: int, total: int) -> float:
    """Share of the peak rate at a step, counted from 1 to ``total``: a linear rise, then the schedule."""
    warm = math.ceil(optim.warmup * total)
    if step <= warm:
        return step / warm
    if optim.schedule == "constant":
        return 1.0
    done = (step - warm) / max(1, total - warm)
    return optim.min_lr_ratio + (1 - optim.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * done))


def advance(optimizers: Sequence[torch.optim.Optimizer], *, rate: float, clip: float) -> float:
    """Clip the gradients, step all optimisers at a share of their peak rate, clear the gradients; returns the norm before clipping."""
    parameters = [p for o in optimizers for g in o.param_groups for p in g["params"]]
    found = torch.nn.utils.clip_grad_norm_(parameters, clip or math.inf)
    norm = float(found.full_tensor() if hasattr(found, "full_tensor") else found)
    if not math.isfinite(norm):
        raise UniReasonError(
            f"the gradient has the norm {norm}", "a finite number", "lower the learning rate, or look for broken samples"
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return norm
