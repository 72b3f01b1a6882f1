import zipfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from imaging_samples import ramp

import unireason.imaging as imaging
from unireason.errors import FormatError, GeometryError, ImageReadError, SizeLimitError
from unireason.imaging.geometry import canonical_to_voxel


@pytest.mark.parametrize("axes", ["".join(p) for p in permutations("zyx")])
def test_axes_are_believed(axes: str, tmp_path: Path) -> None:
    stored = ramp()
    np.save(tmp_path / "a.npy", stored)
    case = imaging.read(tmp_path / "a.npy", axes=axes, spacing_mm=(1, 2, 3))
    assert np.array_equal(case.pixels, stored.transpose([axes.index(letter) for letter in "zyx"]))
    assert case.geometry.spacing_mm == (1.0, 2.0, 3.0)
    # The file's own index order is the array's, last axis first.
    i, j, k = (int(v) for v in canonical_to_voxel((3, 2, 1), case.geometry))
    assert stored[k, j, i] == case.pixels[1, 2, 3]


def test_default_is_zyx_and_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp())
    case = imaging.read(tmp_path / "a.npy")
    assert (case.kind, case.geometry.shape, case.geometry.affine_lps) == ("volume", (6, 8, 10), None)
    assert case.notes == ("axes taken as Z, Y, X",)


def test_fortran_order_and_byte_order(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(ramp(dtype=">i2")))
    case = imaging.read(tmp_path / "a.npy")
    assert np.array_equal(case.pixels, ramp())
    assert case.pixels.dtype.isnative


@pytest.mark.parametrize(("stored", "read_as"), [(np.bool_, np.uint8), (np.float16, np.float32), (np.float64, np.float64)])
def test_types(stored: type, read_as: type, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp((4, 5)).astype(stored))
    assert imaging.read(tmp_path / "a.npy").pixels.dtype == read_as


def test_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp((4, 5)))
    assert np.array_equal(imaging.read(tmp_path / "a.npy").pixels, ramp((4, 5)))
    turned = imaging.read(tmp_path / "a.npy", axes="xy")
    assert np.array_equal(turned.pixels, ramp((4, 5)).T)
    x, y = (int(v) for v in canonical_to_voxel((2, 3), turned.geometry))
    assert ramp((4, 5))[y, x] == turned.pixels[3, 2]
    np.save(tmp_path / "c.npy", ramp((3, 4, 5), np.uint8))
    assert imaging.read(tmp_path / "c.npy", axes="cyx").pixels.shape == (4, 5, 3)


def test_what_might_be_colour_must_be_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp((4, 5, 3), np.uint8))
    with pytest.raises(FormatError, match="axes='yxc'"):
        imaging.read(tmp_path / "a.npy")
    assert imaging.read(tmp_path / "a.npy", axes="yxc").kind == "image"
    assert imaging.read(tmp_path / "a.npy", axes="zyx").kind == "volume"


@pytest.mark.parametrize("axes", ["zy", "zzx", "abc", "zyxc", "yx"])
def test_axes_that_do_not_fit(axes: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp())
    with pytest.raises(FormatError, match="axes"):
        imaging.read(tmp_path / "a.npy", axes=axes)


def test_npz_holds_one(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", ramp())
    assert np.array_equal(imaging.read(tmp_path / "a.npz").pixels, ramp())
    np.savez(tmp_path / "b.npz", a=ramp(), b=ramp())
    with pytest.raises(ImageReadError, match="2 entries"):
        imaging.read(tmp_path / "b.npz")


@pytest.mark.parametrize("array", [np.array([{}, {}]), np.array(["a"]), np.zeros((2, 2), complex), np.zeros((0, 3))])
def test_refused_content(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ImageReadError):
        imaging.read(tmp_path / "a.npy")


def test_bombs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\0" * 20_000_000)
    with pytest.raises(SizeLimitError, match="max_unpacked_bytes=20000000"):
        imaging.read(tmp_path / "a.npz", limits=imaging.Limits(max_unpacked_bytes=1_000_000))
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 100000, 1000), }"
    raw = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117) + b"\n"
    (tmp_path / "b.npy").write_bytes(raw)
    with pytest.raises(SizeLimitError, match="max_voxels"):
        imaging.read(tmp_path / "b.npy")


def test_spacing_needs_three_numbers_for_a_volume(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp())
    with pytest.raises((FormatError, GeometryError), match="three"):
        imaging.read(tmp_path / "a.npy", spacing_mm=(1, 2))


def test_a_channel_of_one_in_front_is_dropped_and_two_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp()[None])
    case = imaging.read(tmp_path / "a.npy", axes="xyz")
    assert np.array_equal(case.pixels, ramp().transpose(2, 1, 0))
    assert case.notes == ("a channel axis of one dropped",)
    np.save(tmp_path / "b.npy", np.stack([ramp(), ramp()]))
    with pytest.raises(FormatError, match="axes"):
        imaging.read(tmp_path / "b.npy")
