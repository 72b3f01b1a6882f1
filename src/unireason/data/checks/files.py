"""Check "files": the manifest lists every file, every file is as listed, and the counts agree.

A data set whose files were touched after the build is not the one that its card describes.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unireason.data.dataset import MANIFEST, ORIGIN
from unireason.data.item import inside
from unireason.data.records import READABLE
from unireason.errors import UniReasonError
from unireason.files import json_text, sha256

from .balance import Tally
from .findings import Findings

CHECK = "files"
REPORTS = ("check.json", "check.html")
"""Written by the check itself beside the data; no part of the manifest."""
CARD = "README.md"
"""The card tells of the data and may be edited by hand."""

KEYS = ("schema", "version", "config", "title", "licence", "command", "counts", "files", "content_sha256", "skipped")
_OWN = {MANIFEST, ORIGIN, CARD, *REPORTS}


def check_files(folder: Path, manifest: Mapping[str, Any], found: Findings) -> None:
    """Hold the folder against its manifest.

    Args:
        folder: The data set.
        manifest: Its manifest as plain values.
        found: Takes what is wrong.
    """
    found.start(CHECK)
    missing = [key for key in KEYS if key not in manifest]
    if missing:
        found.add(CHECK, f"the manifest lacks {', '.join(missing)}", file=MANIFEST)
    if manifest.get("schema") not in READABLE:
        found.add(CHECK, f"the schema is {manifest.get('schema')!r}, not {READABLE[0]!r}", file=MANIFEST)
    listed = manifest.get("files")
    if not isinstance(listed, Mapping):
        found.add(CHECK, "the manifest lists no files", file=MANIFEST)
        return
    for name in sorted(listed):
        _check_one(folder, name, listed[name], found)
    content = hashlib.sha256(json_text(dict(listed), sort_keys=True).encode()).hexdigest()
    if manifest.get("content_sha256") != content:
        found.add(CHECK, "the content hash does not follow from the listed files", file=MANIFEST)
    for name in sorted(set(_present(folder)) - set(listed) - _OWN):
        found.add(CHECK, "the file is not listed in the manifest", file=name)
    for table in ("cases", "samples"):
        if not any(name.startswith(f"{table}/") for name in listed):
            found.add(CHECK, f"the manifest lists no file of {table}", file=MANIFEST)


def check_counts(manifest: Mapping[str, Any], tally: Tally, found: Findings) -> None:
    """Hold the counts of the manifest against what was read.

    Args:
        manifest: As plain values.
        tally: Of all cases and samples.
        found: Takes what is wrong.
    """
    counts = manifest.get("counts")
    if not isinstance(counts, Mapping):
        found.add(CHECK, "the manifest has no counts", file=MANIFEST)
        return
    by_family: Counter[str] = Counter()
    for (family, _, _), n in tally.table.items():
        by_family[family] += n
    read = {
        "cases": sum(tally.cases.values()),
        "samples": sum(tally.table.values()),
        "by_family": dict(by_family),
        "by_split_kind_family": {f"{split}/{kind}/{family}": n for (family, kind, split), n in tally.table.items()},
    }
    for name, value in read.items():
        if counts.get(name, {} if isinstance(value, dict) else None) != value:
            found.add(CHECK, f"the manifest counts {name} as {counts.get(name)}, there are {value}", file=MANIFEST)


def _check_one(folder: Path, name: str, digest: Any, found: Findings) -> None:
    found.count(CHECK, "files")
    try:
        actual = sha256(inside(folder, name))
    except UniReasonError as error:
        found.add(CHECK, f"listed in the manifest, but: {error}", file=name)
        return
    if actual != digest:
        found.add(CHECK, f"its SHA-256 is {actual[:12]}…, the manifest says {str(digest)[:12]}…", file=name)


def _present(folder: Path) -> Iterator[str]:
    """Relative names of all files below, with forward slashes; links are not followed."""
    for base, _, names in os.walk(folder):
        for name in names:
            yield (Path(base) / name).relative_to(folder).as_posix()
