"""The work folder: plan, units, files that are whole or absent."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from unireason.core.errors import UniReasonError
from unireason.data.build_store import BuildFolder, item_from_json, item_to_json, read_json, write_json
from unireason.data.item import Item, MaskRef, Skipped


def item(name: str) -> Item:
    mask = MaskRef(f"m/{name}.png", {1: "liver", 3: "left kidney"}, binary=False, detail="d")
    return Item(
        id=name,
        patient=f"p-{name}",
        kind="volume",
        image=f"i/{name}.nii",
        masks=(mask,),
        annotated=("liver", "left kidney"),
        modality="CT",
        spacing_mm=(1.0, 2.0, 0.5),
        read=(("frame", 0),),
        split="training",
        extra={"a": "b"},
    )


def test_items_survive_json() -> None:
    for one in (item("ä"), Item("x", "p", "image", "x.png", (), ())):
        assert item_from_json(json.loads(json.dumps(item_to_json(one)))) == one


def test_units_read_their_own_items(tmp_path: Path) -> None:
    work = BuildFolder(tmp_path / "w")
    items = [item(f"ü{i}") for i in range(7)]
    work.write_plan("id", [*items[:3], Skipped("bad", "broken"), *items[3:], items[0]], unit_items=3)
    plan, units = read_json(work.plan), work.units()
    assert [u.count for u in units] == [3, 3, 1]
    assert [i for u in units for i in work.read_items(u)] == items
    assert plan["skipped"][0] == ["bad", "broken"]
    assert plan["skipped"][1][0] == "ü0"


def test_eight_images_count_as_much_as_a_volume(tmp_path: Path) -> None:
    work = BuildFolder(tmp_path / "w")
    images = [replace(item(f"i{n}"), kind="image") for n in range(20)]
    work.write_plan("id", [*images, item("v"), item("w"), item("x")], unit_items=2)
    assert [u.count for u in work.units()] == [16, 5, 2]


def test_a_source_without_items_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(UniReasonError, match=r"no usable item.*bad: broken"):
        BuildFolder(tmp_path / "w").write_plan("id", [Skipped("bad", "broken")], unit_items=3)
    assert not BuildFolder(tmp_path / "w").plan.exists()


def test_equal_values_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_json(tmp_path / name, {"x": [1, 2.5, "é"]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads(gzip.decompress((tmp_path / "a").read_bytes())) == read_json(tmp_path / "b") == {"x": [1, 2.5, "é"]}
