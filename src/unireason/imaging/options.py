"""What a caller may say about a file that the file itself does not."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import FormatError
from unireason.types import Affine

from .limits import Limits


@dataclass(frozen=True, slots=True, eq=False)
class ReadOptions:
    """Keyword arguments of `read`.

    Attributes:
        modality: DICOM modality code ("CT", "MR", ...) that replaces what the file says.
        axes: Letters naming the axes of a bare array, slowest first: "zyx", "xyz", "yx", "yxc" (c = colour). None means
            "zyx", or "yx" for two axes. Only for arrays (npy, npz, numpy).
        spacing_mm: Voxel size along x, y (and z), for files that carry none (arrays, plain pictures).
        series: Which volume of a DICOM folder or file with several: its number or its words in the list that the error prints, or
            the SeriesInstanceUID.
        affine_lps: (4, 4) index to LPS millimetres of a bare volume, for the centres of voxels; its columns are the axes x, y, z that
            ``axes`` names. Of a nibabel affine: ``numpy.diag([-1, -1, 1, 1]) @ affine`` with ``axes="xyz"``.
        frame: Which frame of a 4-D volume, cine, enhanced DICOM file or multi-page picture, from 0.
        limits: Bounds on sizes.
    """

    modality: str | None = None
    axes: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    affine_lps: Affine | None = None
    series: str | int | None = None
    frame: int | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name, kind in (("modality", str), ("axes", str), ("series", str | int), ("limits", Limits)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise FormatError(f"{name} is {value!r}", f"a value of type {getattr(kind, '__name__', kind)}")
        if self.spacing_mm is not None:
            steps = _numbers(self.spacing_mm)
            if steps.size not in (2, 3) or not (np.isfinite(steps).all() and (steps > 0).all()):
                raise FormatError(f"spacing_mm is {self.spacing_mm}", "two or three positive numbers: x, y (and z)")
            object.__setattr__(self, "spacing_mm", tuple(float(s) for s in steps))
        if self.affine_lps is not None:
            values = _numbers(self.affine_lps)
            if np.shape(self.affine_lps) != (4, 4) or not np.isfinite(values).all() or list(values[12:]) != [0, 0, 0, 1]:
                raise FormatError("affine_lps cannot be used", "4 x 4 finite numbers, the last row 0, 0, 0, 1")
            if self.spacing_mm is not None:
                raise FormatError("both affine_lps and spacing_mm were given", "one of them: an affine tells the spacing")
            object.__setattr__(self, "affine_lps", values.reshape(4, 4))
        if self.frame is not None and (isinstance(self.frame, bool) or not isinstance(self.frame, int) or self.frame < 0):
            raise FormatError(f"frame is {self.frame!r}", "a whole number from 0")
        if self.modality is not None:
            object.__setattr__(self, "modality", self.modality.upper())

    @classmethod
    def of(cls, **values: Any) -> ReadOptions:
        """Options from keyword arguments.

        Raises:
            FormatError: If a name is unknown or a value cannot be used.
        """
        known = [item.name for item in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise FormatError(f"read() was given '{unknown[0]}'", f"one of {', '.join(known)}")
        return cls(**values)

    def pick(self, count: int, what: str) -> int:
        """The frame to take out of ``count``.

        Raises:
            FormatError: If there are several and none was chosen, or the chosen one does not exist.
        """
        if self.frame is None and count == 1:
            return 0
        if self.frame is None:
            raise FormatError(
                f"{what} holds {count} frames", "one image or one volume", f"choose one with frame=0 to frame={count - 1}"
            )
        if self.frame >= count:
            raise FormatError(f"frame {self.frame} of {what} was asked for", f"0 to {count - 1}")
        return self.frame


def _numbers(values: Any) -> NDArray[np.float64]:
    """Values as numbers; none of them if they are not."""
    try:
        return np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError):
        return np.empty(0)
