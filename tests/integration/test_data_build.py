"""Whole builds: the same bytes however they were made."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from unireason.cli import main
from unireason.core.errors import UniReasonError
from unireason.data.build_store import BuildConfig
from unireason.data.dataset import Dataset
from unireason.data.frames import rule
from unireason.data.pipeline import STAGES, Hands, LocalPool, build
from unireason.data.rationale.template import TemplateAnnotator

CONFIG = BuildConfig("phantom", None, {"patients": "9", "seed": "4"}, rule("phantom"), seed=4, slices=1, embed=True, unit_items=2)


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "set"
    build(CONFIG, out, annotator=TemplateAnnotator())
    return out


def test_a_build_is_a_data_set(whole: Path) -> None:
    dataset = Dataset.open(whole)
    cases, samples = list(dataset.cases()), list(dataset.samples())
    counts = dataset.manifest["counts"]
    assert (counts["cases"], counts["samples"]) == (len(cases), len(samples))
    assert {c.scene.case for c in cases} == {s.case for s in samples}
    assert {c.scene.kind for c in cases} == {"image", "volume"}
    assert {s.task for s in samples} == {"vqa", "umrg"}
    assert set(counts["by_split"]) == {"train", "validation", "test"}
    split_of = {c.scene.patient: c.split for c in cases}
    assert all(split_of[s.patient] == s.split for s in samples)
    pictures = list(dataset.images())
    assert len(pictures) == sum(c.scene.frame.depth for c in cases)
    assert not (whole / ".work").exists()
    assert all((whole / name).is_file() for name in dataset.manifest["files"])


def test_two_workers_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    build(CONFIG, tmp_path / "set", annotator=TemplateAnnotator(), hands=Hands(LocalPool(2)))
    assert content(tmp_path / "set") == content(whole)


class StoppedError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_build_stopped_in_any_stage_goes_on_to_the_same_bytes(whole: Path, tmp_path: Path, stage: str) -> None:
    def stop(now: str, done: int, total: int) -> None:
        if now == stage and done > total // 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        build(CONFIG, tmp_path / "set", annotator=TemplateAnnotator(), hands=Hands(LocalPool(1), None, stop))
    build(CONFIG, tmp_path / "set", annotator=TemplateAnnotator())
    assert content(tmp_path / "set") == content(whole)


def command(out: Path, *more: str) -> list[str]:
    settings = ["--patients", "9", "--seed", "4", "--embed", "--workers", "2", "--quiet"]
    return [sys.executable, "-m", "unireason", "data", "build", "phantom", "--out", str(out), *settings, *more]


@pytest.mark.slow
def test_kill_at_random_moments_then_the_same_bytes(tmp_path: Path) -> None:
    """The whole command, killed with all its mercy withheld, several times over."""
    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    chance = random.Random(7)
    out = tmp_path / "killed"
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(command(out), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.8, 3.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills > 0
    subprocess.run(command(out), check=True, capture_output=True)
    assert content(out) == content(tmp_path / "whole")


def test_a_finished_build_is_left_as_it_is(whole: Path) -> None:
    before = content(whole)
    manifest = build(CONFIG, whole, annotator=TemplateAnnotator())
    assert manifest == Dataset.open(whole).manifest
    assert content(whole) == before


def test_other_settings_are_refused(whole: Path, tmp_path: Path) -> None:
    other = BuildConfig("phantom", None, {"patients": "9", "seed": "5"}, rule("phantom"), seed=5)
    with pytest.raises(UniReasonError, match="other settings"):
        build(other, whole, annotator=TemplateAnnotator())
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("keep")
    with pytest.raises(UniReasonError, match="not empty"):
        build(CONFIG, tmp_path / "set", annotator=TemplateAnnotator())
    assert (tmp_path / "set" / "mine.txt").read_text() == "keep"


@pytest.fixture
def ray_off() -> Iterator[None]:
    yield
    import ray

    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_off")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray", "ignore::ResourceWarning")
def test_ray_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    from unireason.cluster.ray_units import RayData

    build(CONFIG, tmp_path / "set", annotator=TemplateAnnotator(), hands=Hands(RayData(2)))
    assert content(tmp_path / "set") == content(whole)


def test_the_command_prints_counts_and_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "build", "phantom", "--out", str(tmp_path / "set"), "--patients", "4", "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["counts"]["samples"] > 8
    assert printed["content_sha256"] == Dataset.open(tmp_path / "set").manifest["content_sha256"]
    assert main(arguments[:-1]) == 0
    assert printed["content_sha256"] in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["phantom", "--patients", "0"],
        ["phantom", "--splits", "1,1"],
        ["phantom", "--option", "colour"],
        ["phantom", "--workers", "0"],
        ["phantom", "--questions", "-1"],
        ["nnunet", "missing-folder"],
        ["nnunet", ".", "--patients", "3"],
        ["phantom", "--frame", "missing-folder"],
    ],
)
def test_bad_arguments_are_clear_errors_and_leave_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "build", *arguments, "--out", str(tmp_path / "set"), "--json"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "set").exists()
