"""The reference pages of the command line, made from the parsers, and of run files, made from the settings.

``python -m unireason.cli.reference`` prints docs/reference/cli.md, with ``config`` behind it docs/reference/config.md; tests hold both
against it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from unireason.core.config import KIND, help_of, is_table, old_names, options, said_of
from unireason.core.store import json_text
from unireason.train.config import PLAN, Grpo, Optim, PlanAssumptions, Sft

from . import build_parser

HEAD = """# Command line

Made by `python -m unireason.cli.reference`; do not edit.
Exit codes: 0 done, 1 negative finding, 2 bad input, 130 ended by Ctrl-C, 143 ended by SIGTERM.
Every command takes `-h`. What several commands take alike stands once, under [shared arguments](#shared-arguments).
"""
_SHARED = 3
"""An option that so many commands take alike is told once."""


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, list[str]]]:
    """Every command with a row an argument, subcommands behind their parents."""
    choices = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not choices:
        told = [a for a in parser._actions if a.help != argparse.SUPPRESS and not isinstance(a, argparse._HelpAction)]
        yield parser, [_row(a) for a in told]
    for action in choices:
        for child in action.choices.values():
            yield from _commands(child)


def _shared(rows: Iterable[str]) -> list[str]:
    """The rows of options that most of the commands that have them take alike."""
    counts = Counter(row for row in rows if row.startswith("| `-"))
    names = Counter({_name(row): 0 for row in counts})
    for row, count in counts.items():
        names[_name(row)] += count
    return sorted(row for row, count in counts.items() if count >= _SHARED and 2 * count > names[_name(row)])


def _name(row: str) -> str:
    return row.split(" | ")[0].removeprefix("| ")


def _flag(row: str) -> str:
    return f"`{_name(row).strip('`').split()[0]}`"


def _row(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    takes = action.nargs != 0 and not isinstance(action, argparse._StoreTrueAction | argparse._HelpAction)
    shown = f"{names} {value}" if names and takes else names or str(value)
    return f"| `{shown.replace('|', ' or ')}` | {(action.help or '').replace('|', ' or ')} |\n"


def markdown() -> str:
    """The whole page."""
    commands, table = list(_commands(build_parser())), "| argument | meaning |\n|---|---|\n"
    shared = _shared(row for _, rows in commands for row in rows)
    parts = [HEAD, "\n## Shared arguments\n\n", table, *shared]
    for parser, rows in commands:
        own, taken = [row for row in rows if row not in shared], [_flag(row) for row in rows if row in shared]
        parts += [f"\n## `{parser.prog}`\n\n{parser.description}\n", *(["\n", table, *own] if own else [])]
        parts += [f"\nShared: {', '.join(taken)}.\n"] if taken else []
    return "".join(parts)


# --- The reference page of run files, made from the settings' own fields.


CONFIG_HEAD = f"""# Run files

Made by `python -m unireason.cli.reference config`; do not edit.

`unireason train sft`, `unireason train grpo` and `unireason plan` read a TOML file. It says `{KIND} = "sft"` or `{KIND} = "grpo"` at its
top; every other key is one of the fields below, tables by their names. Unknown keys and values out of range are errors. What is left out
has its default; `model.init_from` and `data.folders` must be given. `--set optim.lr=2e-5` comes in place of the file's value. Folders are
relative to the working directory. Ready files lie in `configs/`.
"""


def config_markdown() -> str:
    """The whole page."""
    parts = [CONFIG_HEAD, *_section(Sft, f'`{KIND} = "sft"`', ""), *_section(Grpo, f'`{KIND} = "grpo"`', "")]
    parts += ["\n# What both share\n"]
    for name, field in options(Sft).items():
        if is_table(field):
            parts += _section(field.annotation, f"`[{name}]`", name)
    parts += ["\n# Of GRPO alone\n"]
    for name, field in options(Grpo).items():
        if is_table(field) and name not in options(Sft):
            parts += _section(field.annotation, f"`[{name}]`", name)
    own = options(Grpo)["optim"].get_default(call_default_factory=True)
    other = [f"`{name} = {_value(getattr(own, name))}`" for name, f in options(Optim).items() if getattr(own, name) != f.default]
    parts += [f"\nIn a GRPO file the defaults of `[optim]` are other ones: {', '.join(other)}.\n"]
    return "".join([*parts, "\n# For planning alone\n", *_section(PlanAssumptions, f"`[{PLAN}]`", PLAN), *_old_names()])


def _section(kind: Any, title: str, table: str) -> Iterator[str]:
    """A heading, the class's own words and one row a field; tables inside a table follow as sections of their own."""
    yield f"\n## {title}\n\n{' '.join(kind.__doc__.split())}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
    inner = []
    for name, field in options(kind).items():
        meaning = " ".join(help_of(kind, name).split()).replace("|", "\\|")
        if is_table(field):
            inner += [(name, field.annotation)] if table else []
            yield f"| `{name}` | table | | {meaning} |\n"
        else:
            default = "required" if field.is_required() else f"`{_value(field.default)}`"
            yield f"| `{name}` | {said_of(field)} | {default} | {meaning} |\n"
    for name, below in inner:
        yield from _section(below, f"`[{table}.{name}]`", f"{table}.{name}")


def _old_names() -> Iterator[str]:
    """What keys were called before, for who reads an old file."""
    yield "\n# Old names\n\nRead for this release alone, with a note on standard error.\n\n| old | now |\n|---|---|\n"
    rows = dict.fromkeys(f"| `{old}` | `{now}` |\n" for kind in (Sft, Grpo) for old, now in old_names(kind))
    yield from rows


def _value(value: Any) -> str:
    """A default as it stands in TOML."""
    return json_text(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    print(config_markdown() if "config" in sys.argv[1:] else markdown(), end="")
