"""Results are checked where they are made or read; what is missing is named, and nothing is lost or changed."""

from __future__ import annotations

import json

import pytest

from unireason.core.errors import FormatError, UniReasonError
from unireason.evaluate.results import EvidenceResults, ShareFound, evenly

SHARE = {"value": 1, "ci95": None, "n": 3}
EARLY = {  # as the first version wrote them
    "conditions": {"true": {"accuracy": 1, "ci95": [0, 1], "n": 3, "chance": 0.5, "meaning": "m"}},
    "reliance": SHARE, "reliance_condition": "random_region", "looked": 1, "left_out": [], "unreadable": {"n": 0, "questions": {}},
    "manifest": {"questions": 3, "seed": 0, "checkpoint": {"name": "m", "sha256": "a", "dtype": "float32"}, "later": [1]},
}  # fmt: skip


def test_files_of_an_early_version_are_read_and_given_back_as_they_were(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(EARLY))
    found = EvidenceResults.read(path)
    assert found.conditions["true"].ends == [0, 1]  # they know no interval over patients
    assert found.conditions["true"].mismatch_rate is None
    assert json.dumps(found.to_json()) == json.dumps(EARLY)
    assert found.reliance.to_json() == SHARE


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"reliance": {"value": 1, "ci95": [0.5], "n": 3}}, "reliance.ci95"),
        ({"conditions": {"true": {}}}, "conditions.true.accuracy"),
        ({"manifest": None}, "manifest"),
    ],
)
def test_what_is_missing_is_named(change, place):
    with pytest.raises(FormatError, match=place):
        EvidenceResults.of({**EARLY, **change})


def test_a_message_holds_nothing_of_what_was_read():
    with pytest.raises(FormatError) as caught:
        ShareFound.of({**SHARE, "value": "Name^of^a^patient"})
    assert "patient" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "half.json").write_text("{")
    for name in ("half.json", "none.json"):
        with pytest.raises(UniReasonError, match=name):
            EvidenceResults.read(tmp_path / name)


def test_examples_are_spread_evenly():
    assert evenly(range(10), 4) == [0, 3, 6, 9]
    assert evenly([1, 2], 4) == [1, 2]
    assert evenly(range(5), 1) == [0]
