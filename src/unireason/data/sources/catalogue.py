"""The sources by name, as a command line or a manifest calls them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from unireason.data.item import Source
from unireason.errors import FormatError

_PLACES: dict[str, tuple[str, str]] = {
    "phantom": ("phantom_source", "PhantomSource"),
    "pair": ("pair", "PairSource"),
    "nnunet": ("nnunet", "NnunetSource"),
    "msd": ("msd", "MsdSource"),
    "amos": ("amos", "AmosSource"),
    "totalsegmentator": ("totalsegmentator", "TotalSegmentatorSource"),
    "sa-med2d": ("samed2d", "SaMed2dSource"),
    "m3d-seg": ("m3d", "M3dSource"),
    "slake": ("slake", "SlakeSource"),
}
NAMES: tuple[str, ...] = tuple(_PLACES)
"""Every source that `open_source` knows."""


def open_source(name: str, root: Path | None = None, *, options: Mapping[str, str] = MappingProxyType({})) -> Source:
    """A source by name. Nothing is read before its items are asked for.

    Args:
        name: One of `NAMES`.
        root: The data set's folder; None for phantoms.
        options: Options of the source, as text.

    Raises:
        FormatError: If the name or an option is unknown (the message lists the known ones), or a folder is missing.
    """
    if name not in _PLACES:
        raise FormatError(f"the source {name!r} is not known", f"one of {', '.join(NAMES)}")
    module, kind = _PLACES[name]
    source: Source = getattr(import_module(f"unireason.data.sources.{module}"), kind).open(root, options)
    return source
