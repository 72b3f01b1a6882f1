"""All choices of one run that makes the base model; a TOML file sets any of them (``train.config``)."""

from __future__ import annotations

from pydantic import Field

from unireason.core.config import settings
from unireason.grounding.profile import Profile
from unireason.train.config import Above0, Count, From0, Least1

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


@settings
class Base:
    """A run of ``python -m recipes.phantom base``."""

    seed: Count = 0
    """Seed of weights, cohort and batches."""
    patients: Least1 = 4000
    """Training patients."""
    rounds: Least1 = 2
    """Questions of each family drawn a volume."""
    shape: NetworkShape = Field(default_factory=lambda: NetworkShape(width=256, layers=6, heads=8, kv_heads=4, mlp=768))
    """Sizes of the network."""
    tower_steps: Least1 = 2400
    """Steps of dense-mask pre-training."""
    tower_rate: Above0 = 2e-3
    """Its peak learning rate."""
    drill_steps: Count = 150
    """Steps of option drill."""
    steps: Least1 = 4000
    """Steps of grounded SFT."""
    rate: Above0 = 1e-3
    """Peak learning rate of drill and SFT."""
    together_steps: Least1 = 400
    """Steps of the last stage, in which the tower learns along."""
    together_rate: Above0 = 0.3
    """Its learning rate at the start, as a share of ``rate``."""
    volumes: Least1 = 3
    """Volumes a step."""
    images: Least1 = 6
    """Images a step."""
    volume_questions: Least1 = 8
    """Questions at most a volume."""
    image_questions: Least1 = 6
    """Questions at most an image."""
    drill_every: Least1 = 3
    """A small drill is added every so many SFT steps."""
    sigma: From0 = 0.8
    """Width of the number smoothing in pixels."""
    save_every: Least1 = 100
    """Steps between saved states."""
