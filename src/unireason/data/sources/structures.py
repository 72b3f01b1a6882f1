"""What data sets say about their labels and modalities, brought into one form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from unireason.data.names import readable
from unireason.errors import FormatError

MAX_LABELS = 4096
_NO_STRUCTURES = {"background", "ignore", "unlabeled", "unlabelled", "void", ""}
# First match wins. Codes: DICOM PS3.3 C.7.3.1.1.1.
_MODALITIES = (
    (r"ct(_.*|\d.*)?|cbct|computed tomography|ncct|cta", "CT"),
    (r"mri?(_.*)?|t1.*|t2.*|flair|adc|dwi|pd|dti|swi|bold|cine.*|lge|bssfp|magnetic.*|mp.?mri", "MR"),
    (r"pet(_.*)?|pt", "PT"),
    (r"us(_.*)?|ultra.?sound.*|echo.*", "US"),
    (r"mammo.*|mg", "MG"),
    (r"(chest.?)?x.?ray.*|dx|cr|radiograph.*|cxr", "DX"),
    (r"fundus.*|retina.*|cfp|slo", "OP"),
    (r"oct(_.*)?|optical coherence.*", "OPT"),
    (r"endoscop.*|colonoscop.*|laparoscop.*", "ES"),
    (r"dermoscop.*|dermatoscop.*|skin.*|photo.*", "XC"),
    (r"histo.*|patho.*|wsi", "SM"),
    (r"microscop.*|fluoresc.*", "GM"),
)


@lru_cache(maxsize=1024)
def modality_code(text: str) -> str:
    """DICOM modality code of what a data set calls its modality ("T1w", "mr_t1", "x_ray"); "" if it cannot be told."""
    plain = text.strip().lower()
    return next((code for pattern, code in _MODALITIES if re.fullmatch(pattern, plain)), "")


def structure(raw: Any) -> str:
    """The readable name of a structure; "" for what is no structure (background, ignored voxels).

    Raises:
        FormatError: If it is no text or longer than 200 characters.
    """
    if not isinstance(raw, str) or len(raw) > 200:
        raise FormatError(f"a structure name is {str(raw)[:50]!r}", "text of at most 200 characters")
    name = readable(raw)
    return "" if name in _NO_STRUCTURES else name


def value_of(raw: Any) -> int:
    """A label value.

    Raises:
        FormatError: If it is no whole number from 0 to 2^32 - 1.
    """
    text = str(raw).strip()
    if isinstance(raw, bool | float) or not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) >= 2**32:
        raise FormatError(f"a label value is {str(raw)[:50]!r}", "a whole number from 0")
    return int(text)


def legend(table: Mapping[Any, Any]) -> dict[int, str]:
    """Label values to readable names, from a table that runs either way ({"1": "liver"} or {"liver": 1}).

    Args:
        table: The table as stored; value 0 is left out.

    Returns:
        Value to name, by value; "" for what is no structure.

    Raises:
        FormatError: If it runs neither way, is larger than 4,096 entries, or names one value twice.
    """
    if len(table) > MAX_LABELS:
        raise FormatError(f"there are {len(table):,} labels", f"at most {MAX_LABELS:,}")
    pairs: list[tuple[Any, Any]] = list(table.items())
    if all(isinstance(v, str) and not v.strip().isdigit() for _, v in pairs):
        pairs = [(v, k) for k, v in pairs]
    found: dict[int, str] = {}
    for raw, value in pairs:
        name, number = structure(raw), value_of(value)
        if number:
            if found.get(number, name) != name:
                raise FormatError(f"the label {number} is both '{found[number]}' and '{name}'", "one name a value")
            found[number] = name
    return dict(sorted(found.items()))
