"""Every value of a mask has a name, or the mask is refused with both lists; white, few bits and one-structure masks."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unireason.cli import main
from unireason.core.errors import FormatError
from unireason.data.item import UnnamedError
from unireason.data.sources.base import open_source
from unireason.data.sources.labels import occurring

Array = NDArray[Any]
CLEAN = np.zeros((60, 60), np.uint8)
CLEAN[5:25, 5:25], CLEAN[30:50, 30:50] = 1, 2
LIVER = (CLEAN == 1).astype(np.uint8)
TWO = {"liver": 1, "spleen": 2}


def save(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".nii.gz"):
        volume = np.repeat(values.T[:, :, None], 4, axis=2)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    else:
        Image.fromarray(values).save(path)


def few_bits(path: Path, values: Array, bits: int) -> None:
    """A grey PNG file of so many bits a pixel, which Pillow itself does not write."""
    on = np.unpackbits(values[..., None].astype(np.uint8), axis=2)[..., 8 - bits :].reshape(len(values), -1)
    data = b"".join(b"\0" + np.packbits(row).tobytes() for row in on)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


def pair(root: Path, labels: dict[str, Any], mask: Array, *, ending: str = ".png") -> Path:
    save(root / f"images/c{ending}", np.arange(mask.size, dtype=np.uint8).reshape(mask.shape))
    save(root / f"masks/c{ending}", mask)
    (root / "labels.json").write_text(json.dumps(labels))
    return root


def counts(name: str, root: Path, *, ignored: bool = False) -> dict[str, int]:
    """Voxels a structure of the only item of a source."""
    source = open_source(name, root, options={"ignore-unnamed": "yes"} if ignored else {})
    (item,) = source.items()
    loaded = source.load(item)  # type: ignore[arg-type]
    return {n: int((y.labels == v).sum()) for y in loaded.layers for v, n in y.names.items()}


def lookup(*table: int) -> Array:
    return np.array(table, np.uint8)[CLEAN]


@pytest.mark.parametrize(
    ("mask", "labels", "unnamed"),
    [
        (lookup(1, 2, 3), TWO, "3"),  # shifted by one, background too
        (lookup(0, 2, 3), TWO, "3"),
        (lookup(0, 1, 255), TWO, "255"),
        (lookup(0, 127, 255), TWO, "127, 255"),  # spread over 0 to 255
        (lookup(0, 85, 170), TWO, "85, 170"),
        (lookup(0, 1, 2), {"liver": 1}, "2"),
        (lookup(0, 2, 0), {"liver": 1}, "2"),  # the label of a set of several, all others gone
        (lookup(0, 1, 255), {"liver": 1}, "255"),
        (lookup(0, 128, 255), {"liver": 1}, "128"),
        (lookup(0, 1, 255), {"liver": 1, "spleen": 3}, "255"),
        (CLEAN.astype(np.uint16) * 300, TWO, "300, 600"),
    ],
)
@pytest.mark.parametrize("ending", [".png", ".nii.gz"])
def test_values_without_a_name_are_an_error_with_both_lists(
    tmp_path: Path, mask: Array, labels: dict[str, Any], unnamed: str, ending: str
) -> None:
    root = pair(tmp_path, labels, mask, ending=ending)
    with pytest.raises(UnnamedError) as error:
        counts("pair", root)
    assert f"without a name: {unnamed};" in str(error.value)
    assert all(f"{value} {name}" in str(error.value) for name, value in labels.items())
    assert "--ignore-unnamed" in str(error.value)


def test_ignored_values_are_background_and_named_ones_stay(tmp_path: Path) -> None:
    assert counts("pair", pair(tmp_path / "a", TWO, lookup(7, 1, 255)), ignored=True) == {"liver": 400, "spleen": 0}
    assert counts("pair", pair(tmp_path / "b", {"liver": 1}, lookup(0, 255, 9)), ignored=True) == {"liver": 400}
    source = open_source("pair", tmp_path / "a", options={"ignore-unnamed": "no"})
    with pytest.raises(UnnamedError):
        source.load(next(iter(source.items())))  # type: ignore[arg-type]


@pytest.mark.parametrize("label", [1, 3])
@pytest.mark.parametrize("white", [255, 65535])
@pytest.mark.parametrize("name", ["pair", "nnunet", "msd", "amos"])
def test_white_is_the_one_label(tmp_path: Path, label: int, white: int, name: str) -> None:
    mask = LIVER.astype(np.uint16 if white > 255 else np.uint8) * white
    assert counts(name, tree(name, tmp_path, {"liver": label}, mask)) == {"liver": 400}


def test_a_value_named_background_or_ignored_has_a_name(tmp_path: Path) -> None:
    labels = {"liver": 1, "spleen": 2, "background": 9, "void": 255}
    mask = lookup(9, 1, 2)
    mask[0, 0] = 255
    assert counts("pair", pair(tmp_path, labels, mask)) == {"liver": 400, "spleen": 400}


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_greys_of_a_few_bits_are_as_stored(tmp_path: Path, bits: int) -> None:
    mask = np.minimum(CLEAN, 2**bits - 1)
    root = pair(tmp_path, TWO if bits > 1 else {"liver": 1, "spleen": 3}, mask)
    few_bits(root / "masks/c.png", mask, bits)
    found = counts("pair", root)
    assert found == {"liver": 400 if bits > 1 else 800, "spleen": 400 if bits > 1 else 0}


def test_greys_of_a_few_bits_without_a_name_are_refused(tmp_path: Path) -> None:
    root = pair(tmp_path, TWO, CLEAN)
    few_bits(root / "masks/c.png", lookup(0, 1, 3), 2)
    with pytest.raises(UnnamedError, match="without a name: 3;"):
        counts("pair", root)


@pytest.mark.parametrize(("value", "kind"), [(1, np.uint8), (7, np.uint8), (255, np.uint8), (65535, np.uint16)])
@pytest.mark.parametrize("place", ["pair", "totalsegmentator"])
def test_the_one_value_of_a_mask_of_one_structure_is_that_structure(tmp_path: Path, value: int, kind: type, place: str) -> None:
    found = counts(place, one_structure(place, tmp_path, LIVER.astype(kind) * value))
    assert found == {"liver": 1600 if place == "totalsegmentator" else 400}


@pytest.mark.parametrize("place", ["pair", "totalsegmentator", "sa-med2d"])
def test_several_values_in_a_mask_of_one_structure_are_refused(tmp_path: Path, place: str) -> None:
    root = one_structure(place, tmp_path, lookup(0, 1, 200))
    with pytest.raises(FormatError, match=r"of 'liver' holds the values 1, 200.*one other value.*--ignore-unnamed") as error:
        counts(place, root)
    assert not isinstance(error.value, UnnamedError), "the file is wrong, not what was said about all"
    assert counts(place, root, ignored=True) == {"liver": 1600 if place == "totalsegmentator" else 400}


def tree(name: str, root: Path, labels: dict[str, int], mask: Array) -> Path:
    """A source of one case in each layout of label maps."""
    if name == "pair":
        return pair(root, labels, mask)
    places = {"nnunet": ("imagesTr/amos_0001_0000", "labelsTr/amos_0001"), "msd": ("i/amos_0001", "l/amos_0001")}
    image, label = places.get(name, ("imagesTr/amos_0001", "labelsTr/amos_0001"))
    for place, values in ((image, np.arange(mask.size, dtype=np.uint8).reshape(mask.shape)), (label, mask)):
        save(root / f"{place}.png", values)
    index: dict[str, Any] = {"labels": {"background": 0, **labels}, "file_ending": ".png"}
    if name != "nnunet":
        index["labels"] = {str(v): n for n, v in index["labels"].items()}
    index["training"] = [{"image": f"./{image}.png", "label": f"./{label}.png"}]
    (root / "dataset.json").write_text(json.dumps(index))
    return root


def one_structure(name: str, root: Path, mask: Array) -> Path:
    """A source with one file a structure."""
    if name == "totalsegmentator":
        save(root / "s1/ct.nii.gz", np.arange(mask.size, dtype=np.uint8).reshape(mask.shape))
        save(root / "s1/segmentations/liver.nii.gz", mask)
        (root / "meta.csv").write_text("image_id;split\ns1;train\n")
    elif name == "sa-med2d":
        stem = "ct_00--Phantom--case_1--z_0001"
        save(root / f"images/{stem}.png", np.arange(mask.size, dtype=np.uint8).reshape(mask.shape))
        save(root / f"masks/{stem}--0001_000.png", mask)
        (root / "SAMed2D_v1.json").write_text(json.dumps({f"images/{stem}.png": [f"masks/{stem}--0001_000.png"]}))
        (root / "SAMed2D_v1_class_mapping_id.json").write_text(json.dumps({"Phantom": {"liver": 1}}))
    else:
        save(root / "images/c.png", np.arange(mask.size, dtype=np.uint8).reshape(mask.shape))
        save(root / "masks/liver/c.png", mask)
    return root


@pytest.mark.parametrize("name", ["pair", "nnunet", "msd", "amos"])
def test_every_layout_of_label_maps_refuses_values_without_a_name(tmp_path: Path, name: str) -> None:
    root = tree(name, tmp_path, TWO, lookup(0, 2, 5))
    with pytest.raises(UnnamedError, match=r"without a name: 5; it holds 2, 5 besides 0, and named are 1 liver, 2 spleen"):
        counts(name, root)
    assert counts(name, root, ignored=True) == {"liver": 0, "spleen": 400}


def test_regions_share_the_names_of_their_file(tmp_path: Path) -> None:
    labels: dict[str, Any] = {"whole liver": [1, 2], "tumour": [2], "lesion": [2, 4]}
    root = tree("nnunet", tmp_path, labels, lookup(0, 1, 2))
    assert counts("nnunet", root) == {"whole liver": 800, "tumour": 400, "lesion": 400}
    save(root / "labelsTr/amos_0001.png", lookup(0, 1, 3))
    with pytest.raises(UnnamedError, match="without a name: 3;"):
        counts("nnunet", root)


def test_the_ignore_label_of_nnunet_is_refused_in_its_own_words(tmp_path: Path) -> None:
    root = tree("nnunet", tmp_path, {"liver": 1, "ignore": 2}, CLEAN)
    with pytest.raises(FormatError, match="ignore label"):
        counts("nnunet", root)


@pytest.mark.parametrize("place", ["slake", "m3d-seg", "phantom"])
def test_sources_whose_values_need_no_name_refuse_the_option(tmp_path: Path, place: str) -> None:
    with pytest.raises(FormatError, match="no option 'ignore-unnamed'"):
        open_source(place, None if place == "phantom" else tmp_path, options={"ignore-unnamed": "yes"})


def test_many_values_are_shortened(tmp_path: Path) -> None:
    mask = np.arange(3600, dtype=np.uint16).reshape(60, 60)
    with pytest.raises(UnnamedError) as error:
        counts("pair", pair(tmp_path, TWO, mask))
    assert "and 3,585 more" in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_values_that_occur(kind: type, shape: tuple[int, ...]) -> None:
    labels = np.zeros(shape, kind)
    assert occurring(labels) == []
    labels[..., 1] = 1
    assert occurring(labels) == [1]
    labels[..., -1, -1], labels[..., 0, 0] = 7, 200
    assert occurring(labels) == [1, 7, 200]


def build(root: Path, out: Path, *more: str) -> int:
    return main(["data", "build", "pair", str(root), "--out", str(out), "--questions", "2", "--quiet", *more])


def test_a_build_stops_at_a_value_without_a_name_and_goes_on_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make_images: Callable[[Path], None]
) -> None:
    root = tmp_path / "data"
    make_images(root)
    assert build(root, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "masks/c1.png" in said
    assert "without a name: 9;" in said
    assert not (tmp_path / "out/manifest.json").exists()
    assert build(root, tmp_path / "other", "--ignore-unnamed") == 0
    assert main(["data", "check", str(tmp_path / "other"), "--quiet"]) in (0, 1)
    assert "cannot be loaded" not in capsys.readouterr().out


@pytest.fixture
def make_images() -> Callable[[Path], None]:
    """Twelve pictures with two structures; one mask of them holds a value more."""

    def made(root: Path) -> None:
        rng = np.random.default_rng(0)
        for n in range(12):
            mask = np.zeros((120, 120), np.uint8)
            mask[10:50, 10:60], mask[60:100, 20 + n : 60 + n] = 1, 2
            mask[70:110, 80:110] = 3
            mask[0:9, 0:9] = 9 if n == 1 else 0
            save(root / f"images/c{n}.png", rng.integers(0, 255, mask.shape, dtype=np.uint8))
            save(root / f"masks/c{n}.png", mask)
        (root / "labels.json").write_text(json.dumps({"liver": 1, "spleen": 2, "stomach": 3, "pancreas": 4}))

    return made


def test_inspect_shows_the_table_as_text_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pair(tmp_path / "data", TWO, lookup(0, 2, 5))
    sheet = ["--sheet", str(tmp_path / "s.png")]
    assert main(["data", "inspect", "pair", str(root), "--quiet", *sheet]) == 1
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines() if line.startswith("    ")][:3] == [
        ["5", "(without", "a", "name)", "1"],
        ["1", "liver", "0"],
        ["2", "spleen", "1"],
    ]
    assert main(["data", "inspect", "pair", str(root), "--json", "--ignore-unnamed", *sheet]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["values"] == [
        {"value": 1, "name": "liver", "items": 0},
        {"value": 2, "name": "spleen", "items": 1},
        {"value": 5, "name": None, "items": 1},
    ]
    assert found["values_without_name"] == {"5": 1}
