import tracemalloc
import zipfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from imaging_samples import ramp

import unireason.imaging as imaging
from unireason.core.errors import FormatError, GeometryError, ImageReadError, SizeLimitError
from unireason.imaging.geometry import canonical_to_voxel, voxel_to_canonical, world_to_voxel


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


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_an_npz_never_unpacks_more_than_it_declares(method: int, tmp_path: Path) -> None:
    """200 MB of zeros in 200 kB: refused by the bound before memory is taken, and never held twice."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (25, 1000, 1000), }".ljust(117) + b"\n"
    raw = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header
    for name, size, error in (("a.npz", 200_000_000, SizeLimitError), ("b.npz", 1_000_000, ImageReadError)):
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            archive.writestr("a.npy", raw + bytes(size))
        tracemalloc.start()
        with pytest.raises(error):
            imaging.read(tmp_path / name, limits=imaging.Limits(max_unpacked_bytes=100_000_000))
        assert tracemalloc.get_traced_memory()[1] < 2 * (tmp_path / name).stat().st_size + 2**24
        tracemalloc.stop()
    if method == zipfile.ZIP_DEFLATED:
        tracemalloc.start()
        assert imaging.read(tmp_path / "a.npz").pixels.nbytes == 200_000_000
        assert tracemalloc.get_traced_memory()[1] < 240_000_000
        tracemalloc.stop()


def test_bytes_behind_the_array_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp())
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", (tmp_path / "a.npy").read_bytes() + b"more")
    with pytest.raises(ImageReadError, match="bytes of data"):
        imaging.read(tmp_path / "a.npz")


@pytest.mark.parametrize("axes", ["".join(p) for p in permutations("zyx")])
def test_an_affine_belongs_to_the_axes_by_their_letters(axes: str, tmp_path: Path) -> None:
    affine = np.array([[0, 2, 0, 3], [-1, 0, 0, 4], [0, 0, -3, 5], [0, 0, 0, 1.0]])
    stored = ramp()
    np.save(tmp_path / "a.npy", stored)
    case = imaging.read(tmp_path / "a.npy", axes=axes, affine_lps=affine)
    assert case.geometry.spacing_mm == (2, 1, 3)
    index = {"x": 1, "y": 2, "z": 3}
    place = tuple(index[letter] for letter in axes)
    world = affine @ [1, 2, 3, 1]
    voxel = world_to_voxel(world[:3], case.geometry)
    assert tuple(int(v) for v in reversed(voxel)) == place
    x, y, z = (int(v) for v in voxel_to_canonical(voxel, case.geometry))
    assert case.pixels[z, y, x] == stored[place]


def test_an_image_takes_no_affine(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp((4, 5)))
    with pytest.raises(FormatError, match="affine_lps"):
        imaging.read(tmp_path / "a.npy", affine_lps=np.eye(4))
