from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from recipes.phantom.making import train
from recipes.phantom.network import NetworkShape
from recipes.phantom.recipe import Base
from unireason.core.errors import FormatError
from unireason.train import log
from unireason.train.config import read
from unireason.train.log import TrainWatcher

ROOT = Path(__file__).parents[3]
SHAPE = NetworkShape(width=64, layers=1, heads=4, kv_heads=2, mlp=64, vision_width=32, vision_layers=1, vision_heads=2)
SMALL = Base(
    patients=5, rounds=1, shape=SHAPE, tower_steps=4, drill_steps=2, steps=4, together_steps=3, volumes=1, images=1, save_every=2
)  # fmt: skip


class PowerCutError(Exception):
    pass


class Cut(TrainWatcher):
    """Stops a run right behind a step."""

    def __init__(self, stage, step):
        self.at = stage, step

    def step(self, stage, step, total, values):
        if (stage, step) == self.at:
            raise PowerCutError


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return load_file(train(SMALL, tmp_path_factory.mktemp("straight"), TrainWatcher()) / "model.safetensors")


@pytest.mark.parametrize("when", [("tower", 3), ("language", 2), ("language", 5), ("together", 3)])
def test_a_run_that_was_cut_off_gives_the_same_weights(straight, tmp_path, when):
    with pytest.raises(PowerCutError):
        train(SMALL, tmp_path, Cut(*when))
    resumed = load_file(train(SMALL, tmp_path, TrainWatcher()) / "model.safetensors")
    assert resumed.keys() == straight.keys()
    assert all((resumed[k] == straight[k]).all() for k in straight)


def test_the_checkpoint_asks(straight, tmp_path):
    import unireason
    from unireason.data.sources.phantom import generate

    folder = train(SMALL, tmp_path, TrainWatcher())
    trace = unireason.load(folder, device="cpu").ask(generate(0, 0).case(), "Where?", max_new_tokens=5)
    assert trace.frame.depth == 16


def test_an_export_that_was_cut_off_is_made_again(straight, tmp_path):
    train(SMALL, tmp_path, TrainWatcher())
    (tmp_path / "checkpoint").rename(tmp_path / ".checkpoint.old")
    (tmp_path / ".checkpoint.partial").mkdir()
    (tmp_path / ".checkpoint.partial" / "left-over.json").write_text("{}")
    folder = train(SMALL, train(SMALL, tmp_path, TrainWatcher()).parent, TrainWatcher())
    assert not (folder / "left-over.json").exists()
    assert {p.name for p in tmp_path.iterdir() if p.name.startswith(".")} == set()
    weights = load_file(folder / "model.safetensors")
    assert all((weights[k] == straight[k]).all() for k in straight)


def test_the_log_of_a_resumed_run_has_every_step_once(tmp_path):
    with pytest.raises(PowerCutError):
        train(SMALL, tmp_path, Cut("language", 5))
    train(SMALL, tmp_path, TrainWatcher())
    lines = [(line["stage"], line["step"]) for line in log.read(tmp_path)]
    stages = (("tower", 4), ("language", 6), ("together", 3))
    assert lines == [(stage, step) for stage, total in stages for step in range(1, total + 1)]


def test_a_folder_of_other_settings_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"seed": 1}')
    with pytest.raises(FormatError, match="other settings"):
        train(SMALL, tmp_path, TrainWatcher())


@pytest.mark.parametrize(
    "wrong", ["stepz = 7", "[shape]\nlayer = 2", "steps = ", "patients = 0", "rate = 0.0", "seed = -1", "sigma = -0.5"]
)
def test_settings_are_read_strictly(tmp_path, wrong):
    path = tmp_path / "r.toml"
    path.write_text('kind = "base"\nsteps = 7\nsigma = 0\n[shape]\nlayers = 2\n')
    found = read(path, Base)
    assert (found.steps, found.sigma, found.shape.layers, found.shape.width) == (7, 0.0, 2, 256)
    path.write_text(f'kind = "base"\n{wrong}')
    with pytest.raises(FormatError):
        read(path, Base)


def test_shipped_settings_load():
    assert read(ROOT / "configs" / "phantom-base.toml", Base).steps > 1000
