"""The course of a run in its folder: what it is, where it goes on, its log, its states, its best checkpoint.

A run can be killed at any moment. Started again with the same settings it goes on from the last state and ends with the same weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from unireason import __version__
from unireason.core.errors import FormatError, Interrupted, Stop, UniReasonError, postponed
from unireason.core.store import json_text, lock_folder, write_bytes
from unireason.core.types import Scored

from . import run_state
from .config import Optim
from .config_file import resolved
from .log import MetricsLog

if TYPE_CHECKING:
    from .context import Learner


# --- Who is told what a run does: the trainers call a watcher, and know nothing of progress bars, pages and pictures.


class TrainWatcher(Protocol):
    """What a trainer tells while it goes on. Every process has one; only the main one should show anything."""

    def begun(self, facts: str) -> None:
        """Called once when everything is loaded, with device, weights and samples in words."""

    def step(self, stage: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """Called after every optimiser step, when its line is in the log.

        Args:
            stage: What kind of step, such as "sft" or "grpo".
            step: Steps done, from 1.
            total: Steps in all.
            values: What was measured; names that begin with ``eval_`` come from an evaluation after this step.
        """

    def resumed(self, stage: str, step: int, total: int, remark: str) -> None:
        """Called once if the run goes on from a saved state; the remark says what a person should know, or is ""."""

    def skipped(self, case: str, reason: str) -> None:
        """Called for a case that cannot be read and is left out."""

    def traces(self, step: int, scored: Sequence[Scored]) -> None:
        """Called with responses of a step to look at, those of one group in a row; none is allowed."""

    def done(self, checkpoint: Path) -> None:
        """Called once at the end, with the folder of the finished checkpoint."""


class Silent:
    """A watcher that does nothing."""

    def begun(self, facts: str) -> None:
        """Does nothing."""

    def step(self, stage: str, step: int, total: int, values: Mapping[str, float]) -> None:
        """Does nothing."""

    def resumed(self, stage: str, step: int, total: int, remark: str) -> None:
        """Does nothing."""

    def skipped(self, case: str, reason: str) -> None:
        """Does nothing."""

    def traces(self, step: int, scored: Sequence[Scored]) -> None:
        """Does nothing."""

    def done(self, checkpoint: Path) -> None:
        """Does nothing."""


# --- Learning rates and optimiser steps.


def make(parameters: Mapping[str, nn.Parameter], optim: Optim) -> list[torch.optim.Optimizer]:
    """The optimisers of a run.

    Source: AdamW, arXiv 1711.05101; Muon, arXiv 2502.16982.
    """
    matrices = {n for n, p in parameters.items() if optim.matrices == "muon" and p.ndim == 2 and ".layers." in n}
    others = [p for n, p in parameters.items() if n not in matrices]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(
            torch.optim.Muon(
                [p for n, p in parameters.items() if n in matrices],
                lr=2 * optim.rate,
                weight_decay=optim.decay,
                momentum=0.95,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if others:
        made.append(torch.optim.AdamW(others, lr=optim.rate, betas=optim.betas, weight_decay=optim.decay))
    for group in (g for o in made for g in o.param_groups):
        group["peak"] = group["lr"]
    return made


def share(optim: Optim, step: int, total: int) -> float:
    """Share of the peak rate at a step, counted from 1 to ``total``: a linear rise, then the schedule."""
    warm = math.ceil(optim.warmup * total)
    if step <= warm:
        return step / warm
    if optim.schedule == "constant":
        return 1.0
    done = (step - warm) / max(1, total - warm)
    return optim.floor + (1 - optim.floor) * 0.5 * (1 + math.cos(math.pi * done))


def advance(optimizers: Sequence[torch.optim.Optimizer], *, rate: float, clip: float) -> float:
    """Step all optimisers and clear the gradients."""
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


# --- The folder of a run.


STOPPING = "the run ends behind this step and saves it; a second Ctrl-C ends it at once and loses the step"
"""What a person is told who asks a run to end."""
RUN, BEST, STATES = "run.json", "best.json", "state"
_FREE = (
    ("cache",),
    ("traces_every",),
    ("data", "roots"),
    *(("run", name) for name in ("steps", "epochs", "save_every", "threads", "device", "sharding")),
)
"""Settings that may change between the parts of a run: where things lie, what is kept, how weights are spread, and how long the run is. A
run that is made longer or shorter follows the schedule of its new length from there on."""


class Course:
    """A run that goes on; a context manager, inside which Ctrl-C and SIGTERM wait for the end of the step."""

    def __init__(self, learner: Learner, stage: str, total: int) -> None:
        """Open a run folder: a new run, or one that goes on, which the watcher is told."""
        self._learner, self._stage, self._total = learner, stage, total
        self._signals, self._stop = ExitStack(), Stop()
        busy = f"another process trains in '{learner.out}'"
        self._lock = lock_folder(learner.out, busy) if learner.crew.main else None
        try:
            table = _described(learner)
            self._hash = hashlib.sha256(json_text(_bound(table), sort_keys=True).encode()).hexdigest()
            self._begin(table | {"sha256": self._hash})
            self.done = self._restored()
            self._journal = MetricsLog(learner.out, {stage: self.done}, active=learner.crew.main)
        except BaseException:
            self._unlock()
            raise

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log a step, tell the watcher, save a state when it is time, and end the run if a process was asked to end."""
        learner, total = self._learner, self._total
        if learner.crew.main:
            told = {**values, "skipped": float(len(learner.skips.seen))}
            self._journal.write(self._stage, step, told)
            learner.watch.step(self._stage, step, total, told)
        stop = int(learner.crew.largest([self._stop.number])[0])
        if stop or step == total or step % learner.settings.run.save_every == 0:
            [skipped] = learner.crew.sums([float(len(learner.skips.seen))])
            counters = {"skipped": int(skipped), "total": total, "processes": learner.crew.world}
            progress, crew = run_state.Progress(step, self._hash, counters), learner.crew
            saved = run_state.save(
                learner.out / STATES,
                progress,
                learner.trained,
                learner.optimizers,
                rank=crew.rank,
                world=crew.world,
                barrier=crew.barrier,
            )
        if stop:
            raise Interrupted(stop, f"step {step} of {total} is saved in '{saved}'; the same command goes on from there")

    def best(self, step: int, score: float) -> None:
        """Keep the weights as ``best`` if no evaluation so far scored higher."""
        if not math.isfinite(score):
            raise UniReasonError(
                f"the evaluation behind step {step} scored {score}", "a finite number", "lower the learning rate"
            )
        learner, path = self._learner, self._learner.out / BEST
        known = _read(path) if path.exists() else {}
        if known and known["step"] < step and known["score"] >= score:
            return
        learner.export("best")
        if learner.crew.main:
            write_bytes(path, (json_text({"step": step, "score": score}) + "\n").encode())
        learner.crew.barrier()

    def __enter__(self) -> Course:
        self._stop = self._signals.enter_context(postponed(STOPPING if self._learner.crew.main else ""))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._journal.close()
        self._unlock()
        self._signals.__exit__(kind, error, trace)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _begin(self, table: dict[str, Any]) -> None:
        """Note what the run is, or check that it is the same."""
        learner, path = self._learner, self._learner.out / RUN
        learner.crew.barrier()
        if path.exists():
            noted = _read(path)
            changed = ", ".join(_changed(_bound(noted), _bound(table)))
            if changed:
                raise FormatError(
                    f"{learner.out} holds a run with other settings ({changed})", "the same settings", "take an empty folder"
                )
            self._hash = str(noted.get("sha256"))  # by which its states know it, whatever an earlier version put into it
        elif learner.crew.main:
            write_bytes(path, (json_text(table, indent=2, sort_keys=True) + "\n").encode())
        learner.crew.barrier()

    def _restored(self) -> int:
        learner = self._learner
        found = run_state.latest(learner.out / STATES)
        if found is None:
            return 0
        progress = run_state.restore(found, learner.trained, learner.optimizers, settings=self._hash)
        if learner.crew.main:
            learner.watch.resumed(self._stage, progress.step, self._total, self._jump(progress))
        return progress.step

    def _jump(self, progress: run_state.Progress) -> str:
        """What is to be said if the run has another length, or other processes, than when its state was saved; else ""."""
        step, total, optim = progress.step, self._total, self._learner.settings.optim
        before, now = progress.counters.get("processes", 0), self._learner.crew.world
        remarks = []
        if before and before != now:
            remarks.append(
                f"its state is of {before} process{'es' * (before > 1)} and {now} go on: the same samples, other rounding"
            )
        before = progress.counters.get("total", total)
        if step < total and before != total:
            rates = [
                optim.rate * share(optim, min(n, of), of) for n, of in ((step, before), (step + 1, before), (step + 1, total))
            ]
            if not math.isclose(rates[1], rates[2]):
                remarks.append(
                    f"the learning rate jumps from {rates[0]:.3g} at step {step} to {rates[2]:.3g} at step {step + 1}, for its schedule "
                    f"is that of {total} steps now and was that of {before}"
                )
        return "; ".join(remarks)


def _described(learner: Learner) -> dict[str, Any]:
    """What a run is: settings, data, start, versions."""
    return {
        "settings": resolved(learner.settings),
        "data": [d.manifest.get("content_sha256", "") for d in learner.cases.datasets],
        "start": learner.checkpoint.sha256,
        "profile": learner.checkpoint.profile.sha256,
        "grounding": learner.checkpoint.grounding.sha256,
        "seed": learner.settings.run.seed,
        "processes": learner.crew.world,
        "versions": {**learner.checkpoint.versions, "unireason": __version__, "python": platform.python_version()},
    }


def _bound(table: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a description that must not change."""
    bound: dict[str, Any] = json.loads(
        json_text({k: table.get(k, {}) for k in ("settings", "data", "start", "profile", "grounding")})
    )
    for *within, name in _FREE:
        place = bound["settings"]
        for key in within:
            place = place.get(key, {})
        place.pop(name, None)
    return bound


def _changed(old: Any, new: Any, name: str = "") -> list[str]:
    """Names of what differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [n for k in keys for n in _changed(old.get(k), new.get(k), f"{name}.{k}".lstrip("."))]
    return [] if old == new else [name.removeprefix("settings.")]


def _read(path: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UniReasonError(f"{path} cannot be read ({error})", "the file that the run wrote", "take an empty folder") from error
    return table
