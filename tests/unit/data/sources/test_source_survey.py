"""What `unireason data inspect` finds out and prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import trees
from unireason.cli import main
from unireason.data.item import Item, Loaded
from unireason.data.sources.base import open_source
from unireason.data.survey import Even, listed, look_into


@settings(max_examples=40)
@given(st.integers(0, 300), st.integers(0, 9))
def test_an_even_choice_is_spread_and_bounded(count: int, limit: int) -> None:
    kept = Even[int](limit)
    for n in range(count):
        kept.add(n if kept.wants_next() else None)
        assert len(kept._kept) <= 4 * limit
    chosen = kept.chosen()
    assert len(chosen) == min(count, limit)
    assert chosen == sorted(set(chosen))
    if limit and count > limit:
        gaps = np.diff([-1, *chosen, count])
        assert gaps.max() <= 3 * count / limit + 1


def test_the_survey_counts_by_hand(tmp_path: Path) -> None:
    source = open_source("sa-med2d", trees.samed2d_tree(tmp_path))
    found, items = listed(source)
    assert (found.items, found.patients, found.skipped) == (6, 4, 0)
    assert found.kinds == {"image": 6}
    assert found.modalities == {"CT": 4, "OP": 1, "MR": 1}
    loaded = list(look_into(found, source, items))
    assert [one is None for one in loaded].count(True) == 1
    assert (found.loaded, found.failed, found.unspaced) == (5, 1, 5)
    assert found.structures["right kidney"] == [4, 4]
    assert found.structures["liver"] == [0, 4]
    assert found.structures["optic disc"] == [1, 1]
    assert found.sizes == {"image": [[50, 124], [40, 124]]}
    assert [item for item, _ in found.problems] == ["mr_t1--Phantom--case_900--x_0001"]


@pytest.mark.parametrize("ignored", [False, True])
def test_values_and_their_names_are_told(tmp_path: Path, ignored: bool) -> None:
    root = trees.pair_tree(tmp_path)
    trees.write_json(root / "labels.json", {"5": "spleen", "250": "liver"})
    source = open_source("pair", root, options={"ignore-unnamed": "yes"} if ignored else {})
    found, items = listed(source)
    list(look_into(found, source, items))
    held = [set(np.unique(trees.patient(n).labels[trees.busy(trees.patient(n))]).tolist()) - {0} for n in range(2)]
    wanted = {(v, "spleen" if v == 5 else None): sum(v in h for h in held) for v in held[0] | held[1]} | {(250, "liver"): 0}
    assert dict(found.values) == wanted
    assert (found.loaded, found.failed) == ((2, 0) if ignored else (0, 2))
    assert {"value": 250, "name": "liver", "items": 0} in found.to_json()["values"]


def test_inspect_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "inspect", "phantom", "--option", "patients=3", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "items        3 (3 volume), 0 skipped" in out
    assert "modalities   3 CT" in out
    assert "contact sheet: contact-sheet.png" in out
    assert "problems     none" in out
    assert "mask values  13; value, name" in out
    with Image.open(tmp_path / "contact-sheet.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 900


def test_inspect_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.totalsegmentator_tree(tmp_path / "data")
    sheet = tmp_path / "s.png"
    assert main(["data", "inspect", "totalsegmentator", str(root), "--json", "--sheet", str(sheet), "--limit", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["skipped"], found["loaded"], found["failed"]) == (2, 1, 2, 0)
    assert found["structures"]["left kidney"] == {"present": 1, "annotated": 2}
    assert found["problems"] == [{"item": "s0999", "reason": "it holds 0 of ct.nii.gz and mri.nii.gz, expected one"}]
    assert found["licence"] == "CC-BY-4.0"
    assert sheet.is_file()


def test_inspect_is_the_same_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.nnunet_tree(tmp_path / "data")
    outs, pictures = [], []
    for _ in range(2):
        assert main(["data", "inspect", "nnunet", str(root), "--json", "--sheet", str(tmp_path / "s.png")]) == 0
        outs.append(capsys.readouterr().out)
        pictures.append((tmp_path / "s.png").read_bytes())
    assert outs[0] == outs[1]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], "one of phantom, pair"),
        (["nnunet", "."], "dataset.json"),
        (["phantom", "--option", "patients"], "KEY=VALUE"),
        (["phantom", "--option", "colour=red"], "no option 'colour'"),
        (["phantom", "--limit", "0"], "at least 1"),
        (["slake"], "folder"),
    ],
)
def test_inspect_tells_what_was_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "inspect", *arguments, "--quiet"]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_inspect_where_nothing_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.pair_tree(tmp_path / "data")
    for path in (root / "masks").iterdir():
        path.write_bytes(b"junk")
    assert main(["data", "inspect", "pair", str(root), "--quiet", "--sheet", str(tmp_path / "s.png")]) == 1
    out = capsys.readouterr().out
    assert "problems     2:" in out
    assert "p1.png" in out


def test_listing_reads_no_pixel(tmp_path: Path) -> None:
    root = trees.nnunet_tree(tmp_path)
    for path in [*(root / "imagesTr").iterdir(), *(root / "labelsTr").iterdir()]:
        path.write_bytes(b"")
    assert sum(isinstance(i, Item) for i in open_source("nnunet", root).items()) == 2


def test_opening_a_source_loads_nothing_heavy() -> None:
    code = (
        "import sys; from unireason.data.sources.base import open_source, NAMES; from pathlib import Path; "
        "[open_source(n, None if n == 'phantom' else Path('x')) for n in NAMES]; "
        "print([m for m in ('torch', 'SimpleITK', 'PIL', 'pyarrow', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loaded_is_what_the_protocol_says() -> None:
    source = open_source("phantom", options={"patients": "1"})
    item = next(iter(source.items()))
    assert isinstance(item, Item)
    assert isinstance(source.load(item), Loaded)
