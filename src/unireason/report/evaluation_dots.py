"""Dots with intervals on a common axis, one drawing a row of a table, for the pages of evaluations."""

from __future__ import annotations

from collections.abc import Sequence

Ends = tuple[float, float]


def dot(
    value: float | None,
    narrow: Sequence[float] | None = None,
    wide: Sequence[float] | None = None,
    *,
    lines: Sequence[tuple[str, float]] = (),
    ends: Ends = (0.0, 1.0),
    tone: str = "",
) -> str:
    """A dot with up to two intervals.

    Args:
        value: Where the dot lies; None gives the empty axis.
        narrow: Interval drawn as a line; None for none.
        wide: Interval drawn as a band behind it; None for none.
        lines: Upright lines: their CSS class and their place.
        ends: Values at the left and at the right end. What lies beyond is drawn at the end.
        tone: A CSS class of the drawing.

    Returns:
        An SVG element that fills its cell.
    """

    def x(number: float) -> str:
        return f"{min(max(100 * (number - ends[0]) / (ends[1] - ends[0]), 0), 100):.2f}"

    marks = ['<path class="axis" d="M0 8H100"/>', *(f'<path class="{name}" d="M{x(at)} 0V16"/>' for name, at in lines)]
    if wide is not None:
        marks.append(f'<path class="band" d="M{x(wide[0])} 8H{x(wide[1])}"/>')
    if narrow is not None:
        low, high = x(narrow[0]), x(narrow[1])
        marks.append(f'<path class="whiskers" d="M{low} 8H{high}M{low} 5V11M{high} 5V11"/>')
    if value is not None:
        # A line of no length with round ends stays a circle however the drawing is stretched.
        marks.append(f'<path class="dot" d="M{x(value)} 8h0"/>')
    name = f' class="{tone}"' if tone else ""
    return f'<svg{name} viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">{"".join(marks)}</svg>'


def ticks(texts: Sequence[str]) -> str:
    """The numbers under or over a column of drawings, spread from its left to its right end."""
    return f'<span class="ticks" aria-hidden="true">{"".join(f"<i>{text}</i>" for text in texts)}</span>'
