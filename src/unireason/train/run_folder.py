"""A run in its folder: what it is, where it goes on, its log, its states, its best checkpoint.

A run can be killed at any moment. Started again with the same settings it goes on from the last state and ends with the same weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from unireason import __version__
from unireason.core.config import renamed, resolved, to_toml
from unireason.core.errors import FormatError, Interrupted, Stop, UniReasonError, postponed
from unireason.core.store import json_text, lock_folder, write_bytes

from . import run_state
from .context import TrainContext
from .log import MetricsLog
from .optim import lr_share

STOPPING = "the run ends behind this step and saves it; a second Ctrl-C ends it at once and loses the step"
"""What a person is told who asks a run to end."""
RUN, CONFIG, BEST, STATES = "run.json", "config.toml", "best.json", "state"
_FREE = (
    ("cache",),
    ("traces_every",),
    ("data", "roots"),
    *(("run", name) for name in ("steps", "epochs", "save_every", "threads", "device", "sharding")),
)
"""Settings that may change between the parts of a run: where things lie, what is kept, how weights are spread, and how long the run is. A
run that is made longer or shorter follows the schedule of its new length from there on."""


class RunFolder:
    """A run in its folder, new or gone on with; a context manager, inside which Ctrl-C and SIGTERM wait for the end of the step."""

    def __init__(self, context: TrainContext, stage: str, total: int) -> None:
        """Open the folder. Weights and optimisers go on from its last state, which the watcher is told."""
        self._context, self._stage, self._total = context, stage, total
        self._signals, self._stop = ExitStack(), Stop()
        self.questions: dict[str, list[float]] = {}
        """What the loop remembers of single questions; saved with every state."""
        busy = f"another process trains in '{context.out}'"
        self._lock = lock_folder(context.out, busy) if context.crew.main else None
        try:
            self._hash = self._begin()
            self.done = self._restored()
            self._journal = MetricsLog(context.out, {stage: self.done}, active=context.crew.main)
        except BaseException:
            self._unlock()
            raise

    def _begin(self) -> str:
        """Note what the run is, or check that it is the same; returns the hash by which its states know it."""
        context, path = self._context, self._context.out / RUN
        table = {
            "settings": resolved(context.settings),
            "data": [d.manifest.get("content_sha256", "") for d in context.cases.datasets],
            "start": context.checkpoint.sha256,
            "profile": context.checkpoint.profile.sha256,
            "grounding": context.checkpoint.grounding.sha256,
            "seed": context.settings.run.seed,
            "processes": context.crew.world,
            "versions": {**context.checkpoint.versions, "unireason": __version__, "python": platform.python_version()},
        }
        summed = hashlib.sha256(json_text(_bound(table), sort_keys=True).encode()).hexdigest()
        context.crew.barrier()
        if path.exists():
            noted = _read(path)
            noted["settings"] = renamed(type(context.settings), noted.get("settings", {}), told=False)
            changed = ", ".join(_changed(_bound(noted), _bound(table)))
            if changed:
                raise FormatError(
                    f"{context.out} holds a run with other settings ({changed})", "the same settings", "take an empty folder"
                )
            summed = str(noted.get("sha256"))  # whatever an earlier version put into it
        elif context.crew.main:
            write_bytes(path, (json_text({**table, "sha256": summed}, indent=2, sort_keys=True) + "\n").encode())
            again = shlex.join(["unireason", "train", self._stage, "--config", str(context.out / CONFIG), "--out"])
            write_bytes(context.out / CONFIG, f"# The same run again: {again} FOLDER\n{to_toml(context.settings)}".encode())
        context.crew.barrier()
        return summed

    def _restored(self) -> int:
        """Steps that are done."""
        context, total, optim = self._context, self._total, self._context.settings.optim
        found = run_state.latest(context.out / STATES)
        if found is None:
            return 0
        progress = run_state.restore(found, context.trained, context.optimizers, settings=self._hash)
        self.questions = {name: list(numbers) for name, numbers in progress.questions.items()}
        step, remarks = progress.step, []
        before, now = progress.counters.get("processes", 0), context.crew.world
        if before and before != now:
            remarks.append(
                f"its state is of {before} process{'es' * (before > 1)} and {now} go on: the same samples, other rounding"
            )
        before = progress.counters.get("total", total)
        if step < total and before != total:
            moments = ((step, before), (step + 1, before), (step + 1, total))
            rates = [optim.lr * lr_share(optim, min(n, of), of) for n, of in moments]
            if not math.isclose(rates[1], rates[2]):
                remarks.append(
                    f"the learning rate jumps from {rates[0]:.3g} at step {step} to {rates[2]:.3g} at step {step + 1}, for its schedule "
                    f"is that of {total} steps now and was that of {before}"
                )
        if context.crew.main:
            context.watch.resumed(self._stage, step, total, "; ".join(remarks))
        return step

    def end_step(self, step: int, values: Mapping[str, float]) -> None:
        """Log a step, tell the watcher, save a state when it is time, and end the run if a process was asked to end."""
        context, crew, total = self._context, self._context.crew, self._total
        if crew.main:
            told = {**values, "skipped": float(len(context.skips.seen))}
            self._journal.write(self._stage, step, told)
            context.watch.step(self._stage, step, total, told)
        stop = int(crew.largest([self._stop.number])[0])
        if stop or step == total or step % context.settings.run.save_every == 0:
            [skipped] = crew.sums([float(len(context.skips.seen))])
            saved = run_state.save(
                context.out / STATES,
                run_state.Progress(
                    step, self._hash, {"skipped": int(skipped), "total": total, "processes": crew.world}, self.questions
                ),
                context.trained,
                context.optimizers,
                rank=crew.rank,
                world=crew.world,
                barrier=crew.barrier,
            )
        if stop:
            raise Interrupted(stop, f"step {step} of {total} is saved in '{saved}'; the same command goes on from there")

    def keep_best(self, step: int, score: float) -> None:
        """Keep the weights as ``best`` if no evaluation so far scored higher."""
        if not math.isfinite(score):
            raise UniReasonError(
                f"the evaluation behind step {step} scored {score}", "a finite number", "lower the learning rate"
            )
        context, path = self._context, self._context.out / BEST
        known = _read(path) if path.exists() else {}
        if known and known["step"] < step and known["score"] >= score:
            return
        context.export("best")
        if context.crew.main:
            write_bytes(path, (json_text({"step": step, "score": score}) + "\n").encode())
        context.crew.barrier()

    def __enter__(self) -> RunFolder:
        self._stop = self._signals.enter_context(postponed(STOPPING if self._context.crew.main else ""))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._journal.close()
        self._unlock()
        self._signals.__exit__(kind, error, trace)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()


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
