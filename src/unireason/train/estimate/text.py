"""An estimate as lines for people."""

from __future__ import annotations

from collections.abc import Mapping

from unireason.train.settings.planned import Planned

from .plan import Estimate

_OPERATIONS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"))


def lines(estimate: Estimate, planned: Planned, *, origin: str) -> list[str]:
    """What ``unireason plan`` prints.

    Args:
        estimate: The estimate.
        planned: Sizes of the data it was made for.
        origin: Where these come from, e.g. "assumed".
    """
    e = estimate
    counted, seconds = sum(e.operations.values()), sum(e.seconds.values())
    unit = "samples" if e.kind == "sft" else "questions"
    tokens = {name: f"{_count(value)} {name}" for name, value in e.tokens.items() if name != "tokens"}
    total = e.steps * seconds / 3600
    out = [
        f"{e.kind.upper()} of {e.shape.name}: {_count(e.shape.parameters)} weights, {_count(e.trained)} of them learn, on {device(e)}",
        f"data ({origin}): {_count(planned.samples)} {unit} an epoch, {_percent(planned.images)} of images",
        f"step: {e.samples} {unit}, {_count(e.tokens['tokens'])} tokens ({', '.join(tokens.values())}), "
        f"{operations(counted)}, {_time(seconds)} ({_shares(e.seconds)})",
        f"run: {e.steps:,} steps, {_count(e.steps * e.tokens['tokens'])} tokens, {operations(e.steps * counted)}, {_time(3600 * total)}"
        + (f", {total * e.machine.count:,.1f} device hours" if e.machine.count > 1 else ""),
        f"memory of a device: {_gigabytes(e.bytes)} of {e.machine.gigabytes:.1f} GB "
        f"({', '.join(f'{name} {_gigabytes(value)}' for name, value in e.memory.items())}): {'fits' if e.fits else 'DOES NOT FIT'}",
    ]
    if e.cache:
        out.append(f"visual features of all cases: {_gigabytes(e.cache)}; the disk cache holds what 'cache.gigabytes' says")
    if e.loading:
        out.append(f"memory of the host while the processes load: {_gigabytes(e.loading)}")
    return out


def device(estimate: Estimate) -> str:
    """The machine in words."""
    m = estimate.machine
    return f"{m.count} x {m.name} ({m.teraflops:g} TFLOPS, {_percent(m.utilisation)} of them reached)"


def operations(value: float) -> str:
    """A number of operations, such as "3.1 PFLOP"."""
    size, letter = next(((s, n) for s, n in _OPERATIONS if value >= s), (1e6, "M"))
    return f"{value / size:.3g} {letter}FLOP"


def _shares(parts: Mapping[str, float]) -> str:
    total = sum(parts.values())
    return ", ".join(f"{name} {_percent(value / total)}" for name, value in parts.items() if value / total >= 0.005)


def _count(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e4, "K")):
        if value >= size:
            return f"{value / (1e3 if letter == 'K' else size):,.3g}{letter}" if letter != "K" else f"{value / 1e3:,.0f}K"
    return f"{value:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _gigabytes(value: float) -> str:
    return f"{value / 1e9:.1f} GB" if value >= 5e7 else f"{value / 1e6:.0f} MB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
