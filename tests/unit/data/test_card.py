"""The data-set card: metadata that parse, counts as in the manifest, nothing of the machine."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from unireason.data.dataset_card import write_card

MANIFEST = {
    "schema": "unireason.dataset/3",
    "version": "0.1.0",
    "title": "Drawn | data",
    "licence": "CC BY-NC-SA 4.0 (CC-BY-NC-SA-4.0)",
    "command": "unireason data build nnunet PATH --out DIR --seed 0",
    "content_sha256": "ab" * 32,
    "skipped": 3,
    "config": {
        "source": "nnunet",
        "frame": {"name": "published", "volume_shape": [32, 256, 256], "image_size": None, "factor": 28},
    },
    "files": {"samples/train-00000.parquet": "0", "samples/test-00000.parquet": "0", "cases/train-00000.parquet": "0"},
    "counts": {
        "samples": 1500,
        "cases": 700,
        "by_split": {"test": 500, "train": 1000},
        "by_kind": {"image": 900, "volume": 600},
        "by_family": {"size_comparison": 1500},
        "by_split_kind_family": {"train": {"image": {"size_comparison": 900}, "volume": {"size_comparison": 100}}},
        "letters": {"A": 750, "B": 750},
        "structures": {"liver": 10, "spleen": 20},
        "by_modality": {"CT": 700},
    },
}


def card(folder, manifest=MANIFEST):
    write_card(folder, manifest)
    return (folder / "README.md").read_text()


def test_the_front_matter_is_yaml_with_the_hubs_keys(tmp_path):
    front = yaml.safe_load(card(tmp_path).split("---\n")[1])
    assert front["license"] == "cc-by-nc-sa-4.0"
    assert front["size_categories"] == ["1K<n<10K"]
    assert front["pretty_name"] == "Drawn | data"
    samples, cases = front["configs"]
    assert (samples["config_name"], samples["default"], cases["config_name"]) == ("samples", True, "cases")
    assert samples["data_files"] == [
        {"split": "train", "path": "samples/train-*.parquet"},
        {"split": "test", "path": "samples/test-*.parquet"},
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("CC0-1.0 (synthetic)", {"license": "cc0-1.0"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("unknown", {"license": "other", "license_name": "unknown"}),
        ('by "hand": no\nyes', {"license": "other", "license_name": 'by "hand": no yes'}),
        ("", {"license": "other", "license_name": "unknown"}),
        ("permit", {"license": "other", "license_name": "permit"}),
    ],
)
def test_licences(tmp_path, said, expected):
    front = yaml.safe_load(card(tmp_path, MANIFEST | {"licence": said}).split("---\n")[1])
    assert {key: front.get(key) for key in expected} == expected


def test_counts_stand_in_tables(tmp_path):
    text = card(tmp_path)
    assert "1,500 questions with grounded reasoning about 700 images and volumes" in text
    assert "| train | 0 | 1,000 |" in text
    assert "| size comparison | 900 | 100 | 1,500 |" in text
    assert "| A | 750 | 50.0% |" in text
    assert "spleen (20), liver (10)" in text
    assert "$ unireason data build nnunet PATH --out DIR --seed 0" in text
    assert "Drawn \\| data" in text
    assert "not a medical device" in text
    assert "synthetic" not in text


def test_flat_and_nested_counts_give_one_card(tmp_path):
    flat = {"train/image/size_comparison": 900, "train/volume/size_comparison": 100}
    counts = MANIFEST["counts"] | {"by_split_kind_family": flat}
    assert card(tmp_path, MANIFEST | {"counts": counts}) == card(tmp_path)


def test_missing_keys_are_left_out(tmp_path):
    text = card(tmp_path, {})
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "other"
    assert "configs" not in text
    assert "0 questions" in text
    assert "Model frame `" not in text


def test_results_of_the_check_are_shown(tmp_path):
    assert "not been checked" in card(tmp_path)
    audit = {"size_comparison": {"accuracy": 0.265, "chance": 0.25, "ci95": [0.22, 0.31]}}
    (tmp_path / "check.json").write_text(json.dumps({"ok": True, "problems": [], "shortcut": audit}))
    text = card(tmp_path)
    assert "passed" in text
    assert "| size comparison | 26.5% | 22.0% to 31.0% | 25.0% | ok |" in text
    (tmp_path / "check.json").write_text(json.dumps({"ok": False, "problems": ["x", "y"]}))
    assert "**2 problems**" in card(tmp_path)
    (tmp_path / "check.json").write_text(json.dumps({"ok": False, "problems": ["x"] * 50, "counts": {"boxes": 1200, "files": 0}}))
    assert "**1,200 problems**" in card(tmp_path)
    (tmp_path / "check.json").write_text("{")
    assert "not been checked" in card(tmp_path)


def test_a_result_about_other_content_is_not_shown(tmp_path):
    for content, shown in (("a", True), ("b", False)):
        (tmp_path / "check.json").write_text(json.dumps({"ok": True, "problems": [], "content_sha256": content}))
        assert ("passed" in card(tmp_path, MANIFEST | {"content_sha256": "a"})) is shown


def test_families_with_too_few_questions_are_not_judged(tmp_path):
    audit = {n: {"accuracy": 0.5, "chance": 0.25, "ci95": [0.2, 0.8], "ok": n != "b", "too_few": n == "c"} for n in "abc"}
    (tmp_path / "check.json").write_text(json.dumps({"ok": False, "problems": ["x"], "shortcut": audit}))
    text = card(tmp_path)
    assert "**1 problem**." in text
    verdicts = ("ok", "tells the answer", "too few to judge")
    assert all(f"| {n} | 50.0% | 20.0% to 80.0% | 25.0% | {v} |" in text for n, v in zip("abc", verdicts, strict=True))


def test_equal_manifests_have_equal_cards(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    text = card(tmp_path / "a")
    assert text == card(tmp_path / "b", json.loads(json.dumps(MANIFEST)))
    assert str(tmp_path) not in text


def test_no_text_of_a_manifest_becomes_markup(tmp_path):
    bad = "</h1><script>alert(1)</script> [x](javascript:1) `<img src=x>`\n```\n# more"
    texts = dict.fromkeys(("title", "licence", "command", "version", "schema", "content_sha256"), bad)
    frame = {"name": bad, "volume_shape": [bad], "image_size": [bad], "factor": bad, "window": bad}
    counts = MANIFEST["counts"] | {"structures": {bad: 3}, "by_modality": {bad: 1}, "by_family": {bad: 2}, "dropped": {bad: 1}}
    text = card(tmp_path, MANIFEST | texts | {"counts": counts, "config": {"source": bad, "frame": frame}})
    _, _, body = text.split("---\n", 2)
    code = re.sub(r"^```console\n\$ [^`]*\n```$|`[^`\n]*`", "", body.replace("\\`", ""), flags=re.MULTILINE)
    assert "`" not in code, "every span and block of code is closed where it should be"
    for sign in "<[":
        assert not re.search(rf"(?<!\\){re.escape(sign)}", code), sign
    assert next(line for line in body.splitlines() if line.startswith("#")).endswith(": grounded reasoning data")
    assert sum(line.startswith("#") for line in body.splitlines()) == 5
