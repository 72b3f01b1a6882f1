from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging_samples import ramp, write_nifti

import unireason.imaging as imaging
from unireason.core.errors import GeometryError
from unireason.core.types import Box2D, Box3D, Frame, Geometry
from unireason.imaging import geometry as geo

AXIS_CODES = [
    tuple("RL"[f] if a == 0 else "AP"[f] if a == 1 else "SI"[f] for a, f in zip(order, flips, strict=True))
    for order in permutations(range(3))
    for flips in product((0, 1), repeat=3)
]


def affine_ras_of(codes: tuple[str, ...], sizes: tuple[int, int, int]) -> np.ndarray:
    """Axis codes to a RAS affine with spacing 1.5, 2, 3 along i, j, k and an arbitrary origin."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (code, spacing) in enumerate(zip(codes, (1.5, 2.0, 3.0), strict=True)):
        row = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[code]
        affine[row, column] = spacing * (1 if code in "RAS" else -1)
    affine[:3, 3] = [10.0, -20.0, 30.0]
    return affine


@pytest.mark.parametrize("codes", AXIS_CODES, ids="".join)
def test_all_48_axis_codes_land_at_one_place(codes: tuple[str, ...], tmp_path: Path) -> None:
    sizes = (4, 5, 6)
    affine = affine_ras_of(codes, sizes)
    stored = np.zeros(sizes[::-1], np.int16)
    stored[4, 1, 3] = 7  # k, j, i
    case = imaging.read(write_nifti(tmp_path / "a.nii", stored, affine))
    landmark_ras = affine @ [3, 1, 4, 1]
    assert len(AXIS_CODES) == 48
    # Canonical: x grows to the left, y to the back, z to the head, whatever the file's axes were.
    z, y, x = (int(n[0]) for n in np.nonzero(case.pixels == 7))
    corners = np.array([affine @ [i, j, k, 1] for i in (0, 3) for j in (0, 4) for k in (0, 5)])[:, :3] * [-1, -1, 1]
    spacing = np.array(case.geometry.spacing_mm)
    expected = (landmark_ras[:3] * [-1, -1, 1] - corners.min(0)) / spacing
    assert [x, y, z] == pytest.approx(expected.tolist())
    # And the middle of the voxel maps to the file's own index and to the same millimetres.
    voxel = geo.canonical_to_voxel((x + 0.5, y + 0.5, z + 0.5), case.geometry)
    assert voxel == (3.5, 1.5, 4.5)
    assert geo.voxel_to_world(voxel, case.geometry) == pytest.approx(tuple(landmark_ras[:3] * [-1, -1, 1]))
    assert np.array_equal(geo.to_source(case.pixels, case.geometry), stored)


def oblique(angle: float = 0.3) -> np.ndarray:
    """LPS affine, turned about z and x, spacing 0.5, 2, 3."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.5, 2, 3]
    affine[:3, 3] = [7, -8, 9]
    return affine


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3)),
    st.tuples(*[st.floats(0.2, 5)] * 3),
    st.tuples(*[st.integers(1, 60)] * 3),
    st.lists(st.floats(0, 1), min_size=6, max_size=6),
)
def test_frames_round_trip(sizes, angles, steps, frame_sizes, fractions) -> None:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s, (a, b) = np.cos(angle), np.sin(angle), [n for n in range(3) if n != axis]
        one = np.eye(3)
        one[a, a], one[a, b], one[b, a], one[b, b] = c, -s, s, c
        turn = turn @ one
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(steps)
    affine[:3, 3] = [11, -120, 40]
    geometry = geo.volume_geometry(sizes, affine)
    frame = Frame(*frame_sizes, kind="volume")
    low = [min(a, b) * n for a, b, n in zip(fractions[:3], fractions[3:], frame_sizes, strict=True)]
    high = [max(a, b) * n for a, b, n in zip(fractions[:3], fractions[3:], frame_sizes, strict=True)]
    box = (*low, *high)
    voxel = geo.model_to_voxel(box, frame, geometry)
    assert all(-1e-9 <= v <= n + 1e-9 for v, n in zip(voxel, sizes * 2, strict=True))
    back = [geo.world_to_voxel(geo.voxel_to_world(corner, geometry), geometry) for corner in (voxel[:3], voxel[3:])]
    assert geo.voxel_to_model((*back[0], *back[1]), frame, geometry) == pytest.approx(box, abs=1e-6)


def test_box_by_hand() -> None:
    # i runs to the head against z, j to the left along x, k to the back along y; 4 x 6 x 8 voxels.
    affine = np.array([[0, 2, 0, 10], [0, 0, 3, 20], [-1, 0, 0, 30], [0, 0, 0, 1.0]])
    geometry = geo.volume_geometry((4, 6, 8), affine)
    assert (geometry.order, geometry.flips, geometry.shape) == ((1, 2, 0), (False, False, True), (4, 8, 6))
    assert geometry.spacing_mm == (2.0, 3.0, 1.0)
    frame = Frame(width=12, height=16, depth=2, kind="volume")
    box = Box3D(2, 4, 0, 6, 8, 1)  # canonical x 1..3, y 2..4, z 0..2; source i = 4 - z = 2..4
    assert geo.model_to_voxel(box, frame, geometry) == (2.0, 1.0, 2.0, 4.0, 3.0, 4.0)
    # world: x = 10 + 2 (j - .5), y = 20 + 3 (k - .5), z = 30 - (i - .5)
    assert geo.voxel_to_world_bounds((2, 1, 2, 4, 3, 4), geometry) == (11.0, 24.5, 26.5, 15.0, 30.5, 28.5)


def test_bounds_of_an_oblique_box_hold_all_corners() -> None:
    geometry = geo.volume_geometry((10, 11, 12), oblique())
    bounds = geo.voxel_to_world_bounds((1, 2, 3, 4, 5, 6), geometry)
    corners = np.array([geo.voxel_to_world(c, geometry) for c in product((1, 4), (2, 5), (3, 6))])
    assert bounds == pytest.approx((*corners.min(0), *corners.max(0)))


def test_image_is_one_slice_thick() -> None:
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    geometry = Geometry((4, 6), (6, 4), (0, 1), (False, False), affine, (2.0, 3.0))
    assert geo.voxel_to_world_bounds(Box2D(0, 0, 1, 2), geometry) == (-1.0, -1.5, -2.5, 1.0, 4.5, 2.5)
    assert geo.voxel_to_world((1.5, 0.5), geometry) == (2.0, 0.0, 0.0)
    assert geo.world_to_voxel((2.0, 0.0, 99.0), geometry) == (1.5, 0.5)
    frame = Frame(12, 4, 1, "image")
    assert geo.model_to_voxel((2, 1, 4, 3), frame, geometry) == (1.0, 1.0, 2.0, 3.0)


def test_without_an_affine_there_is_no_world() -> None:
    geometry = geo.volume_geometry((3, 4, 5), None, (1, 2, 3))
    assert geometry.affine_lps is None
    assert geometry.spacing_mm == (1, 2, 3)
    assert geo.voxel_to_world_bounds((0, 0, 0, 1, 1, 1), geometry) is None
    with pytest.raises(GeometryError, match="no patient coordinates"):
        geo.voxel_to_world((0, 0, 0), geometry)


def test_wrong_dimensions_are_refused() -> None:
    geometry = geo.volume_geometry((3, 4, 5), oblique())
    with pytest.raises(GeometryError, match="4 coordinates"):
        geo.model_to_voxel(Box2D(0, 0, 1, 1), Frame(3, 4, 5, "volume"), geometry)
    with pytest.raises(GeometryError, match="model frame"):
        geo.model_to_voxel((0, 0, 0, 1, 1, 1), Frame(0, 4, 5, "volume"), geometry)
    with pytest.raises(GeometryError, match="parallel"):
        geo.canonical_axes(np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]) + 1e-9)


def test_canonical_view_copies_nothing() -> None:
    geometry = geo.volume_geometry((10, 8, 6), oblique() @ np.diag([-1, 1, -1, 1.0]))
    stored = ramp()
    view = geo.to_canonical(stored, geometry)
    assert np.shares_memory(view, stored)
    assert geometry.flips == (True, False, True)
    assert np.array_equal(view, stored[::-1, :, ::-1])
