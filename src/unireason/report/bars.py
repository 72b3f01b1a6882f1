"""Bars of shares with intervals and the line of chance, and shares as words; shared by the pages that show scores."""

from __future__ import annotations

from typing import Any


def bar(value: Any, interval: Any = None, chance: Any = None) -> str:
    """A bar from 0 to 100% with the whiskers of its interval and the line of chance.

    Args:
        value: A share from 0 to 1; anything else gives "".
        interval: Two shares; anything else leaves the whiskers out.
        chance: A share; anything else leaves the line out.

    Returns:
        An SVG element.
    """
    if not is_share(value):
        return ""
    marks = f'<rect class="rail" width="100" height="16"/><rect class="bar" y="3" width="{100 * value:.2f}" height="10"/>'
    if is_pair(interval):
        low, high = (100 * float(v) for v in interval)
        marks += f'<path class="whiskers" d="M{low:.2f} 8H{high:.2f}M{low:.2f} 4V12M{high:.2f} 4V12"/>'
    if is_share(chance):
        marks += f'<path class="chance" d="M{100 * chance:.2f} 0V16"/>'
    return f'<svg viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">{marks}</svg>'


def is_share(value: Any) -> bool:
    """True for a number from 0 to 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def is_pair(value: Any) -> bool:
    """True for two shares."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(is_share(v) for v in value)


def percent(value: Any, decimals: int = 0) -> str:
    """A share in percent; a dash for anything else."""
    return f"{100 * value:.{decimals}f}%" if is_share(value) else "\u2013"


def interval_text(value: Any, decimals: int = 0) -> str:
    """Two shares as a range in percent; "" for anything else."""
    return f"{100 * value[0]:.{decimals}f}\u2013{100 * value[1]:.{decimals}f}%" if is_pair(value) else ""
