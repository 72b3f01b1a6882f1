"""Contact sheets: the slice shown, outlines at hand-computed places, colours, words that fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor

from unireason.core.types import Case, Geometry, Source
from unireason.data.item import Item, Layer, Loaded, MaskRef
from unireason.report import contact
from unireason.report.contact import SIDE, TONES, Tile, fullest, sheet, tile


def loaded(labels: np.ndarray, names: dict[int, str], spacing: tuple[float, ...] | None = None, affine: bool = False) -> Loaded:
    n = labels.ndim
    lps = np.diag([*(spacing or (1.0,) * n), 1.0]) if affine else None
    geometry = Geometry(labels.shape, labels.shape[::-1], tuple(range(n)), (False,) * n, lps, spacing)
    kind = "volume" if n == 3 else "image"
    case = Case(np.full(labels.shape, 40, np.uint8), kind, geometry, "", Source("x", "npy", ""))  # type: ignore[arg-type]
    item = Item("x", "x", kind, "x", (MaskRef("", names),), tuple(names.values()), modality="CT")  # type: ignore[arg-type]
    return Loaded(item, case, (Layer(labels, names),))


def test_the_slice_with_most_structures_is_shown() -> None:
    labels = np.zeros((5, 10, 10), np.uint8)
    labels[1, 0:9, 0:9] = 1
    labels[3, 0:2, 0:2], labels[3, 5:7, 5:7] = 1, 2
    labels[4, 0:2, 0:2], labels[4, 5:8, 5:8] = 1, 2
    names = {1: "a", 2: "b"}
    assert fullest(loaded(labels, names)) == 4
    assert fullest(loaded(np.zeros_like(labels), names)) == 2
    nameless = loaded(labels, {1: "a"})
    assert fullest(nameless) == 1, "values without a name do not count"


def test_outlines_lie_on_the_rim_of_the_mask() -> None:
    labels = np.zeros((30, 30), np.uint8)
    labels[10:20, 5:15] = 3  # 10 screen pixels a pixel: rows 100-199, columns 50-149
    one = tile(loaded(labels, {3: "a"}))
    rows, columns = np.nonzero(one.outlines["a"])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (100, 199, 50, 149)
    assert not one.outlines["a"][102:198, 52:148].any()
    assert one.outlines["a"][100:102, 50:150].all()


def test_true_proportions() -> None:
    labels = np.zeros((10, 20), np.uint8)
    assert tile(loaded(labels, {1: "a"})).picture.shape == (SIDE // 2, SIDE, 3)
    assert tile(loaded(labels, {1: "a"}, (1.0, 4.0))).picture.shape == (SIDE, SIDE // 2, 3)


def test_one_pixel_does_not_vanish() -> None:
    labels = np.zeros((2000, 2000), np.uint8)
    labels[777, 1234] = 1
    assert np.argwhere(tile(loaded(labels, {1: "a"})).outlines["a"]).tolist() == [[777 * SIDE // 2000, 1234 * SIDE // 2000]]


def test_words_of_a_tile() -> None:
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[2, 1:3, 1:3], labels[0, 0, 0] = 1, 2
    one = tile(loaded(labels, {1: "a", 2: "b", 3: "c"}, (0.5, 0.5, 3.0), affine=True))
    assert one.facts == ("CT · 8 x 6 x 4 · slice 3 of 4", "0.5 x 0.5 x 3 mm spacing")
    assert (list(one.outlines), one.hidden, one.sides) == (["a"], 1, True)
    plain = tile(loaded(labels[2], {1: "a"}))
    assert plain.facts == ("CT · 8 x 6", "spacing unknown")
    assert not plain.sides, "nobody knows where the patient's left is"


def blank(name: str, **outlines: np.ndarray) -> Tile:
    return Tile(name, ("CT", "1 mm"), np.zeros((SIDE, SIDE, 3), np.uint8), outlines)


def rim() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[50:60, 50:60] = True
    return mask


def test_a_structure_has_one_colour_all_over_the_sheet() -> None:
    tiles = [blank("1", liver=rim()), blank("2", liver=rim(), spleen=np.roll(rim(), 100, 1))]
    pixels = np.asarray(sheet(tiles, title="x"))
    first, second = (ImageColor.getrgb(t) for t in TONES[:2])
    card = SIDE + 20 + 16
    top = np.argwhere((pixels == first).all(-1))[0][0]
    for n in range(2):
        left = 24 + 10 + n * card
        assert (pixels[top : top + 10, left + 50 : left + 60] == first).all()
    assert (pixels[top : top + 10, left + 150 : left + 160] == second).all()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 12])
def test_sheets_of_any_number(count: int) -> None:
    picture = sheet([blank(str(n)) for n in range(count)], title="t", lines=["a", "b"])
    rows = -(-count // 4)
    assert picture.mode == "RGB"
    assert picture.height > SIDE * rows
    assert picture.width >= 3 * SIDE


def test_many_long_names_stay_on_their_card() -> None:
    many = {f"a structure with a very long name {n}": rim() for n in range(40)}
    one = replace(blank("i" * 500), outlines=many, facts=("y" * 500, ""))
    pixels = np.asarray(sheet([one], title="z" * 500, lines=["w" * 900]))
    paper = ImageColor.getrgb(contact._PAPER)
    outside = pixels[130:-60, 24 + SIDE + 20 :]
    assert (outside == paper).all()
    legend = contact._legend(one)
    assert len(legend) <= contact._LEGEND_LINES + 1
    shown = sum(len(line) for line in legend[:-1])
    assert legend[-1][0][0] == f"{40 - shown} more here"


def test_names_from_files_cannot_turn_the_text() -> None:
    picture = sheet([blank("a\u202eb\nc\0")], title="x\ud800y")
    assert isinstance(picture, Image.Image)
