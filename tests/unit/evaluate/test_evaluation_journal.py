"""The folder of an evaluation: what binds it, what an older one may lack, rows that are never written over, torn lines, locks."""

from __future__ import annotations

import hashlib
import json
import os
from types import SimpleNamespace

import pytest

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.types import Box2D, Look
from unireason.evaluate.store import ResultStore, held, make_manifest, read_rows
from unireason.evaluate.suites.base import Entry

SAID = {"kind": "run", "seed": 1, "versions": {"torch": "1"}}
LATER = {"truth_sha256": "ab", "split": "test", "suite_options": {"kind": "volume"}}


def written(folder, **more):
    journal = ResultStore(folder, {**SAID, **more})
    journal.add([{"n": 1}])
    return journal


def test_what_a_later_version_adds_does_not_bar_an_older_folder(tmp_path):
    with held(tmp_path):
        written(tmp_path)
        ResultStore(tmp_path, {**SAID, **LATER, "data": "slake", "versions": {"torch": "2"}}).add([{"n": 2}])
    assert list(read_rows(tmp_path / "rows.jsonl", lambda row: row["n"])) == [1, 2]


@pytest.mark.parametrize("name", [*LATER, "seed", "kind"])
def test_what_a_folder_says_binds(tmp_path, name):
    written(tmp_path, **LATER, data="slake")
    ResultStore(tmp_path, {**SAID, **LATER, "data": "moved"})
    with pytest.raises(FormatError, match=f"with another {name}"):
        ResultStore(tmp_path, {**SAID, **LATER, name: "other"})


def test_what_differs_is_told_with_its_values_but_for_hashes(tmp_path):
    written(tmp_path, questions=4, questions_sha256="a" * 64)
    with pytest.raises(FormatError, match=r"another questions \(4 there, 5 now\) and questions_sha256\. Expected the same"):
        ResultStore(tmp_path, {**SAID, "questions": 5, "questions_sha256": "b" * 64})


def test_what_an_older_folder_must_not_lack(tmp_path):
    written(tmp_path)
    with pytest.raises(FormatError, match="with another samples"):
        ResultStore(tmp_path, {**SAID, "samples": 3})
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(FormatError, match="with another kind and seed"):
        ResultStore(tmp_path, SAID)


def test_rows_are_taken_out_and_the_others_stay_as_they_are(tmp_path):
    journal = ResultStore(tmp_path, SAID)
    journal.add([{"n": n, "text": "é", "share": 0.1 * n} for n in range(4)])
    before = (tmp_path / "rows.jsonl").read_bytes().splitlines(keepends=True)
    journal.drop(lambda row: row["n"] > 9)
    assert (tmp_path / "rows.jsonl").read_bytes() == b"".join(before)
    journal.drop(lambda row: row["n"] % 2 == 0)
    assert (tmp_path / "rows.jsonl").read_bytes() == before[1] + before[3]
    journal.add([{"n": 0}])
    assert list(journal.read(lambda row: row["n"])) == [1, 3, 0]
    with pytest.raises(FormatError, match="line 3"):
        journal.drop(lambda row: row["share"] > 0)
    assert list(journal.read(lambda row: row["n"])) == [1, 3, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "rows.jsonl"]


def test_rows_of_which_nothing_is_known_are_not_written_over(tmp_path):
    written(tmp_path)
    (tmp_path / "manifest.json").unlink()
    before = (tmp_path / "rows.jsonl").read_bytes()
    with pytest.raises(FormatError, match=r"has a rows\.jsonl and no manifest\.json"):
        ResultStore(tmp_path, SAID)
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    (tmp_path / "rows.jsonl").write_bytes(b"")
    ResultStore(tmp_path, SAID)


def test_a_torn_line_is_cut_off_and_a_broken_one_is_told(tmp_path):
    written(tmp_path)
    with open(tmp_path / "rows.jsonl", "ab") as stream:
        stream.write(b'{"n": 2')
    journal = ResultStore(tmp_path, SAID)
    journal.add([{"n": 3}])
    assert [row["n"] for row in journal.read(lambda row: row)] == [1, 3]
    for broken in ("[" * 100_000, "[]", '{"m": 1}', "\ufffd"):
        (tmp_path / "rows.jsonl").write_text(broken + "\n")
        with pytest.raises(FormatError, match=r"line 1 of rows\.jsonl"):
            list(journal.read(lambda row: row["n"][0]))


def test_two_processes_do_not_share_a_folder_and_a_dead_one_leaves_it_free(tmp_path):
    with held(tmp_path), pytest.raises(UniReasonError, match="another process"), held(tmp_path):
        pass
    with pytest.raises(KeyError), held(tmp_path):
        raise KeyError
    assert os.path.exists(tmp_path / ".lock")
    with held(tmp_path):
        pass


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match="cannot be written"), held(tmp_path / "file" / "run"):
        pass
    journal = written(tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    (tmp_path / "rows.jsonl").symlink_to("/dev/full")
    with pytest.raises(UniReasonError, match="cannot be written"):
        journal.add([{"n": 2}])


def test_hashes_are_those_of_lines_of_json():
    """Folders of earlier versions were bound by the hash of all lines joined: it must stay the same."""
    looks = (Look("liver", Box2D(1, 2, 3, 4)),)
    entries = [
        Entry("1", "c", "p", "Where?", ("left", "right"), ("left",), "A", {"kind": "image", "family": "place"}, looks),
        Entry("2", "c", "p", "Was \u00e4?", (), ("ein Ger\u00e4t",)),
    ]
    asked = '["1", "c", "Where?", ["left", "right"], ["left"], "A"]\n["2", "c", "Was \\u00e4?", [], ["ein Ger\\u00e4t"], ""]'
    truth = (
        '["p", [["family", "place"], ["kind", "image"]], '
        '[{"label": "liver", "box": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}, "seen": true}]]\n["p", [], []]'
    )
    made = manifest_of(entries)
    assert made["questions_sha256"] == hashlib.sha256(asked.encode()).hexdigest()
    assert made["truth_sha256"] == hashlib.sha256(truth.encode()).hexdigest()
    assert manifest_of([])["questions_sha256"] == hashlib.sha256(b"").hexdigest()


def manifest_of(entries):
    profile = SimpleNamespace(name="default", sha256="0")
    model = SimpleNamespace(name="m", sha256="1", hashed="files", dtype="fp32", profile=profile, versions={})
    return make_manifest("run", SimpleNamespace(checkpoint=model), SimpleNamespace(name="quiz", rule="words"), entries, seed=0)


@pytest.mark.parametrize("other", [{"patient": "q"}, {"tags": {"family": "size"}}, {"looks": (Look("a", Box2D(0, 0, 1, 2)),)}])
def test_the_truth_is_bound_apart_from_the_questions(other):
    def made(**changes):
        entry = Entry(**{"id": "1", "case": "c", "patient": "p", "question": "?", "options": (), "answers": ("a",), **changes})
        return manifest_of([entry])

    one, two = made(), made(**other)
    assert {key for key in one if one[key] != two[key]} == {"truth_sha256"}
    json.dumps(one)
