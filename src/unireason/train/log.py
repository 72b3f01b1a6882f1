"""The log of a run: one JSON line a step in ``log.jsonl``, the same numbers for TensorBoard.

A run that was killed repeats the steps behind its last saved state. Their lines are dropped when it goes on, so that its log is that
of an uninterrupted run, times apart. It knows neither trainers nor pictures of curves; what is to be shown is told to a watcher.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text, write_bytes
from unireason.core.types import Scored

LOG, BOARD = "log.jsonl", "tensorboard"
RESERVED = ("stage", "step", "time", "not_finite")
"""Keys that the journal writes itself."""
OLD_KEYS = {
    "rate": "lr",
    "gradient": "grad_norm",
    "overflow": "clipped_ratio",
    "zero_advantage": "frac_reward_zero_std",
    "clipped_low": "clip_ratio_low",
    "clipped_high": "clip_ratio_high",
}
"""What values were called before; for this release other readers of the file find them by both names."""


class MetricsLog:
    """Writes the log of one run; also a context manager, which closes it."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        start_step: int | Mapping[str, int] = 0,
        tensorboard: bool = True,
        *,
        active: bool = True,
    ) -> None:
        self.folder, self._start, self._active = Path(folder), start_step, active
        self._boards: dict[str, Any] | None = {} if tensorboard and active else None
        self._file: Any = None
        if not active:
            return
        path = self.folder / LOG
        lines, whole = _parse(path)
        kept = [line for line in lines if self._keeps(line)]
        if not whole or len(kept) < len(lines):
            write_bytes(path, "".join(_text(line) for line in kept).encode())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Appends one line."""
        if not self._active:
            return
        taken = sorted(set(values) & set(RESERVED))
        if taken:
            raise FormatError(f"values of a step are called {', '.join(taken)}", "other names: the log uses these itself")
        numbers = {name: value if isinstance(value, int) else float(value) for name, value in values.items()}
        lost = [name for name, value in numbers.items() if not math.isfinite(value)]
        line = {"stage": stage, "step": step, "time": round(time.time(), 2)}
        line |= {name: None if name in lost else value for name, value in numbers.items()}
        line |= {"not_finite": lost} if lost else {}
        try:
            self._append(_text(line).encode())
            if self._boards is not None:
                board = self._board(stage)
                for name, value in numbers.items():
                    board.add_scalar(name, value, step)
                board.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Ends the log; a second call does nothing."""
        boards, self._boards = self._boards or {}, None
        file, self._file, self._active = self._file, None, False
        try:
            if file is not None:
                file.close()
            for board in boards.values():
                board.close()
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _keeps(self, line: Mapping[str, Any]) -> bool:
        if isinstance(self._start, Mapping):
            if line["stage"] not in self._start:
                return True
            start = self._start[line["stage"]]
        else:
            start = self._start
        return bool(0 < start >= line["step"])

    def _append(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) :]

    def _board(self, stage: str) -> Any:
        """The TensorBoard writer of a stage, a folder each; readers hide what an earlier process wrote behind the start."""
        assert self._boards is not None
        if stage not in self._boards:
            from torch.utils.tensorboard import SummaryWriter

            start = self._start.get(stage) if isinstance(self._start, Mapping) else self._start
            purge = None if start is None else start + 1 if start else 0
            self._boards[stage] = SummaryWriter(str(self.folder / BOARD / stage), purge_step=purge)
        return self._boards[stage]

    def _unwritable(self, error: OSError) -> UniReasonError:
        reason = error.strerror or type(error).__name__
        return UniReasonError(
            f"the log of the run in '{self.folder}' cannot be written ({reason})",
            "a folder with room for it",
            "make room and start the same command again: the run goes on from its last saved state",
        )


def read(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a run's log in the order they were written.

    Args:
        folder: Run folder.

    Returns:
        One mapping a line: ``stage``, ``step``, ``time`` (seconds since 1970), then the values; None where one was not finite. A last
        line that was cut off is left out; without a log the list is empty.

    Raises:
        UniReasonError: The log cannot be read.
        FormatError: A line other than the last is broken.
    """
    return _parse(Path(folder) / LOG)[0]


def _parse(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """Lines of a log, and whether its end is whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], True
    except OSError as error:
        raise UniReasonError(f"'{path}' cannot be read ({error.strerror})", "", "check that it may be read") from error
    *texts, rest = data.split(b"\n")
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(texts, start=1):
        line = _line(text)
        if line is None:
            raise FormatError(f"line {number} of '{path}' is no line of a log", "a JSON object with stage and step", "remove it")
        lines.append(line)
    return lines, not rest


def _line(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    if not isinstance(line, dict) or not isinstance(line.get("step"), int) or "stage" not in line:
        return None
    named: dict[str, Any] = {OLD_KEYS.get(str(name), str(name)): value for name, value in line.items()}
    return named


def _text(line: Mapping[str, Any]) -> str:
    twins = {old: line[new] for old, new in OLD_KEYS.items() if new in line}
    return json_text({**line, **twins}) + "\n"


# --- Who is told what a run does: the trainers call a watcher, and know nothing of progress bars, pages and pictures.


class TrainWatcher:
    """What a trainer tells while it goes on; this one shows nothing. Every process has one; only the main one should show anything."""

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
