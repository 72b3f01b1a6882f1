"""The suites by name, as a command line calls them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from unireason.errors import FormatError

from .suite import Suite

_PLACES: dict[str, tuple[str, str]] = {
    "phantom": ("phantom", "PhantomSuite"),
    "built": ("built", "BuiltSuite"),
    "slake": ("slake", "SlakeSuite"),
    "vqa-rad": ("vqa_rad", "VqaRadSuite"),
    "path-vqa": ("path_vqa", "PathVqaSuite"),
    "pmc-vqa": ("pmc_vqa", "PmcVqaSuite"),
    "omnimedvqa": ("omnimedvqa", "OmniMedVqaSuite"),
    "m3d-vqa": ("m3d_vqa", "M3dVqaSuite"),
    "3d-rad": ("rad3d", "Rad3dSuite"),
    "deeptumorvqa": ("deeptumorvqa", "DeepTumorVqaSuite"),
    "unimed-cot": ("unimed_cot", "UnimedCotSuite"),
}
_POINTED: dict[str, str] = {"u-mrg": "a box and two points"}  # answered by no words: suites.pointing reads them
NAMES: tuple[str, ...] = tuple(_PLACES)
"""Every suite that `open_suite` knows."""


def open_suite(
    name: str, root: Path | None = None, *, split: str = "", options: Mapping[str, str] = MappingProxyType({})
) -> Suite:
    """A suite by name. Its files are read when its entries are asked for; phantoms are made at once.

    Args:
        name: One of `NAMES`.
        root: The folder of the data as downloaded; None for phantoms.
        split: Which questions; "" takes those meant for evaluation.
        options: Options of the suite, as text.

    Raises:
        FormatError: If the name, the split or an option is unknown (the message lists the known ones), or a folder is missing.
    """
    if name in _POINTED:
        came = f"the questions of the suite {name!r} are answered by {_POINTED[name]}, not by words"
        raise FormatError(came, f"one of {', '.join(NAMES)}", f"ask them with: unireason eval ground --suite {name}")
    if name not in _PLACES:
        raise FormatError(f"the suite {name!r} is not known", f"one of {', '.join(NAMES)}")
    module, kind = _PLACES[name]
    suite: Suite = getattr(import_module(f"unireason.evaluate.suites.{module}"), kind).open(root, split=split, options=options)
    return suite
