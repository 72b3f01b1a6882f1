"""``run.py`` of VLMEvalKit with the two lines that the page on bridges puts into its list of models, on exported tables."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from kit_runs import TESTED, copied, documented, run

pytestmark = [pytest.mark.kits, pytest.mark.timeout(1500)]


@pytest.fixture
def kit(tmp_path):
    """A copy of the kit that knows our model."""
    (tmp_path / "kit").mkdir()
    folder = copied("VLMEVALKIT", tmp_path / "kit", ("vlmeval", "run.py"))
    with (folder / "vlmeval" / "config.py").open("a", encoding="utf-8") as config:
        config.write("\n" + documented("vlmevalkit"))
    return folder


def test_vlmevalkit_gets_and_counts_the_same_answers(kit, phantoms, slake, tmp_path):
    import pandas as pd

    tables = [
        *phantoms.export("vlmevalkit", tmp_path / "a").glob("*.tsv"),
        *slake.export("vlmevalkit", tmp_path / "b").glob("*.tsv"),
    ]
    (tmp_path / "data").mkdir()
    for table in tables:
        table.rename(tmp_path / "data" / table.name)
    names = [phantoms.name, slake.name, f"{slake.name}_openended"]
    assert sorted(table.stem for table in tables) == sorted(names)
    run(
        *(sys.executable, Path(__file__).with_name("stand_ins.py"), "run.py", "--data", *names, "--model", "unireason"),
        *("--judge", "exact_matching", "--work-dir", tmp_path / "out"),
        folder=kit,
        LMUData=str(tmp_path / "data"),
    )

    def said(name, ending=""):
        (file,) = (tmp_path / "out" / "unireason").glob(f"T*/unireason_{name}{ending}.xlsx")
        return pd.read_excel(file).sort_values("index")

    asked = [(exam, [bool(row["options"]) for row in exam.rows]) for exam in (phantoms, slake)]
    for exam, choice in asked:
        counted = said(exam.name, "_exact_matching_result")
        pairs = [(answer, right) for answer, right, is_choice in zip(exam.answers, exam.right, choice, strict=True) if is_choice]
        assert list(counted["prediction"]) == [answer["choice"] for answer, _ in pairs]
        assert list(counted["hit"] == 1) == [right for _, right in pairs]
        ours = f"{len(pairs)} right, unireason eval run {sum(right for _, right in pairs)}"
        print(f"VLMEvalKit (tested: {TESTED['VLMEVALKIT'][1]}), {exam.name}: {counted['hit'].sum()} of {ours}")
    (open_answer,) = [answer["text"] for answer, is_choice in zip(slake.answers, asked[1][1], strict=True) if not is_choice]
    assert list(said(f"{slake.name}_openended")["prediction"]) == [open_answer]
