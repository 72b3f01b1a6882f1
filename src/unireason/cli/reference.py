"""The reference pages of the command line, made from the parsers, and of run files, made from the settings.

``python -m unireason.cli.reference`` prints docs/reference/cli.md, with ``config`` behind it docs/reference/config.md; tests hold both
against it.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin, get_type_hints

from unireason.core.store import json_text
from unireason.train.config import Grpo, Planned, Sft
from unireason.train.config_file import KIND, PLAN

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


# --- The reference page of run files, made from the settings' own docstrings.


CONFIG_HEAD = f"""# Run files

Made by `python -m unireason.cli.reference config`; do not edit.

`unireason train sft`, `unireason train grpo` and `unireason plan` read a TOML file. It says `{KIND} = "sft"` or `{KIND} = "grpo"` at its
top; every other key is one of the fields below, tables by their names. Unknown keys and values out of range are errors. What is left out
has its default; `model.start` and `data.folders` must be given. `--set optim.rate=2e-5` comes in place of the file's value. Folders are
relative to the working directory. Ready files lie in `configs/`.
"""


def config_markdown() -> str:
    """The whole page."""
    parts = [CONFIG_HEAD, *_section(Sft, f'`{KIND} = "sft"`', ""), *_section(Grpo, f'`{KIND} = "grpo"`', "")]
    parts += ["\n# What both share\n"]
    tables = {
        name: (hint, _default_of(Sft, name)) for name, hint in get_type_hints(Sft).items() if dataclasses.is_dataclass(hint)
    }
    for name, (hint, default) in tables.items():
        parts += _section(hint, f"`[{name}]`", name, default)
    own = {name: hint for name, hint in get_type_hints(Grpo).items() if dataclasses.is_dataclass(hint) and name not in tables}
    parts += ["\n# Of GRPO alone\n"]
    for name, hint in own.items():
        parts += _section(hint, f"`[{name}]`", name)
    optim = _default_of(Grpo, "optim")
    other = [
        f"`{f.name} = {_value(getattr(optim, f.name))}`" for f in dataclasses.fields(optim) if getattr(optim, f.name) != f.default
    ]
    parts += [f"\nIn a GRPO file the defaults of `[optim]` are other ones: {', '.join(other)}.\n"]
    return "".join([*parts, "\n# For planning alone\n", *_section(Planned, f"`[{PLAN}]`", PLAN)])


def _section(kind: Any, title: str, table: str, default: Any = None) -> Iterator[str]:
    """A heading, the class's own words and one row a field; tables inside a table follow as sections of their own."""
    told, meanings = _told(kind)
    yield f"\n## {title}\n\n{told}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
    inner = []
    for field in dataclasses.fields(kind):
        hint = get_type_hints(kind)[field.name]
        if dataclasses.is_dataclass(hint):
            if table:
                inner.append((field.name, hint))
            yield f"| `{field.name}` | table | | {meanings[field.name]} |\n"
        else:
            shown = _default_of(kind, field.name) if default in (None, dataclasses.MISSING) else getattr(default, field.name)
            said = "required" if shown is dataclasses.MISSING else f"`{_value(shown)}`"
            yield f"| `{field.name}` | {_kind(hint)} | {said} | {meanings[field.name]} |\n"
    for name, hint in inner:
        yield from _section(hint, f"`[{table}.{name}]`", f"{table}.{name}")


def _told(kind: Any) -> tuple[str, dict[str, str]]:
    """A docstring as (what stands before the attributes, meaning of each attribute), each in one line."""
    before, _, rest = inspect.cleandoc(kind.__doc__).partition("\nAttributes:\n")
    attributes, _, source = rest.partition("\n\nSource: ")
    # An attribute opens a line at one indent; what goes on is indented further.
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE)
    meanings = {name: " ".join(text.split()).replace("|", "\\|") for name, text in found}
    told = " ".join(before.split()) + (f" Source: {' '.join(source.split())}" if source else "")
    return told, meanings


def _default_of(kind: Any, name: str) -> Any:
    field = next(f for f in dataclasses.fields(kind) if f.name == name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _kind(hint: Any) -> str:
    words = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    if hint in words:
        return words[hint]
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        return f"list of {words[inner[0]]}s" if inner[-1] is Ellipsis else f"{len(inner)} {words[inner[0]]}s"
    return " or ".join(f'`"{v}"`' for v in inner)


def _value(value: Any) -> str:
    """A default as it stands in TOML."""
    return json_text(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    print(config_markdown() if "config" in sys.argv[1:] else markdown(), end="")
