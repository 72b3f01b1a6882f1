"""The reference page of the command line, made from the parsers themselves.

``python -m unireason.cli.reference`` prints it; a test holds ``docs/reference/cli.md`` against it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from unireason.cli import build_parser

HEAD = """# Command line

Made by `python -m unireason.cli.reference`; do not edit.
Exit codes: 0 done, 1 negative finding, 2 bad input, 130 ended by Ctrl-C, 143 ended by SIGTERM.
"""


def _sections(parser: argparse.ArgumentParser) -> Iterator[str]:
    """One section a command, subcommands behind their parents."""
    choices = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not choices:
        yield f"\n## `{parser.prog}`\n\n{parser.description}\n\n| argument | meaning |\n|---|---|\n"
        yield "".join(_row(a) for a in parser._actions if a.help != argparse.SUPPRESS)
    for action in choices:
        for child in action.choices.values():
            yield from _sections(child)


def _row(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    takes = action.nargs != 0 and not isinstance(action, argparse._StoreTrueAction | argparse._HelpAction)
    shown = f"{names} {value}" if names and takes else names or str(value)
    return f"| `{shown.replace('|', ' or ')}` | {(action.help or '').replace('|', ' or ')} |\n"


def markdown() -> str:
    """The whole page."""
    return HEAD + "".join(_sections(build_parser()))


if __name__ == "__main__":
    print(markdown(), end="")
