import argparse
import copy
import json
from pathlib import Path

import pytest

from unireason.cli import main
from unireason.cli import tools as command
from unireason.conformance import CHECKS, check, check_file
from unireason.core.errors import FormatError
from unireason.grounding import grammar
from unireason.metrics import answers

GOLDEN = Path(__file__).parents[2] / "golden" / "conformance.json"
CASES = json.loads(GOLDEN.read_text(encoding="utf-8"))


def run(path, *flags):
    parser = argparse.ArgumentParser()
    command.add_conformance(parser.add_subparsers())
    args = parser.parse_args(["conformance", str(path), *flags])
    return args.run(args)


def changed(value):
    """Another value of the same kind, beyond every tolerance."""
    if isinstance(value, dict):
        key = sorted(value)[-1]
        return {**value, key: changed(value[key])}
    if isinstance(value, list):
        return [*value[:-1], changed(value[-1])] if value else [{"coords": [0, 0, 1, 1], "is_3d": False}]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 2
    return "D" if value != "D" else "C"


def places():
    return [(key, name) for key, rule in CHECKS.items() for name in rule.expected]


def test_every_key_has_cases_and_all_pass():
    results = check_file(GOLDEN)
    assert [r.key for r in results] == list(CHECKS)
    assert all(r.total >= 3 for r in results)
    assert [(r.key, r.differences) for r in results if r.passed != r.total] == []


@pytest.mark.parametrize(("key", "name"), places())
def test_a_changed_expectation_of_any_key_fails(key, name, tmp_path, capsys):
    cases = copy.deepcopy(CASES[key])
    cases[1][name] = changed(cases[1][name])
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({key: cases}), encoding="utf-8")
    assert run(path) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{key}: {len(cases) - 1}/{len(cases)}\n  {key}[1].{name}")


@pytest.mark.parametrize("part", sorted(CASES["umrg_reward"][0]["reward"]))
def test_every_reward_component_is_compared(part):
    cases = copy.deepcopy(CASES["umrg_reward"][:1])
    cases[0]["reward"][part] += 2e-6
    assert check({"umrg_reward": cases})[0].passed == 0
    del cases[0]["reward"][part]
    assert check({"umrg_reward": cases})[0].passed == 0


def test_tolerances():
    case = copy.deepcopy(CASES["metrics"][0])
    case["iou"] += 5e-7
    assert check({"metrics": [case]})[0].passed == 1
    case["iou"] = float("nan")
    assert check({"metrics": [case]})[0].passed == 0
    slices = copy.deepcopy(CASES["published_serialize"][0])
    row = slices["slices_uint8"][0][0]
    row[0] += 3 if row[0] < 200 else -3
    assert check({"published_serialize": [slices]})[0].passed == 0


def test_null_and_empty_text_are_not_the_same():
    case = {"response": "none", "inference_choice": None, "reward_choice": ""}
    assert check({"published_choice": [case]})[0].passed == 1
    assert check({"published_choice": [{**case, "inference_choice": ""}]})[0].passed == 0


def test_one_is_not_true():
    case = {"text": "<|box_start|>[1,2,3,4,5,6]<|box_end|>", "boxes": [{"coords": [1, 2, 3, 4, 5, 6], "is_3d": True}]}
    assert check({"box_parse": [case]})[0].passed == 1
    case["boxes"][0]["is_3d"] = 1
    assert check({"box_parse": [case]})[0].passed == 0


def test_our_own_error_is_a_difference():
    case = {"height": 1, "width": 500, "factor": 28, "min_pixels": 1, "max_pixels": 10**6, "resized": [28, 504]}
    result = check({"smart_resize": [case]})[0]
    assert (result.passed, "FormatError" in result.differences[0]) == (0, True)


def test_lines_and_exit_code_of_a_good_file(capsys):
    assert run(GOLDEN) == 0
    assert capsys.readouterr().out == "".join(f"{key}: {len(cases)}/{len(cases)}\n" for key, cases in CASES.items())


def test_json_output(capsys):
    assert run(GOLDEN, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["passed"] is True
    assert data["keys"][0] == {"key": "box_parse", "passed": 8, "total": 8, "differences": []}


def test_only_the_first_few_differences_are_shown():
    cases = [{**case, "choice": "Z"} for case in CASES["answer_choice"]]
    result = check({"answer_choice": cases})[0]
    assert (result.passed, len(result.differences)) == (0, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"answer_choice": []}',
        '{"colour": []}',
        '{"answer_choice": {}}',
        '{"answer_choice": [3]}',
        '{"answer_choice": [{"response": "B"}]}',
        '{"answer_choice": [{"choice": "B"}]}',
        '{"crop_2d": [{"width": "x", "height": 3, "box": [1, 2, 3, 4], "crop": [0, 0, 1, 1]}]}',
        '{"crop_2d": [{"width": 3, "height": 3, "box": [1, 2, 3], "crop": [0, 0, 1, 1]}]}',
        '{"published_serialize": [{"shape": [1, 1, 1], "volume": [1], "target_dhw": [9999, 9999, 9999], "normalize": "minmax", '
        '"slices_uint8": []}]}',
        "[" * 100_000,
    ],
)
def test_unusable_files(text, tmp_path, capsys):
    path = tmp_path / "cases.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError):
        run(path)
    assert capsys.readouterr().out == ""


def test_missing_file_folder_and_bytes(tmp_path):
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "b.json", "nul\0byte"):
        with pytest.raises(FormatError):
            run(path)


def test_exit_codes_of_the_command_line(tmp_path, capsys):
    unknown = tmp_path / "cases.json"
    unknown.write_text('{"colour": []}', encoding="utf-8")
    assert main(["conformance", str(GOLDEN)]) == 0
    assert main(["conformance", str(unknown)]) == 2
    assert main(["conformance", str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err.count("error: ") == 2


def test_both_readers_of_think_tags_mean_the_same_tags():
    assert (answers.THINK_START, answers.THINK_END) == (grammar.THINK_START, grammar.THINK_END)
