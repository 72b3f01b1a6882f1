"""Implicit questions about volumes, and looks in the reasoning of implicit questions, from build to reward."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from unireason.cli import main
from unireason.core.errors import FormatError
from unireason.core.types import Box2D, Box3D, Look
from unireason.data.checks.facts import CheckFindings
from unireason.data.checks.pictures import check_boxes
from unireason.data.dataset import Dataset
from unireason.data.frames import rule
from unireason.grounding import answer
from unireason.model.files import locate
from unireason.rewards.spatial import MAXIMUM_3D, Gold3D, umrg_reward_3d
from unireason.train.cases import Cases
from unireason.train.config import Data
from unireason.train.features import DiskCache
from unireason.train.rollout import truth


def built(folder, frame):
    command = ["data", "build", "phantom", "--patients", "10", "--questions", "0", "--implicit", "1", "--implicit-volumes", "2"]
    assert main([*command, "--frame", str(frame), "--out", str(folder), "--json"]) == 0
    return Dataset.open(folder)


@pytest.fixture(scope="module")
def looking(tmp_path_factory):
    """A folder like the built-in checkpoint's, whose profile of implicit questions allows looks."""
    folder = tmp_path_factory.mktemp("frame") / "looking"
    folder.mkdir()
    for name in ("preprocessor_config.json", "profile.toml"):
        shutil.copy(locate("phantom") / name, folder)
    own = (locate("phantom") / "grounding.toml").read_text()
    assert "max_rounds = 0" in own
    (folder / "grounding.toml").write_text(own.replace("max_rounds = 0", "max_rounds = 6"))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return built(tmp_path_factory.mktemp("plain") / "data", "phantom")


@pytest.fixture(scope="module")
def looked(tmp_path_factory, looking):
    return built(tmp_path_factory.mktemp("looked") / "data", looking)


def test_volumes_are_answered_by_a_cuboid_and_two_points_in_it(plain):
    found = [s for s in plain.samples() if s.kind == "volume"]
    assert len(found) == 20
    cases = {case.scene.case: case.scene for split in ("train", "validation", "test") for case in plain.cases(split)}
    for sample in found:
        structure = cases[sample.case].structures[sample.target]
        assert sample.box == structure.box_model
        assert isinstance(sample.box, Box3D)
        low, high = sample.box.coords[:3], sample.box.coords[3:]
        assert all(a <= v < b for point in sample.points for a, v, b in zip(low, point, high, strict=True))
        reading = answer.read(sample.response, dims=3, way="strict")
        assert (reading.box, reading.points) == (sample.box, sample.points)
        assert sample.target not in sample.question.text
        assert "o'clock" not in sample.question.text
    assert all(isinstance(s.box, Box2D) for s in plain.samples() if s.kind == "image")


def test_reasoning_looks_where_the_profile_allows_it(plain, looked):
    assert not any(isinstance(part, Look) for s in plain.samples() for part in s.reasoning)
    for sample in looked.samples():
        looks = [part for part in sample.reasoning if isinstance(part, Look)]
        assert sample.target in {look.label for look in looks}
        body = "".join(part for part in sample.reasoning if isinstance(part, str))
        assert body.rindex(sample.target) > len(body) - 160  # named in the last sentence alone
        assert sample.response.index("<|box_start|>") < sample.response.index("<answer>")


def test_the_check_holds_them_against_the_masks(looked, capsys):
    assert main(["data", "check", str(looked.folder)]) == 0
    assert "claims" in capsys.readouterr().out


def test_a_wrong_cuboid_is_found(plain):
    sample = next(s for s in plain.samples() if s.kind == "volume")
    case = next(c for split in ("train", "validation", "test") for c in plain.cases(split) if c.scene.case == sample.case)
    x1, y1, z1, x2, y2, z2 = sample.box.coords
    for wrong in (
        replace(sample, box=Box3D(x1, y1, z1, x2, y2, z2 + 1)),
        replace(sample, points=((*sample.points[0][:2], z2), sample.points[1])),
    ):
        found = CheckFindings()
        check_boxes(case, wrong, found)
        assert found.kept
    found = CheckFindings()
    check_boxes(case, sample, found)
    assert not found.kept


def test_the_reward_is_that_of_volumes(plain):
    sample = next(s for s in plain.samples() if s.kind == "volume")
    gold = truth(sample)
    assert isinstance(gold, Gold3D)
    whole = umrg_reward_3d(sample.response, gold)
    assert whole["bbox_iou"] == pytest.approx(1, abs=1e-6)
    assert whole["score"] <= MAXIMUM_3D
    assert umrg_reward_3d("<think>x</think><answer>{}</answer>", gold)["bbox_iou"] == 0


def test_data_that_look_need_a_profile_that_does(looked, looking, tmp_path):
    settings = Data(folders=(str(looked.folder),))
    assert Cases(settings, rule(str(looking)), DiskCache(None, 0)).cases("train")
    with pytest.raises(FormatError, match="max_rounds"):
        Cases(settings, rule("phantom"), DiskCache(None, 0))
