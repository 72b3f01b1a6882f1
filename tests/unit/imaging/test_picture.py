import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from imaging_samples import ramp
from PIL import Image, ImageOps

import unireason.imaging as imaging
from unireason.errors import FormatError, ImageReadError, SizeLimitError
from unireason.imaging.geometry import model_to_voxel
from unireason.types import Frame

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
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    assert imaging.read(tmp_path / "c.jpg").pixels.shape == (6, 8, 3)
    Image.fromarray(GREY > 100).save(tmp_path / "b.png")
    assert np.array_equal(imaging.read(tmp_path / "b.png").pixels, np.where(GREY > 100, 255, 0))


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation(turn: int, tmp_path: Path) -> None:
    picture = Image.fromarray(GREY)
    exif = picture.getexif()
    exif[0x0112] = turn
    picture.save(tmp_path / "a.png", exif=exif)
    case = imaging.read(tmp_path / "a.png")
    shown = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    assert np.array_equal(case.pixels, np.asarray(shown))
    # The box around the pixel shown at (1, 2) is a stored pixel of the same value.
    height, width = case.pixels.shape
    x1, y1, _, _ = (int(v) for v in model_to_voxel((1, 2, 2, 3), Frame(width, height, 1, "image"), case.geometry))
    assert GREY[y1, x1] == case.pixels[2, 1]


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
