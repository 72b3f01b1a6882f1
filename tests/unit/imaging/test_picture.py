import hashlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from imaging_samples import ramp, write_tiff
from PIL import Image

import unireason.imaging as imaging
from unireason.core.errors import FormatError, ImageReadError, SizeLimitError
from unireason.core.types import Frame
from unireason.imaging.geometry import model_to_voxel

GREY = (ramp((6, 8), np.uint16) * 5).astype(np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], -1)


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.bmp"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless(name: str, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    case = imaging.read(path)
    assert np.array_equal(case.pixels, pixels)
    assert (case.kind, case.geometry.shape, case.geometry.source_shape) == ("image", (6, 8), (8, 6))
    assert case.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert case.source.name == name


def test_jpeg(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16, 3), (200, 30, 30), np.uint8)).save(tmp_path / "a.jpg", quality=95)
    case = imaging.read(tmp_path / "a.jpg", modality="cr", spacing_mm=(0.1, 0.2))
    assert np.abs(case.pixels.astype(int) - [200, 30, 30]).max() < 6
    assert (case.modality, case.geometry.spacing_mm, case.source.format) == ("CR", (0.1, 0.2), "jpeg")


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_16_bit_values_are_kept(name: str, tmp_path: Path) -> None:
    values = (ramp((6, 8), np.int32) * 1300).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    case = imaging.read(tmp_path / name)
    assert case.pixels.dtype == np.uint16
    assert np.array_equal(case.pixels, values)


def test_palette_alpha_and_cmyk(tmp_path: Path) -> None:
    palette = Image.fromarray(COLOUR).quantize(16)
    palette.save(tmp_path / "p.png")
    assert np.array_equal(imaging.read(tmp_path / "p.png").pixels, np.asarray(palette.convert("RGB")))
    layered = np.dstack([COLOUR, np.where(GREY > 100, 255, 0).astype(np.uint8)])
    Image.fromarray(layered).save(tmp_path / "a.png")
    case = imaging.read(tmp_path / "a.png")
    assert np.array_equal(case.pixels, np.where((GREY > 100)[..., None], COLOUR, 0))
    assert case.notes == ("transparency was laid on black",)
    dropped = imaging.read(tmp_path / "a.png", alpha="drop")
    assert np.array_equal(dropped.pixels, COLOUR)
    assert dropped.notes == ("transparency was dropped",)
    with pytest.raises(FormatError, match="alpha"):
        imaging.read(tmp_path / "a.png", alpha="white")
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    assert imaging.read(tmp_path / "c.jpg").pixels.shape == (6, 8, 3)
    Image.fromarray(GREY > 100).save(tmp_path / "b.png")
    assert np.array_equal(imaging.read(tmp_path / "b.png").pixels, np.where(GREY > 100, 255, 0))


# What EXIF calls each orientation, said with numpy. Source: Exif 2.32, table 6, tag 274.
SHOWN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("kind", ["png", "tif", "lzw", "big", "hand", "jpg"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR, GREY.astype(np.uint16) * 200], ids=["grey", "colour", "16-bit"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_kind_is_turned_once(turn: int, pixels: np.ndarray, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind if kind in ('png', 'jpg') else 'tif'}"
    if kind == "hand":
        pixels = pixels if pixels.ndim == 2 else pixels[..., 0].astype(np.int16)
        write_tiff(path, pixels, t274=turn)
    else:
        pixels = (pixels >> 8).astype(np.uint8) if kind == "jpg" and pixels.dtype == np.uint16 else pixels
        picture = Image.fromarray(pixels)
        exif = picture.getexif()
        exif[0x0112] = turn
        more = {"lzw": {"compression": "tiff_lzw"}, "big": {"big_tiff": True}, "jpg": {"quality": 100, "subsampling": 0}}
        picture.save(path, exif=exif, **more.get(kind, {}))
    case = imaging.read(path)
    assert case.pixels.shape == SHOWN[turn](pixels).shape
    assert np.abs(case.pixels.astype(int) - SHOWN[turn](pixels)).max() <= (6 if kind == "jpg" else 0)
    assert case.pixels.flags.c_contiguous
    assert (turn == 1) == (case.notes == ())
    # The box around the pixel shown at (1, 2) is a stored pixel of the same value.
    height, width = case.pixels.shape[:2]
    x1, y1, _, _ = (int(v) for v in model_to_voxel((1, 2, 2, 3), Frame(width, height, 1, "image"), case.geometry))
    assert np.abs(pixels[y1, x1].astype(int) - case.pixels[2, 1]).max() <= (6 if kind == "jpg" else 0)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
def test_grey_tiff_of_every_type_is_exact_or_refused(kind: str, packed: bool, big: bool, order: str, tmp_path: Path) -> None:
    top = np.iinfo(kind).max if kind[0] in "iu" else 3e38
    low = np.iinfo(kind).min if kind[0] in "iu" else -3e38
    values = np.array([[low, 0, 1], [2, top // 2, top]]).astype(kind)
    for white in (False, True):
        path = write_tiff(tmp_path / "a.tif", values, white_is_zero=white, order=order, big=big, packed=packed)
        want = values if not white else -values if kind == "f4" else np.iinfo(kind).max - values
        try:
            case = imaging.read(path)
        except ImageReadError:
            # What the decoder does not know is refused, and nothing that is common is among it.
            assert white or (kind, order) == ("u4", ">") or (big, order) == (True, ">")
            assert big or (kind, order) not in {("u1", "<"), ("u1", ">"), ("u2", "<"), ("f4", "<")}
            continue
        assert np.array_equal(case.pixels, want)


def test_colour_of_16_bits_is_told_and_planes_of_it_refused(tmp_path: Path) -> None:
    wide = (COLOUR.astype(np.uint16) << 8) + 7
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    chunks = (b"IHDR", struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")
    content = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    case = imaging.read(tmp_path / "a.png")
    assert np.array_equal(case.pixels, COLOUR)
    assert case.notes == ("colour of 16 bits was reduced to 8",)
    with pytest.raises(ImageReadError, match="plane"):
        imaging.read(write_tiff(tmp_path / "b.tif", GREY.astype(np.uint16), t284=2))


def test_our_bound_stands_for_that_of_pillow(tmp_path: Path, monkeypatch) -> None:
    large = np.arange(2**22, dtype=np.uint32).astype(np.uint8).reshape(2048, 2048)
    Image.fromarray(large).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**20)
    assert np.array_equal(imaging.read(tmp_path / "a.png").pixels, large)
    with pytest.raises(SizeLimitError, match=r"limits=Limits\(max_pixels=4194304\)"):
        imaging.read(tmp_path / "a.png", limits=imaging.Limits(max_pixels=2**21))
    assert Image.MAX_IMAGE_PIXELS == 2**20


def test_a_tile_larger_than_the_picture_counts(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", GREY, t322=32768, t323=32768, t324=8, t325=48)
    with pytest.raises(SizeLimitError, match="tile"):
        imaging.read(tmp_path / "a.tif")


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("kind", ["jpg", "tif", "png"])
def test_a_large_picture_takes_little_more_than_its_pixels(kind: str, turn: int, tmp_path: Path) -> None:
    """Four bytes a pixel in Pillow, three here, and a band; measured in a process of its own."""
    picture = Image.new("RGB", (5000, 5000), (9, 8, 7))
    exif = picture.getexif()
    exif[0x0112] = turn
    picture.save(tmp_path / f"a.{kind}", exif=exif)
    code = (
        "import resource, sys, numpy, PIL.Image, unireason.imaging as im;"
        "im.read(numpy.zeros((9, 9), numpy.uint8)); from PIL import JpegImagePlugin, TiffImagePlugin, PngImagePlugin;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak();"
        "im.read(sys.argv[1]); print((peak() - before) / 1024)"
    )
    told = subprocess.run([sys.executable, "-c", code, tmp_path / f"a.{kind}"], capture_output=True, check=True, text=True)
    assert float(told.stdout) < 25 * 8.5


def test_pages(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(FormatError, match=r"2 frames.*frame=0"):
        imaging.read(tmp_path / "a.tiff")
    assert np.array_equal(imaging.read(tmp_path / "a.tiff", frame=1).pixels, 255 - GREY)
    with pytest.raises(FormatError, match="frame 2"):
        imaging.read(tmp_path / "a.tiff", frame=2)


def test_bounds_are_checked_before_decoding(tmp_path: Path) -> None:
    Image.new("L", (3000, 3000)).save(tmp_path / "a.png")
    with pytest.raises(SizeLimitError, match="max_pixels=9000000"):
        imaging.read(tmp_path / "a.png", limits=imaging.Limits(max_pixels=1_000_000))
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    with pytest.raises(SizeLimitError):
        imaging.read(tmp_path / "bomb.png")


def test_damage_is_told(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    raw = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ImageReadError, match=r"'cut.png' cannot be read as a picture"):
        imaging.read(tmp_path / "cut.png")
    (tmp_path / "none.png").write_bytes(raw[:8] + b"text")
    with pytest.raises(ImageReadError, match=r"'none.png' cannot be read as a picture: cannot identify image file\. Check"):
        imaging.read(tmp_path / "none.png")
