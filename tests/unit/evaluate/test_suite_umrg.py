"""U-MRG-14K as published and suites of implicit questions: a tiny Parquet release, phantoms, and what is refused."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.types import Box2D, Frame
from unireason.data.formats import umrg
from unireason.evaluate.suites.base import open_suite
from unireason.evaluate.suites.grounding import NAMES, Truth, open_pointing


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def picture(seed):
    return png(np.random.default_rng(seed).integers(0, 256, (20, 40), dtype=np.uint8))


def mask(rows=(4, 12), columns=(8, 16), shape=(20, 40)):
    found = np.zeros(shape, np.uint8)
    found[slice(*rows), slice(*columns)] = 255
    return png(found)


def row(
    name, *, image=None, meant=None, question="Which bright structure?", box=(8, 4, 16, 12), points=((10, 6), (13, 9)), **about
):
    truth = {"bbox_2d": list(box), "point_2d": [list(p) for p in points]}
    return {
        "images": [{"bytes": picture(0) if image is None else image, "path": "folder/covid.png"}],
        "masks": [{"bytes": mask() if meant is None else meant, "path": ""}],
        "prompt": [{"role": "user", "content": question}],
        "reward_model": {"style": "rule", "ground_truth": json.dumps(truth)},
        "extra_info": {"id": name, "supercategory": about.get("group", "organ"), "category": about.get("category", "liver")},
    }


def release(folder, *rows, name="test-00000-of-00001.parquet", group=100):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "data" / name, row_group_size=group)
    return folder


def suite(folder, **how):
    return open_pointing("u-mrg", folder, **how)


def test_questions_on_equal_pictures_stand_together(tmp_path):
    rows = [row("a"), row("b", image=picture(1)), row("c", category="spleen"), row("a"), row("", image=picture(2), group="")]
    release(tmp_path, row("no"), name="train-00000-of-00001.parquet")
    found = suite(release(tmp_path, *rows, group=2))
    entries = list(found.entries())
    assert [e.id for e in entries] == ["a", "c", "a~2", "b", "test-00000-of-00001-4"]
    assert len({e.case for e in entries}) == 3
    assert all(e.patient == e.case and not e.options and e.question == "Which bright structure?" for e in entries)
    assert dict(entries[1].tags) == {"category": "spleen", "supercategory": "organ", "structure": "spleen", "split": "test"}
    assert "supercategory" not in entries[-1].tags
    assert found.left_out == {}
    assert [e.id for e in suite(tmp_path, split="train").entries()] == ["no"]
    assert [e.id for e in suite(tmp_path / "data" / "train-00000-of-00001.parquet").entries()] == ["no"]


@pytest.mark.parametrize("group", [1, 2, 100])
def test_pictures_and_places_whatever_the_order_of_reading(tmp_path, group):
    rows = [row(str(n), image=picture(n % 3), meant=mask((n, n + 2)), box=(n, 1, n + 5, 9)) for n in range(7)]
    found = suite(release(tmp_path, *rows, group=group))
    entries = list(found.entries())
    for entry in [*entries, *reversed(entries), entries[3], entries[3]]:
        case = found.read(entry.case)
        truth = found.truth(entry)
        n = int(entry.id)
        assert np.array_equal(case.pixels, np.asarray(Image.open(io.BytesIO(picture(n % 3)))))
        assert np.flatnonzero(truth.mask.any(axis=1)).tolist() == [n, n + 1]
        assert (truth.box, truth.points, truth.grid) == (Box2D(n, 1, n + 5, 9), ((10, 6), (13, 9)), (40, 20))
        assert truth.mask.dtype == bool
    fresh = suite(tmp_path)
    last = list(fresh.entries())[-1]
    assert fresh.truth(last).box == found.truth(last).box  # without its picture having been read


def test_places_on_the_model_frame():
    truth = Truth(Box2D(8, 4, 16, 12), ((10, 6), (13, 9)), np.ones((20, 40), bool), (40, 20))
    assert truth.on(Frame(40, 20, 1, "image")) == (truth.box, truth.points)
    box, points = truth.on(Frame(20, 10, 1, "image"))
    assert box == Box2D(4, 2, 8, 6)
    assert points == ((4.75, 2.75), (6.25, 4.25))  # middles 10.5, 6.5 and 13.5, 9.5, halved, less half a pixel
    wide, _ = truth.on(Frame(80, 20, 1, "image"))
    assert wide == Box2D(16, 4, 32, 12)


def test_flawed_rows_are_left_out_and_told(tmp_path):
    rows = [row("a"), row("b", question=" "), row("c", box=(8, 4, 8, 12)), row("d", box=(16, 4, 8, 12))]
    found = suite(release(tmp_path, *rows))
    assert [e.id for e in found.entries()] == ["a"]
    assert found.left_out == {"it has no text": 1, "its true box is empty": 2}
    with pytest.raises(UniReasonError, match="no question"):
        list(suite(release(tmp_path / "none", row("b", question=""))).entries())


@pytest.mark.parametrize(
    ("meant", "words"),
    [(mask((3, 3)), "empty"), (mask(shape=(40, 20)), "shape"), (b"no picture", "mask.png"), (mask()[:60], "mask.png")],
)
def test_a_mask_that_cannot_be_used(tmp_path, meant, words):
    found = suite(release(tmp_path, row("a", meant=meant)))
    (entry,) = found.entries()
    assert found.read(entry.case).pixels.shape == (20, 40)
    with pytest.raises(ImageReadError, match=words):
        found.truth(entry)


def several_frames():
    stream = io.BytesIO()
    one, two = (Image.fromarray(np.full((20, 40), n, np.uint8)) for n in (100, 200))
    one.save(stream, "tiff", save_all=True, append_images=[two])
    return stream.getvalue()


def volume():
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 20, 40), np.int16))
    return stream.getvalue()


@pytest.mark.parametrize("stored", [several_frames(), volume(), b"%PDF-1.7 no picture"], ids=["frames", "volume", "garbage"])
def test_a_picture_that_is_none_costs_its_question_alone(tmp_path, stored):
    """An evaluation counts a picture that cannot be read, whatever its bytes are, and goes on."""
    found = suite(release(tmp_path, row("a", image=stored), row("b", meant=stored)))
    first, second = found.entries()
    with pytest.raises(ImageReadError):
        found.read(first.case)
    with pytest.raises(ImageReadError):
        found.truth(second)


def test_colour_pictures_and_masks(tmp_path):
    colour = np.zeros((20, 40, 3), np.uint8)
    colour[4:12, 8:16, 1] = 255
    found = suite(release(tmp_path, row("a", image=png(colour), meant=png(colour))))
    (entry,) = found.entries()
    assert found.read(entry.case).pixels.shape == (20, 40, 3)
    assert found.truth(entry).mask.sum() == 64


def test_faint_pixels_of_a_mask_are_not_meant(tmp_path):
    faint = np.zeros((20, 40), np.uint8)
    faint[4, 8:11] = (1, 127, 128)  # as a lossy file has them at its edges
    found = suite(release(tmp_path, row("a", meant=png(faint))))
    (entry,) = found.entries()
    assert np.argwhere(found.truth(entry).mask).tolist() == [[4, 10]]


def test_what_is_refused(tmp_path):
    release(tmp_path, row("a"), name="train-0.parquet")
    (tmp_path / "empty").mkdir()
    for root, how in (
        (None, {}),
        (tmp_path / "missing", {}),
        (tmp_path, {"split": "all"}),
        (tmp_path, {"options": {"missing": "skip"}}),
    ):
        with pytest.raises(FormatError):
            suite(root, **how)
    for root in (tmp_path, tmp_path / "empty"):
        with pytest.raises(FormatError, match="holds"):
            list(suite(root).entries())
    with pytest.raises(FormatError, match="no suite"):
        open_pointing("slake")


def test_a_release_that_changes_underneath(tmp_path):
    found = suite(release(tmp_path, row("a"), row("b", image=picture(1))))
    first, second = found.entries()
    release(tmp_path, row("a"))
    assert found.read(first.case).pixels.shape == (20, 40)
    with pytest.raises(FormatError, match="changed"):
        found.read(second.case)
    with pytest.raises(UniReasonError, match="no picture"):
        found.read("x")


def test_it_is_no_suite_of_words():
    with pytest.raises(FormatError, match="unireason eval ground --suite u-mrg"):
        open_suite("u-mrg")


def test_rows_from_the_middle_of_a_file(tmp_path):
    path = release(tmp_path, *(row(str(n)) for n in range(7)), group=3) / "data" / "test-00000-of-00001.parquet"
    for start in range(9):
        assert [r.id for r in umrg.read_file(path, start=start)] == [str(n) for n in range(start, 7)]


# --- built data sets and phantoms


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exam") / "a"
    return folder, open_pointing("phantom", folder, options={"seed": "2", "questions": "15"})


def test_phantoms(phantoms):
    folder, found = phantoms
    entries = list(found.entries())
    assert len(entries) == 15
    cases = [e.case for e in entries]
    assert sum(a != b for a, b in pairwise(cases)) == len(set(cases)) - 1
    whose = {sample.id: sample.patient for sample in found.dataset.samples()}
    assert [entry.patient for entry in entries] == [whose[entry.id] for entry in entries]
    assert all(entry.patient != entry.case for entry in entries)  # of a patient several slices may be asked about
    for entry in [*entries, entries[0]]:
        case, truth = found.read(entry.case), found.truth(entry)
        width, height = truth.grid
        assert truth.mask.shape == case.pixels.shape
        assert truth.mask.any()
        assert entry.tags["frame"] == f"{width}x{height}x1"
        rows, columns = np.nonzero(truth.mask)
        across, down = truth.mask.shape[1] / width, truth.mask.shape[0] / height
        assert abs(columns.min() / across - truth.box.x1) <= 1
        assert abs((rows.max() + 1) / down - truth.box.y2) <= 1
        assert entry.answers == (entry.tags["category"],)
    again = open_pointing("phantom", folder, options={"seed": "2", "questions": "15"})
    assert [e.id for e in again.entries()] == [e.id for e in entries]
    with pytest.raises(UniReasonError, match="no case"):
        found.read("x")


def test_a_built_data_set(phantoms):
    folder, asked = phantoms
    with pytest.raises(UniReasonError):
        list(open_pointing("built", folder, split="nowhere").entries())
    with pytest.raises(FormatError, match="no folder"):
        open_pointing("built")
    split = next(asked.dataset.samples()).split
    found = open_pointing("built", folder, split=split)
    assert {entry.id for entry in found.entries()} == {sample.id for sample in asked.dataset.samples(split)}
    assert len(list(open_pointing("built", folder, split=split, options={"questions": "3"}).entries())) == 3
    assert NAMES == ("phantom", "built", "u-mrg")
    for options in ({"questions": "0"}, {"slices": "2"}, {"seed": "-1"}):
        with pytest.raises(FormatError):
            open_pointing("phantom", options=options)
    with pytest.raises(FormatError, match="no split"):
        open_pointing("phantom", split="train")
