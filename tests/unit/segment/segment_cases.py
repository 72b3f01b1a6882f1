"""Drawn images and volumes with known structures, and their cases."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.types import Box2D, Box3D, Case, Geometry, Source

Array = NDArray[Any]


def image(pixels: Array, spacing_mm: tuple[float, float] | None = None) -> Case:
    shape = pixels.shape[:2]
    geometry = Geometry(shape, shape[::-1], (0, 1), (False, False), spacing_mm=spacing_mm)
    return Case(pixels, "image", geometry, "", Source("drawn", "array", ""))


def volume(pixels: Array, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Case:
    shape = pixels.shape[:3]
    geometry = Geometry(shape, shape[::-1], (0, 1, 2), (False,) * 3, spacing_mm=spacing_mm)
    return Case(pixels, "volume", geometry, "CT", Source("drawn", "array", ""))


def ellipse(shape: tuple[int, ...], centre: tuple[float, ...], half: tuple[float, ...]) -> NDArray[np.bool_]:
    """Mask of an ellipse or ellipsoid; everything slowest axis first."""
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    total: Array = sum(((a + 0.5 - c) / h) ** 2 for a, c, h in zip(axes, centre, half, strict=True))
    return total <= 1


def painted(mask: NDArray[np.bool_], *, contrast: float = 100.0, noise: float = 15.0, seed: int = 0) -> Array:
    """float32: noise, brighter inside."""
    values = np.random.default_rng(seed).normal(0, noise, mask.shape) + contrast * mask
    return values.astype(np.float32)


def box_of(mask: NDArray[np.bool_], shift: float = 0.0) -> Box2D | Box3D:
    """The box around a mask, moved by a share of its sides."""
    where = np.argwhere(mask)
    low, high = where.min(axis=0).astype(float), where.max(axis=0) + 1.0
    move = shift * (high - low)
    numbers = [float(v) for v in (*(low + move)[::-1], *(high + move)[::-1])]
    return Box2D(*numbers) if mask.ndim == 2 else Box3D(*numbers)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
