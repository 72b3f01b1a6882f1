"""``unireason profile from-source`` and ``from-data``: the words of a published system, out of the user's own copy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unireason.core.errors import UniReasonError
from unireason.core.store import json_text

_WIDE = 100


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "profile",
        help="find the prompts of a published system in your copy of it",
        description="Find the prompts of a published system in your own copy of its code or data, and write a prompt profile.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    source = kinds.add_parser(
        "from-source",
        help="out of source code, which is parsed and never run",
        description="Read the prompts out of a source file or a local clone. The code is parsed, never run.",
    )
    source.add_argument("path", metavar="FILE_OR_FOLDER", type=Path, help="a Python file, or the folder of a clone")
    source.add_argument("--no-think", action="store_true", help="of two prompts the one without reasoning")
    data = kinds.add_parser(
        "from-data",
        help="out of released rows: the texts that they share",
        description="Read the system texts, the closing line and the joins that the rows of a UniMed-CoT release share.",
    )
    data.add_argument("path", metavar="DATASET", type=Path, help="the folder of the release")
    for sub in (source, data):
        sub.add_argument(
            "--out", metavar="FILE", type=Path, help="where to write the profile (default: profile.toml or grounding.toml)"
        )
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 when the profile is written."""
    from unireason.core.store import write_bytes
    from unireason.data.words import from_data, from_source
    from unireason.grounding.profile import GROUNDING_FILE, PROFILE_FILE

    words = from_source(args.path, think=not args.no_think) if args.kind == "from-source" else from_data(args.path)
    out = args.out or Path(GROUNDING_FILE if words.task == "ground" else PROFILE_FILE)
    if out.exists():
        raise UniReasonError(f"'{out.name}' is there already", "a new file", "choose another with --out, or remove it")
    write_bytes(out, words.profile.to_toml().encode())
    if args.json:
        print(json_text({"file": str(out), "task": words.task, "found": dict(words.found), "others": list(words.others)}))
        return 0
    asks = "implicit questions" if words.task == "ground" else "questions on images and volumes"
    print(f"{out}: asks {asks}; layout and limits that were not found are those of the built-in profile")
    for name, where in words.found:
        text = repr(getattr(words.profile, name))
        print(f"  {name} ({where}): {text if len(text) <= _WIDE else text[:_WIDE] + '...'}")
    if words.others:
        print(f"  not taken: {', '.join(words.others)} (name the file to take it)")
    return 0
