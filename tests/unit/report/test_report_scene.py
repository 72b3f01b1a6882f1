"""What a page shows, against the geometry of the package."""

from dataclasses import replace

import numpy as np
import pytest

import report_samples as samples
from unireason.core.errors import FormatError
from unireason.core.types import Frame, LookStep
from unireason.imaging.geometry import model_to_voxel, voxel_to_world
from unireason.report.pictures import TONES, compose


def test_maps_agree_with_the_geometry_at_random_points_of_an_oblique_volume() -> None:
    sample = samples.volume()
    scene = compose(sample.trace, sample.case, sample.stack)
    assert scene.to_world is not None
    for point in np.random.default_rng(1).uniform((0, 0, 0), (56, 56, 10), (20, 3)):
        voxel = model_to_voxel([*point, *point], sample.trace.frame, sample.case.geometry)[:3]
        np.testing.assert_allclose(scene.to_voxel @ [*point, 1], voxel, atol=1e-9)
        np.testing.assert_allclose(scene.to_world @ [*point, 1], voxel_to_world(voxel, sample.case.geometry), atol=1e-9)


def test_oblique_sample_by_hand() -> None:
    # i runs to the head, j to the right, k to the front: canonical x = 60 - j, y = 40 - k, z = i.
    scene = compose(*_parts(samples.volume()))
    np.testing.assert_allclose(scene.to_voxel @ [0, 0, 0, 1], [0, 60, 40])
    np.testing.assert_allclose(scene.to_voxel @ [56, 56, 10, 1], [20, 0, 0], atol=1e-9)
    assert scene.edges == ("R", "L", "A", "P")
    assert scene.ends == ("F", "H")
    assert scene.slice_axis == "i"
    assert scene.covered[0] == (0, 2)
    assert scene.covered[9] == (18, 20)
    assert scene.aspect == pytest.approx((60 * 0.8) / (40 * 1.25))


def test_sizes_in_millimetres_by_hand() -> None:
    first = compose(*_parts(samples.volume())).looks[0]
    # 20 of 56 px over 48 mm, 16 of 56 px over 50 mm, 3 of 10 slices over 100 mm
    assert first.size_mm == pytest.approx((20 / 56 * 48, 16 / 56 * 50, 30))


def test_numbers_tones_and_slices_of_looks() -> None:
    looks = compose(*_parts(samples.volume())).looks
    assert [(k.number, k.tone, k.first, k.last, k.home) for k in looks] == [(1, 0, 2, 5, 3), (2, 1, 4, 9, 6), (3, 2, 0, 2, 0)]
    assert looks[0].rect == (10, 8, 30, 24)
    assert len(set(TONES)) == len(TONES)


def test_coverage_counts_backwards_along_a_flipped_axis() -> None:
    sample = samples.volume()
    geometry = replace(sample.case.geometry, flips=(False, False, True))
    scene = compose(sample.trace, replace(sample.case, geometry=geometry), sample.stack)
    assert scene.covered[0] == (18, 20)
    assert scene.covered[9] == (0, 2)


def test_a_flat_picture_has_no_world_and_square_pixels() -> None:
    scene = compose(*_parts(samples.image()))
    assert scene.to_world is None
    assert scene.edges is None
    assert scene.ends is None
    assert scene.covered == ()
    assert scene.aspect == pytest.approx(1.5)
    np.testing.assert_allclose(scene.to_voxel @ [84, 56, 1], [90, 60])
    assert scene.looks[0].size_mm is None


def test_clearly_oblique_edges_carry_two_letters() -> None:
    affine = np.eye(4)
    angle = np.deg2rad(30)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert compose(*_parts(samples.image(affine=affine))).edges == ("RA", "LP", "AL", "PR")


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1.0, 1.0, 3.4, 9.0, 9.0, 5.2), (3, 6)),
        ((1.0, 1.0, -4.0, 9.0, 9.0, 2.0), (0, 2)),
        ((1.0, 1.0, 12.0, 9.0, 9.0, 15.0), (10, 10)),
        ((1.0, 1.0, 7.0, 9.0, 9.0, 3.0), (7, 7)),
        ((1.0, 1.0, 9.0, 9.0), (0, 10)),
    ],
)
def test_slices_of_a_box_that_was_not_carried_out(box: tuple[float, ...], expected: tuple[int, int]) -> None:
    sample = samples.volume()
    trace = replace(sample.trace, steps=(LookStep("", box),))
    look = compose(trace, sample.case, sample.stack).looks[0]
    assert (look.first, look.last) == expected


def test_start_is_the_first_look_or_the_middle() -> None:
    sample = samples.volume()
    assert compose(*_parts(sample)).start == 3
    assert compose(replace(sample.trace, steps=()), sample.case, sample.stack).start == 5


def test_parts_that_do_not_belong_together_are_refused() -> None:
    volume, image = samples.volume(), samples.image()
    with pytest.raises(FormatError, match="image"):
        compose(volume.trace, image.case, volume.stack)
    with pytest.raises(FormatError, match="10 slices"):
        compose(replace(volume.trace, frame=Frame(56, 56, 9, "volume")), volume.case, volume.stack)
    for box in ((1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0, float("inf"), 2.0)):
        with pytest.raises(FormatError, match="finite"):
            compose(replace(volume.trace, steps=(LookStep("", box),)), volume.case, volume.stack)


def _parts(sample: samples.Sample) -> tuple:  # type: ignore[type-arg]
    return sample.trace, sample.case, sample.stack
