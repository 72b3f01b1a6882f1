"""Builds on bad ground: damaged work files, full disks, two at once, odd names. What comes out is a clear error or the same bytes."""

import errno
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trees
from datasets import SMALL
from unireason.cli import main
from unireason.core.errors import UniReasonError
from unireason.data.build_store import BuildConfig, command
from unireason.data.dataset import MANIFEST, Dataset
from unireason.data.item import Loaded
from unireason.data.pipeline import Hands, LocalPool, build
from unireason.data.rationale.template import TemplateAnnotator
from unireason.data.regions import axial

STAGES = ("draft", "survey", "ask", "select", "write", "gather")


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.pair_tree(tmp_path_factory.mktemp("tree") / "pair", 9)


def config(root: Path, **more: Any) -> BuildConfig:
    return BuildConfig("pair", root, **({"frame": SMALL, "unit_items": 1, "embed": True} | more))


def make(settings: BuildConfig, out: Path, hands: Hands | None = None) -> dict[str, Any]:
    return build(settings, out, annotator=TemplateAnnotator(), hands=hands)


@pytest.fixture(scope="module")
def whole(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "set"
    make(config(tree), out)
    return out


class KilledError(BaseException):
    """Stands for kill -9: nothing but the operating system cleans up after it."""


def stopped_in(stage: str, settings: BuildConfig, out: Path) -> Path:
    """A build that was stopped when a stage had begun; returns its work folder."""

    def stop(now: str, done: int, total: int) -> None:
        if now == stage and done > 0:
            raise KilledError

    with pytest.raises(KilledError):
        make(settings, out, Hands(LocalPool(1), None, stop))
    return out / ".work"


@pytest.mark.parametrize("moved", range(9))
def test_killed_between_renaming_two_files(
    moved: int, tree: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, left, replace = tmp_path / "set", moved, Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal left
        if out / ".work" / "out" in self.parents:
            left -= 1
            if left < 0:
                raise KilledError
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(KilledError):
            make(config(tree), out)
    assert not (out / MANIFEST).exists()
    make(config(tree), out)
    assert content(out) == content(whole)


def test_half_written_files_of_a_kill_are_no_part_of_the_data_set(tree: Path, whole: Path, tmp_path: Path) -> None:
    work = stopped_in("gather", config(tree), tmp_path / "set")
    for name in (".skipped.jsonl.k3j4", "samples/train-00007.parquet", "images/.train-00000.parquet.1.partial"):
        (work / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "out" / name).write_bytes(b"half")
    (tmp_path / "set" / "samples").mkdir()
    (tmp_path / "set" / "samples" / "test-00009.parquet").write_bytes(b"of an earlier try")
    make(config(tree), tmp_path / "set")
    assert content(tmp_path / "set") == content(whole)


WORK_FILES = [
    ("draft", "plan.json.gz"),
    ("draft", "items.jsonl"),
    ("survey", "drafts/000000.json.gz"),
    ("survey", "drafts/000001.parquet"),
    ("ask", "peers.json.gz"),
    ("select", "splits.json.gz"),
    ("select", "asked/000001.json.gz"),
    ("write", "choices/000001.json.gz"),
    ("gather", "rows/000000.json.gz"),
]


MADE_AGAIN = ("plan.json.gz", "drafts/000000.json.gz", "splits.json.gz", "asked/000001.json.gz", "rows/000000.json.gz")


@pytest.mark.parametrize(("stage", "name"), WORK_FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "gone"])
def test_damaged_work_files_are_clear_errors(damage: str, stage: str, name: str, tree: Path, whole: Path, tmp_path: Path) -> None:
    work = stopped_in(stage, config(tree), tmp_path / "set")
    path = work / name
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "garbage": b"\x1f\x8bnonsense" * 9, "gone": b""}[damage])
    if damage == "gone":
        path.unlink()
    if damage == "gone" and name in MADE_AGAIN:
        make(config(tree), tmp_path / "set")
        assert content(tmp_path / "set") == content(whole)
        return
    with pytest.raises(UniReasonError, match="cannot be read"):
        make(config(tree), tmp_path / "set")
    assert not (tmp_path / "set" / MANIFEST).exists()
    shutil.rmtree(work)
    make(config(tree), tmp_path / "set")


@pytest.mark.parametrize("values", [{}, [], {"identity": "x", "units": 3, "skipped": [], "place": ""}])
def test_a_plan_of_another_shape_is_a_clear_error(values: Any, tree: Path, tmp_path: Path) -> None:
    from unireason.data.build_store import write_json

    write_json(tmp_path / "set" / ".work" / "plan.json.gz", values)
    with pytest.raises(UniReasonError, match=r"plan\.json\.gz"):
        make(config(tree), tmp_path / "set")


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


OPEN = Path.open


def full_for_new_files(path: Path, mode: str = "r", *how: Any, **named: Any) -> Any:
    return full() if "x" in mode or "w" in mode else OPEN(path, mode, *how, **named)


FULL = ("pathlib.Path.open", "os.replace", "pathlib.Path.mkdir", "pathlib.Path.replace", "pyarrow.parquet.ParquetWriter")


@pytest.mark.parametrize("place", FULL)
def test_a_full_disk_is_a_clear_error_and_the_build_goes_on_later(
    place: str, tree: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place, full_for_new_files if place == "pathlib.Path.open" else full)
        with pytest.raises(UniReasonError, match="No space left"):
            make(config(tree), tmp_path / "set")
    assert not (tmp_path / "set" / MANIFEST).exists()
    make(config(tree), tmp_path / "set")
    assert content(tmp_path / "set") == content(whole)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out, reason in ((tree / "labels.json" / "set", "Not a directory"), (tmp_path / ("n" * 300), "File name too long")):
        assert main(["data", "build", "pair", str(tree), "--out", str(out), "--json"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert str(out) in error
        assert f"({reason}). Expected a folder that may be written" in error


def test_one_build_a_folder(tree: Path, whole: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def again(stage: str, done: int, total: int) -> None:
        if stage in STAGES and not refused:
            with pytest.raises(UniReasonError, match="another process builds"):
                make(config(tree), tmp_path / "set")
            refused.append(stage)

    make(config(tree), tmp_path / "set", Hands(LocalPool(1), None, again))
    assert refused
    assert content(tmp_path / "set") == content(whole)


def test_a_work_folder_of_somebody_else_is_left_alone(tree: Path, tmp_path: Path) -> None:
    mine = tmp_path / "set" / ".work" / "thesis.tex"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    with pytest.raises(UniReasonError, match=r"thesis\.tex"):
        make(config(tree), tmp_path / "set")
    assert mine.read_text() == "years of work"


def test_another_folder_of_the_same_layout_is_another_data_set(tree: Path, tmp_path: Path) -> None:
    other = trees.pair_tree(tmp_path / "other", 2)
    stopped_in("ask", config(tree), tmp_path / "set")
    with pytest.raises(UniReasonError, match="built from"):
        make(config(other), tmp_path / "set")
    make(config(tree), tmp_path / "set")
    with pytest.raises(UniReasonError, match="built from"):
        make(config(other), tmp_path / "set")


def test_a_source_that_was_repaired_can_be_built(tmp_path: Path) -> None:
    root = trees.pair_tree(tmp_path / "pair", 2)
    good = {path: path.read_bytes() for path in (root / "images").iterdir()}
    for path in good:
        path.write_bytes(b"junk")
    with pytest.raises(UniReasonError, match="not one item"):
        make(config(root), tmp_path / "set")
    assert not (tmp_path / "set").exists()
    for path, data in good.items():
        path.write_bytes(data)
    assert make(config(root), tmp_path / "set")["counts"]["cases"] == 2


def test_no_question_at_all_is_an_error(tree: Path, tmp_path: Path) -> None:
    volumes = trees.pair_tree(tmp_path / "volumes", 1, volumes=True)
    with pytest.raises(UniReasonError, match="not one question"):
        make(config(volumes, questions=0), tmp_path / "set")
    assert not (tmp_path / "set").exists()
    with pytest.raises(UniReasonError, match="both 0"):
        config(tree, questions=0, implicit=0)


def test_implicit_questions_alone(tree: Path, tmp_path: Path) -> None:
    counts = make(config(tree, questions=0, implicit=2), tmp_path / "set")["counts"]
    assert set(counts["by_family"]) == {"implicit_grounding"}
    assert 9 < counts["samples"] <= 18


def test_a_slice_that_fails_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unireason.data import pipeline

    root = trees.pair_tree(tmp_path / "volumes", 1, volumes=True)
    cut, asked = axial, list[int]()

    def failing(loaded: Loaded, k: int) -> Loaded:
        asked.append(k)
        if len(asked) == 1:
            raise UniReasonError("no such slice")
        return cut(loaded, k)

    monkeypatch.setattr(pipeline, "axial", failing)
    make(config(root, slices=3), tmp_path / "set")
    skipped = [json.loads(line) for line in (tmp_path / "set" / "skipped.jsonl").read_text().splitlines()]
    assert skipped == [{"id": f"p1:z{asked[0]:04d}", "reason": "no such slice."}]
    assert len(asked) == 3


def test_items_that_fail_in_the_middle_are_skipped_and_told(tree: Path, tmp_path: Path) -> None:
    root = shutil.copytree(tree, tmp_path / "pair")
    for name in ("p2", "p5"):
        (root / "images" / f"{name}.png").write_bytes((root / "images" / f"{name}.png").read_bytes()[:100])
    manifest = make(config(root), tmp_path / "set", Hands(LocalPool(2)))
    skipped = [json.loads(line)["id"] for line in (tmp_path / "set" / "skipped.jsonl").read_text().splitlines()]
    assert skipped == ["p2", "p5"]
    assert (manifest["skipped"], manifest["counts"]["cases"]) == (2, 7)


def test_names_of_any_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.pair_tree(tmp_path / "pair", 2)
    for folder in ("images", "masks"):
        shutil.copy(root / folder / "p1.png", root / folder / "病 'a|\"\n.png")
        shutil.copy(root / folder / "p1.png", os.fsdecode(os.fsencode(root / folder) + b"/x\xff.png"))
    make(config(root), tmp_path / "set")
    skipped = [json.loads(line) for line in (tmp_path / "set" / "skipped.jsonl").read_text(encoding="utf-8").splitlines()]
    assert skipped == [{"id": "x\\udcff", "reason": "a name or path is no Unicode text"}]
    assert {c.scene.patient for c in Dataset.open(tmp_path / "set").cases()} == {"p1", "p2", "病 'a|\"\n"}
    assert main(["data", "check", str(tmp_path / "set"), "--json"]) == 0


def test_a_worker_that_cannot_write_is_a_clear_error(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "set" / ".work").mkdir(parents=True)
    (tmp_path / "set" / ".work" / "drafts").write_bytes(b"in the way")
    with pytest.raises(UniReasonError, match=r"stopped \(File exists\)"):
        make(config(tree), tmp_path / "set", Hands(LocalPool(2)))


def test_the_result_knows_nothing_of_workers_places_and_hash_seeds(tree: Path, tmp_path: Path) -> None:
    hashes = set()
    copy = shutil.copytree(tree, tmp_path / "ano ther" / tree.name)
    for number, (workers, root, seed, options) in enumerate(
        [(1, tree, "1", ("modality=CT", "patient=p.*")), (3, copy, "77", ("patient=p.*", "modality=CT"))]
    ):
        settings = [part for option in options for part in ("--option", option)]
        line = ["data", "build", "pair", str(root), "--out", f"set {number}", *settings, "--workers", str(workers), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "unireason", *line],
            cwd=root if number else tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        hashes.add(json.loads(done.stdout)["content_sha256"])
    assert len(hashes) == 1
    assert (tmp_path / "set 0" / MANIFEST).read_bytes() == (copy / "set 1" / MANIFEST).read_bytes()


def test_the_command_in_the_manifest_can_be_given_to_a_shell(tmp_path: Path) -> None:
    settings = BuildConfig("pair", tmp_path, {"patient": "(a b)'$x"}, shares=(1 / 3, 1 / 3, 1 - 2 / 3), frame=SMALL)
    words = shlex.split(command(settings))
    assert words[words.index("--option") + 1] == "patient=(a b)'$x"
    assert tuple(map(float, words[words.index("--splits") + 1].split(","))) == settings.shares
    llm = BuildConfig(
        "pair", tmp_path, annotator="llm", annotation={"model": "a b", "temperature": 0.0, "top_p": 1.0, "rules": {}}
    )
    words = shlex.split(command(llm))
    assert words[words.index("--model") + 1] == "a b"
    assert words[words.index("--temperature") + 1] == "0.0"
    assert json.loads(words[words.index("--request") + 1]) == {"top_p": 1.0}


@pytest.mark.parametrize(
    "damage",
    ["[]", "{}", "[" * 100_000, '{"schema": "unireason.dataset/3"}', "\xff", '{"schema": "unireason.dataset/3", "config": []}'],
)
def test_a_damaged_manifest_is_a_clear_error(
    damage: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(whole, tmp_path / "set")
    (out / MANIFEST).write_text(damage)
    with pytest.raises(UniReasonError):
        make(config(tmp_path), out)
    assert main(["data", "check", str(out), "--json"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("key", ["near", "frame", "source", "options"])
@pytest.mark.parametrize("value", [None, -1, "x", [], {"a": None}])
def test_a_damaged_configuration_is_an_error_or_a_finding(
    key: str, value: Any, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(whole, tmp_path / "set")
    manifest = json.loads((out / MANIFEST).read_text())
    manifest["config"][key] = value
    manifest["counts"]["cases"] = value
    (out / MANIFEST).write_text(json.dumps(manifest))
    assert main(["data", "check", str(out), "--json", "--samples", "2"]) == (2 if key in ("source", "options") else 1)
    told = capsys.readouterr()
    assert told.err.startswith("error: ") or not json.loads(told.out)["ok"]
