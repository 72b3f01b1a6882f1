"""Lines of a log as series of numbers: which stages there are, what each measured, and running means over gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: As in the log.
        lines: Its lines by step, in order; of two lines of one step the later.
    """

    name: str
    lines: tuple[Mapping[str, Any], ...]

    @property
    def last(self) -> int:
        """Its last step."""
        return int(self.lines[-1]["step"])


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One measured quantity in one stage.

    Attributes:
        stage: Name of the stage.
        label: What to call it.
        steps: int (n,), rising.
        values: float64 (n,); NaN where the value was not finite. At least one is finite.
        marked: True for evaluations, which are few and drawn as points.
    """

    stage: str
    label: str
    steps: NDArray[np.intp]
    values: Array
    marked: bool

    def smooth(self) -> Array:
        """The running mean, or the values themselves of an evaluation."""
        return self.values if self.marked else running(self.values)[0]


def stages(lines: Sequence[Mapping[str, Any]]) -> list[Stage]:
    """Stages in the order of their first line; none for an empty log."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for line in lines:
        # An evaluation may have a line of its own at a step that has one already.
        own = found.setdefault(str(line["stage"]), {}).setdefault(int(line["step"]), {})
        own.update(line)
    return [Stage(name, tuple(own[step] for step in sorted(own))) for name, own in found.items()]


def curves(run: Sequence[Stage], keys: Mapping[str, str]) -> list[Curve]:
    """Curves of all stages that measured something finite under the given names.

    Args:
        run: From :func:`stages`.
        keys: Names and their words; ``name*`` stands for all names that begin so, are not named themselves and are not 0 throughout.

    Returns:
        The curves of one name together, in the order of the names; empty if there are none.
    """
    present = list(dict.fromkeys(name for stage in run for line in stage.lines for name in line))
    found = []
    for key, words in keys.items():
        stem = key.removesuffix("*")
        open_ended = key != stem
        for name in (n for n in present if n == key or (open_ended and n.startswith(stem) and n not in keys)):
            label = words or name.removeprefix(stem).replace("_", " ")
            own = [curve for stage in run if (curve := _curve(stage, name, label)) is not None]
            if not open_ended or any(np.nan_to_num(c.values).any() for c in own):
                found += own
    return found


def _curve(stage: Stage, name: str, label: str) -> Curve | None:
    """One quantity of one stage; None if it was never finite."""
    steps = [int(line["step"]) for line in stage.lines if name in line]
    values = np.array([np.nan if line[name] is None else line[name] for line in stage.lines if name in line], np.float64)
    values[~np.isfinite(values)] = np.nan
    if not np.isfinite(values).any():
        return None
    return Curve(stage.name, label, np.array(steps, np.intp), values, name.startswith("eval_"))


def running(values: Array) -> tuple[Array, Array]:
    """Running mean and standard deviation over a window that grows with the length of the run.

    Args:
        values: (n,); NaN counts for nothing.

    Returns:
        Two arrays (n,). The window is centred, a twentieth of the run but at most 51 steps, and shrinks at both ends; without a finite
        value in it both are NaN.
    """
    half = min(25, len(values) // 40)
    finite = np.isfinite(values)
    clean = np.where(finite, values, 0.0)
    shift = clean.sum() / max(finite.sum(), 1)  # keeps the difference of squares exact
    clean = np.where(finite, clean - shift, 0.0)

    def windows(numbers: Array) -> Array:
        total = np.concatenate([[0.0], np.cumsum(numbers)])
        index = np.arange(len(numbers))
        summed: Array = total[np.minimum(index + half + 1, len(numbers))] - total[np.maximum(index - half, 0)]
        return summed

    count = windows(finite.astype(np.float64))
    count[count == 0] = np.nan
    mean = windows(clean) / count
    spread = np.sqrt(np.maximum(windows(clean**2) / count - mean**2, 0))
    return mean + shift, spread
