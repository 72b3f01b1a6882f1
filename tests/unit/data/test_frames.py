"""The model frame and the model's pictures without a network, held against the network's own preprocessing."""

from pathlib import Path

import numpy as np
import pytest

from unireason.core.errors import FormatError
from unireason.core.types import Frame
from unireason.data.frames import FrameRule, from_png, mask_on_frame, model_pictures, png, rule
from unireason.data.sources.phantom import generate, image_case
from unireason.engine.reasoner import Reasoner, load


@pytest.fixture(scope="module")
def reasoner() -> Reasoner:
    return load("phantom", threads=1)


@pytest.mark.parametrize("kind", ["image", "volume"])
def test_pictures_are_those_the_network_sees(reasoner: Reasoner, kind: str) -> None:
    patient = generate(5, 2)
    case = patient.case() if kind == "volume" else image_case(patient, 12)
    encoded = reasoner.encode(case)
    pictures = model_pictures(case, rule("phantom"))
    assert rule("phantom").frame(case.geometry.shape) == encoded.frame
    assert len(pictures) == len(encoded.prepared.pictures)
    assert all(np.array_equal(a, b) for a, b in zip(pictures, encoded.prepared.pictures, strict=True))


def test_the_published_frame() -> None:
    assert rule("published").frame((200, 512, 512)) == Frame(252, 252, 32, "volume")
    assert rule("published").frame((512, 500)) == Frame(504, 504, 1, "image")


def test_a_checkpoint_folder_gives_its_rule(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        '{"patch_size": 14, "size": {"shortest_edge": 784, "longest_edge": 50176}}'
    )
    found = rule(str(tmp_path))
    assert (found.factor, found.min_pixels, found.max_pixels) == (28, 784, 50176)
    assert found.volume_shape == (32, 256, 256)
    assert FrameRule.from_json(found.to_json()) == found


def test_the_profile_says_whether_texts_may_rely_on_a_scale() -> None:
    assert rule("published").scale
    assert not rule("phantom").scale
    older = {key: value for key, value in rule("published").to_json().items() if key != "scale"}
    assert not FrameRule.from_json(older).scale


@pytest.mark.parametrize("content", ["[]", "{", '{"patch_size": "x"}'])
def test_a_damaged_configuration_is_a_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(FormatError, match="preprocessor_config"):
        rule(str(tmp_path))


def test_an_unknown_frame_is_a_clear_error() -> None:
    with pytest.raises(FormatError, match="no frame 'nothing'"):
        rule("nothing")
    with pytest.raises(FormatError, match="frame rule"):
        FrameRule.from_json({"colour": 1})


def test_masks_are_taken_at_pixel_centres() -> None:
    mask = np.zeros((4, 8), bool)
    mask[1, 2:6] = True
    assert mask_on_frame(mask, Frame(4, 2, 1, "image")).tolist() == [[False, True, True, False], [False] * 4]
    assert mask_on_frame(mask, Frame(8, 4, 1, "image")).tolist() == mask.tolist()


def test_png_round_trip() -> None:
    for shape in ((3, 5), (3, 5, 3)):
        pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        assert np.array_equal(from_png(png(pixels)), pixels)


@pytest.mark.parametrize(
    "text",
    [
        "{}[",
        "[" * 100_000,
        '{"patch_size": 0}',
        '{"patch_size": -3}',
        '{"patch_size": 1e400}',
        '{"patch_size": 100000}',
        '{"min_pixels": -5}',
        '{"min_pixels": 100000000, "max_pixels": 3}',
        '{"size": 5}',
        '{"size": {"longest_edge": "x"}}',
    ],
)
def test_unusable_preprocessors_are_clear_errors(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(FormatError):
        rule(str(tmp_path))


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x", "n" * 300, "a\0b", "missing"])
def test_names_of_no_frame_are_clear_errors(name: str) -> None:
    with pytest.raises(FormatError, match="there is no frame"):
        rule(name)


def test_a_checkpoint_has_one_name_wherever_it_is_looked_at_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "preprocessor_config.json").write_text("{}")
    monkeypatch.chdir(folder)
    assert rule(".") == rule("../mine") == rule(str(folder))
    assert rule(".").name == "mine"


@pytest.mark.parametrize(
    "change",
    [
        {"volume_shape": [1]},
        {"volume_shape": 3},
        {"image_size": [0, 5]},
        {"factor": None},
        {"min_pixels": "x"},
        {"max_pixels": -1},
        {"a": 1},
    ],
)
def test_damaged_rules_are_clear_errors(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        FrameRule.from_json(FrameRule().to_json() | change)
    for values in (None, 3, "x", []):
        with pytest.raises(FormatError):
            FrameRule.from_json(values)
