"""Phantoms of version 2: what they hold, and that their detail is gone in the model frame."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from unireason.core.errors import FormatError, UniReasonError
from unireason.data.sources import phantom2
from unireason.data.sources.base import open_source
from unireason.data.sources.phantom import write_patients


@pytest.fixture(scope="module")
def pictures():
    return [phantom2.generate(5, index, "slice") for index in range(16)]


@pytest.mark.parametrize("view", phantom2.VIEWS)
def test_same_numbers_same_view(view):
    a, b, other = phantom2.generate(5, 3, view), phantom2.generate(5, 3, view), phantom2.generate(5, 4, view)
    assert np.array_equal(a.voxels, b.voxels)
    assert np.array_equal(a.labels, b.labels)
    assert a.stated == b.stated
    assert not np.array_equal(a.voxels, other.voxels)
    assert a.voxels.shape == a.labels.shape == ((64, 192, 192) if view == "volume" else (448, 448))
    assert a.modality == phantom2.modality_of(5, 3, view)


def test_patients_of_an_examination_are_nobody_elses():
    mine, theirs = (phantom2.generate(5, 3, "slice", stream=stream) for stream in (0, 2))
    assert mine.patient != theirs.patient
    assert not np.array_equal(mine.voxels, theirs.voxels)


def test_what_is_stated_is_there(pictures):
    known = {
        "texture": set(phantom2.TEXTURES),
        "margin": set(phantom2.MARGINS),
        "calcification": set(phantom2.CALCIFICATIONS),
        "spots": {str(n) for n in range(1, phantom2.MOST_SPOTS + 1)},
    }
    found = set()
    for picture in pictures:
        for name, stated in picture.stated.items():
            assert (picture.labels == phantom2.LABELS[name]).any()
            assert all(value in known[kind] for kind, value in stated.items())
            found |= set(stated)
    assert found == set(phantom2.STATED)


def test_organs_are_missing_in_some(pictures):
    volumes = [phantom2.generate(6, index) for index in range(4)]
    shown = [{phantom2.NAMES[int(v)] for v in np.unique(v.labels) if v} for v in volumes]
    assert len({frozenset(names) for names in shown}) > 1
    assert all("spine" in names and len(names) >= 8 for names in shown)


@pytest.mark.parametrize("kind", phantom2.TEXTURES[1:])
def test_a_texture_averages_out(kind):
    drawn = phantom2.ripples(np.random.default_rng(0), (256, 256), kind)
    frame = drawn.reshape(64, 4, 64, 4).mean(axis=(1, 3))
    assert 0.85 < drawn.std() < 1.15
    assert frame.std() < 0.2 * drawn.std()


def test_textures_differ_where_they_are_drawn():
    """Lines from side to side change from row to row, those from front to back from column to column, grains both ways."""
    changes = {}
    for kind in phantom2.TEXTURES[1:]:
        drawn = phantom2.ripples(np.random.default_rng(0), (128, 128), kind)
        changes[kind] = [float(np.abs(np.diff(drawn, axis=axis)).mean()) for axis in (0, 1)]
    grains, aside, back = changes.values()
    assert aside[0] > 5 * aside[1]
    assert back[1] > 5 * back[0]
    assert 0.7 < grains[0] / grains[1] < 1.4


def test_margins_have_one_mean_profile():
    """Away from the middle, all margins show as much of the mass, so that only its form tells them."""
    profiles = []
    for margin in phantom2.MARGINS:
        shown, _, _ = phantom2.mass(np.random.default_rng(1), 61, 14.0, margin, "")
        y, x = np.mgrid[:61, :61] - 30.0
        away = np.hypot(x, y)
        profiles.append([shown[away < 13].mean(), shown[(away > 14) & (away < 20)].mean(), shown[away > 22].mean()])
    profiles = np.array(profiles)
    assert np.allclose(profiles[:, 0], 1, atol=0.02)
    assert np.ptp(profiles[:, 1]) < 0.12
    assert np.allclose(profiles[:, 2], 0, atol=0.01)


def test_calcifications_cover_one_area():
    areas = [phantom2.mass(np.random.default_rng(1), 61, 14.0, "smooth", c)[1].sum() for c in phantom2.CALCIFICATIONS]
    assert max(areas) - min(areas) <= 6
    assert phantom2.mass(np.random.default_rng(1), 61, 14.0, "smooth", "")[1].sum() == 0


def test_spots_stand_apart():
    plane = np.zeros((60, 60), bool)
    plane[10:50, 10:50] = True
    places = phantom2.spots(np.random.default_rng(2), plane, 6)
    assert len(set(places)) == 6
    apart = [max(abs(a - c), abs(b - d)) for i, (a, b) in enumerate(places) for c, d in places[:i]]
    assert min(apart) >= 4  # two pixels wide, so two lie between
    assert phantom2.spots(np.random.default_rng(2), plane[:16, :16], 6) == []


def test_a_source_of_all_views():
    source = open_source("phantom", options={"version": "2", "patients": "2"})
    items = list(source.items())
    assert [item.image for item in items[:4]] == [f"0/0/{view}" for view in phantom2.VIEWS]
    assert len({item.patient for item in items}) == 2
    assert [item.kind for item in items[:4]] == ["volume", "image", "image", "image"]
    loaded = source.load(items[1])
    assert loaded.case.pixels.shape == (448, 448)
    assert loaded.case.modality == items[1].modality
    assert loaded.stated == phantom2.generate(0, 0, "slice").stated
    film = source.load(items[2])
    assert film.case.geometry.affine_lps is None
    assert film.case.pixels.dtype == np.uint8


def test_views_can_be_chosen_and_the_first_version_has_none():
    items = list(open_source("phantom", options={"version": "2", "patients": "3", "views": "film,slice"}).items())
    assert [item.image.split("/")[-1] for item in items] == ["film", "slice"] * 3
    for options in ({"views": "film"}, {"version": "2", "views": "film,rays"}, {"version": "3"}):
        with pytest.raises(FormatError):
            open_source("phantom", options=options)
    with pytest.raises(ValueError, match="rays"):
        phantom2.generate(0, 0, "rays")


def test_the_first_version_is_still_read():
    source = open_source("phantom", options={"patients": "1"})
    item = next(iter(source.items()))
    assert source.load(item).stated == {}


def test_files(tmp_path):
    (folder,) = write_patients(tmp_path / "png", count=1, seed=5, form="png", version=2)
    record = json.loads((folder / "structures.json").read_text())
    assert set(record["views"]) == {"slice", "film", "echo"}
    with Image.open(folder / "film.png") as film:
        assert film.size == (448, 448)
        assert film.info["Source"] == "unireason phantom"
    (folder,) = write_patients(tmp_path / "nifti", count=1, seed=5, form="nifti", version=2)
    from unireason.imaging.reader import read

    case = read(folder / "image.nii.gz")
    made = phantom2.generate(5, 0)
    assert np.array_equal(case.pixels, made.voxels)
    assert np.allclose(case.geometry.spacing_mm, made.spacing_mm, atol=1e-4)
    with pytest.raises(UniReasonError):
        write_patients(tmp_path / "dicom", count=1, seed=5, form="dicom", version=2)
