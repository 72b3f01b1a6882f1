"""The reference pages of this room name what the code knows, and their examples work."""

import ast
import json
import re
from dataclasses import fields
from pathlib import Path

import jsonschema

from unireason.conformance import CHECKS
from unireason.core.types import Crop, LookStep
from unireason.grounding import answer, crop, grammar, profile
from unireason.grounding import trace as steps
from unireason.grounding.trace import SCHEMA, from_json, steps_from_text

PAGES = Path(__file__).parents[3] / "docs" / "reference"


def page(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def example(name, language):
    return re.search(rf"```{language}\n(.*?)```", page(name), re.DOTALL)[1]


def codes(module):
    """Every text that a module uses as a problem code."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {t for t in texts if re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", t)} - {"points_1", "points_2"}


def property_names(schema):
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from property_names(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from property_names(value)


def test_every_problem_code_is_explained():
    found = {code for module in (grammar, crop, steps, answer) for code in codes(module)} - set(property_names(SCHEMA))
    assert {"unclosed_box", "box_2d_on_volume", "spelled_tag", "bad_points"} <= found
    assert [code for code in sorted(found) if f"`{code}`" not in page("grammar")] == []


def test_every_conformance_key_is_explained():
    assert [key for key in CHECKS if f"`{key}`" not in page("grammar")] == []


def test_every_profile_field_is_explained_and_the_example_loads():
    assert [f.name for f in fields(profile.Profile) if f"`{f.name}`" not in page("profiles")] == []
    assert profile.from_toml(example("profiles", "toml")).max_rounds == 4


def test_every_key_of_a_trace_is_explained_and_the_example_is_one():
    text = page("trace")
    assert [name for name in set(property_names(SCHEMA)) if f"`{name}`" not in text and f'"{name}"' not in text] == []
    data = json.loads(example("trace", "json"))
    jsonschema.Draft202012Validator(SCHEMA).validate(data)
    trace = from_json(data)
    executions = [steps.Execution(look.crops, look.box_voxel) for look in trace.looks]
    made, problems = steps_from_text(trace.raw_text, executions=executions, choose=lambda text: text[0])
    assert problems == trace.problems
    assert [s.type for s in made] == ["text", "look", "answer"]
    look = made[1]
    assert isinstance(look, LookStep)
    assert isinstance(look.crops[0], Crop)
    assert (look.label, look.box_model, look.text) == (trace.looks[0].label, trace.looks[0].box_model, trace.looks[0].text)
    assert (made[0], made[2]) == (trace.steps[0], trace.steps[2])
