"""Boxes with their numbers as SVG, for pictures on cards."""

from __future__ import annotations

from collections.abc import Sequence

from .markup import escape


def mark(number: int, label: str, corners: Sequence[float], factors: tuple[float, float], *, tone: int) -> str:
    """A box with its number, as a group in the tone of its look.

    Args:
        number: What stands on it.
        label: Its title; any text.
        corners: (x1, y1, x2, y2) in pixels of the model frame.
        factors: From model pixels to the drawing along x and y; the drawing is about 100 units wide.
        tone: Index of its colour.
    """
    x1, y1, x2, y2 = (v * f for v, f in zip(corners, (*factors, *factors), strict=True))
    rect = f'x="{x1:.2f}" y="{y1:.2f}" width="{max(x2 - x1, 0):.2f}" height="{max(y2 - y1, 0):.2f}"'
    top = y1 - 6.2 if y1 >= 6.2 else y1
    tag = (
        f'<rect class="tagback" x="{x1:.2f}" y="{top:.2f}" width="5.6" height="5.6" rx="1"/>'
        f'<text x="{x1 + 2.8:.2f}" y="{top + 4.3:.2f}">{number}</text>'
    )
    title = f"<title>{escape(label)}</title>"
    return f'<g class="box tone-{tone}">{title}<rect class="halo" {rect}/><rect class="line" {rect}/>{tag}</g>'
