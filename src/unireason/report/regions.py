"""Outlined regions with what was measured of them, as JSON and as words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unireason.engine.pointing import Marked
from unireason.metrics.regions import RegionStatistics, region_statistics
from unireason.types import Case


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One outlined place of a trace.

    Attributes:
        marked: The place and its mask.
        statistics: What was measured of the mask.
        file: Name of the file that holds the mask; "" if none was written.
    """

    marked: Marked
    statistics: RegionStatistics
    file: str = ""


def measured(marked: Sequence[Marked], case: Case) -> list[Region]:
    """Measure every mask.

    Raises:
        FormatError: If a mask does not lie on the grid of the case.
    """
    return [Region(one, region_statistics(one.segmentation.mask, case)) for one in marked]


def region_json(region: Region) -> dict[str, Any]:
    """A region as plain JSON values, without its mask.

    Returns:
        ``look`` (0 for an answer), ``label``, ``mask`` (file name or None), ``score``, ``gaps``, ``notes``, ``statistics``.
    """
    found = region.marked.segmentation
    return {
        "look": region.marked.look,
        "label": region.marked.label,
        "mask": region.file or None,
        "score": found.score,
        "gaps": list(found.gaps),
        "notes": list(found.notes),
        "statistics": dict(region.statistics),
    }


def region_name(region: Region) -> str:
    """What an outline is called: the region of a look, which need not hold what the look was for, or the answer."""
    marked = region.marked
    if not marked.look:
        return marked.label
    return f"region of look {marked.look}" + (f" ({marked.label})" if marked.label else "")


def expert_score(region: Region) -> str:
    """The expert's own score of its outline in words; it says how well the outline fits the picture, not what lies there."""
    return f"the expert's own score {region.marked.segmentation.score:.2f}"


def words(region: Region, case: Case) -> list[str]:
    """What was measured, a few words each: size, longest line, mean value.

    Args:
        region: The region.
        case: Its case, for the unit of values.
    """
    found = region.statistics
    if not found["voxels"]:
        return ["nothing was found"]
    unit = "voxels" if case.kind == "volume" else "pixels"
    said = [f"{found['voxels']:,} {unit}"]
    if found["volume_ml"] is not None:
        said.append(f"{found['volume_ml']:,.3g} ml")
    if found["area_mm2"] is not None:
        said.append(f"{found['area_mm2']:,.4g} mm\u00b2")
    length, step = found["diameter_mm"], "mm"
    if length is None:
        length, step = found["diameter_voxels"], unit
    said.append(f"{length:.1f} {step} across")
    if found["mean"] is not None:
        said.append(f"mean {found['mean']:.1f}{' HU' if case.modality == 'CT' else ''}")
    return said
