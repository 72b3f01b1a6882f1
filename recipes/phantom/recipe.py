"""All choices of one run that makes the base model; a TOML file sets any of them (``settings.load``)."""

from __future__ import annotations

from dataclasses import dataclass, field

from unireason.core.errors import FormatError
from unireason.grounding.profile import Profile
from unireason.train.config import check

from .cohort import VOLUME
from .network import NetworkShape

MIN_PIXELS, MAX_PIXELS = 784, 12544
PROFILE = Profile(
    name="phantom",
    system_2d="You read a medical image.",
    system_3d="You read a medical scan.",
    slice_label="{index}",
    volume_shape=(VOLUME.depth, VOLUME.height, VOLUME.width),
    max_rounds=6,
    max_new_tokens=160,
    max_round_tokens_2d=80,
    max_round_tokens_3d=80,
    chat="chatml",
)


@dataclass(frozen=True, slots=True)
class Base:
    """A run of ``python -m recipes.phantom base``.

    Attributes:
        seed: Seed of weights, cohort and batches.
        patients: Training patients.
        rounds: Questions of each family drawn a volume.
        shape: Sizes of the network.
        tower_steps: Steps of dense-mask pre-training.
        tower_rate: Its peak learning rate.
        drill_steps: Steps of option drill.
        steps: Steps of grounded SFT.
        rate: Peak learning rate of drill and SFT.
        together_steps: Steps of the last stage, in which the tower learns along.
        together_rate: Its learning rate at the start, as a share of ``rate``.
        volumes: Volumes a step.
        images: Images a step.
        volume_questions: Questions at most a volume.
        image_questions: Questions at most an image.
        drill_every: A small drill is added every so many SFT steps.
        sigma: Width of the number smoothing in pixels.
        save_every: Steps between saved states.
    """

    seed: int = 0
    patients: int = 4000
    rounds: int = 2
    shape: NetworkShape = field(default_factory=lambda: NetworkShape(width=256, layers=6, heads=8, kv_heads=4, mlp=768))
    tower_steps: int = 2400
    tower_rate: float = 2e-3
    drill_steps: int = 150
    steps: int = 4000
    rate: float = 1e-3
    together_steps: int = 400
    together_rate: float = 0.3
    volumes: int = 3
    images: int = 6
    volume_questions: int = 8
    image_questions: int = 6
    drill_every: int = 3
    sigma: float = 0.8
    save_every: int = 100


@check.register
def _base(base: Base) -> None:
    """Counts and rates that a run can be made with."""
    from_nothing = {"seed", "sigma", "drill_steps"}
    for name in (n for n in base.__slots__ if n != "shape"):
        value, least = getattr(base, name), 0 if name in from_nothing else 1
        if value < 0 or (value < least and isinstance(value, int)) or (value == 0 and name not in from_nothing):
            raise FormatError(f"{name} is {value}", f"a number from {least}" if isinstance(value, int) else "a number above 0")
