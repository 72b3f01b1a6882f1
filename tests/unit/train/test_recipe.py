from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from unireason.errors import FormatError
from unireason.model.scratch import Shape
from unireason.train.recipe import Recipe, read_recipe, train

SHAPE = Shape(width=64, layers=1, heads=4, kv_heads=2, mlp=64, vision_width=32, vision_layers=1, vision_heads=2)
SMALL = Recipe(
    patients=5, rounds=1, shape=SHAPE, tower_steps=4, drill_steps=2, steps=4, together_steps=3, volumes=1, images=1, save_every=2
)  # fmt: skip


class PowerCutError(Exception):
    pass


def cut_at(stage, step):
    def report(now_stage, now_step, total, values):
        if (now_stage, now_step) == (stage, step):
            raise PowerCutError

    return report


def quiet(stage, step, total, values):
    pass


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return load_file(train(SMALL, tmp_path_factory.mktemp("straight"), quiet) / "model.safetensors")


@pytest.mark.parametrize("when", [("tower", 3), ("language", 2), ("language", 5), ("together", 3)])
def test_a_run_that_was_cut_off_gives_the_same_weights(straight, tmp_path, when):
    with pytest.raises(PowerCutError):
        train(SMALL, tmp_path, cut_at(*when))
    resumed = load_file(train(SMALL, tmp_path, quiet) / "model.safetensors")
    assert resumed.keys() == straight.keys()
    assert all((resumed[k] == straight[k]).all() for k in straight)


def test_the_checkpoint_asks(straight, tmp_path):
    import unireason
    from unireason.data.sources.phantom import generate

    folder = train(SMALL, tmp_path, quiet)
    trace = unireason.load(folder, device="cpu").ask(generate(0, 0).case(), "Where?", max_new_tokens=5)
    assert trace.frame.depth == 16


def test_an_export_that_was_cut_off_is_made_again(straight, tmp_path):
    train(SMALL, tmp_path, quiet)
    (tmp_path / "checkpoint").rename(tmp_path / ".checkpoint.old")
    (tmp_path / ".checkpoint.partial").mkdir()
    (tmp_path / ".checkpoint.partial" / "left-over.json").write_text("{}")
    folder = train(SMALL, train(SMALL, tmp_path, quiet).parent, quiet)
    assert not (folder / "left-over.json").exists()
    assert {p.name for p in tmp_path.iterdir() if p.name.startswith(".")} == set()
    weights = load_file(folder / "model.safetensors")
    assert all((weights[k] == straight[k]).all() for k in straight)


def test_another_recipe_is_refused(tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps({"seed": 1}))
    with pytest.raises(FormatError, match="another recipe"):
        train(SMALL, tmp_path, quiet)


def test_recipes_are_read_strictly(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("steps = 7\n[shape]\nlayers = 2\n")
    assert read_recipe(path).steps == 7
    assert read_recipe(path).shape.layers == 2
    for wrong in ("stepz = 7", "[shape]\nlayer = 2", "steps = "):
        path.write_text(wrong)
        with pytest.raises(FormatError):
            read_recipe(path)
    with pytest.raises(FormatError):
        read_recipe(tmp_path / "none.toml")


def test_shipped_recipe_loads():
    from pathlib import Path

    assert read_recipe(Path(__file__).parents[3] / "configs" / "phantom-builtin.toml").steps > 1000
