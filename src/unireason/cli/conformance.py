"""``unireason conformance FILE``: does this package still answer as the published systems do?"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from unireason.files import json_text


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "conformance",
        help="compare the package with a file of conformance cases",
        description="Compare every case of a file and print one line a key. Exit code: 0 all pass, 1 differences, 2 bad file.",
    )
    parser.add_argument("file", metavar="FILE", help="JSON file of cases")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: ``file`` and ``json``.

    Returns:
        0 if every case passes, 1 if one differs.

    Raises:
        FormatError: If the file cannot be used; the dispatcher turns it into exit code 2.
    """
    from unireason.conformance import check_file

    results = check_file(args.file)
    good = all(result.passed == result.total for result in results)
    if args.json:
        print(json_text({"passed": good, "keys": [asdict(result) for result in results]}))
    else:
        for result in results:
            print(f"{result.key}: {result.passed}/{result.total}")
            for difference in result.differences:
                print(f"  {difference}")
    return 0 if good else 1
