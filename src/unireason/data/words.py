"""Prompts of published systems, found in a copy of the user's: in source, which is parsed and never run, and in released rows.

What is found goes into a profile that has the layout and limits of the built-in one of that system. It knows nothing of networks.
"""

from __future__ import annotations

import ast
import os
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unireason.core.errors import FormatError
from unireason.grounding.profile import BUILT_IN, Profile

_MAX_BYTES, _MAX_FILES = 1 << 20, 20_000
_LIMITS = {"--max-new-tokens": "max_new_tokens", "--max-rounds": "max_rounds"}
_NEVER = {".git", "third_party", "node_modules", "__pycache__", ".venv"}


@dataclass(frozen=True, slots=True)
class PublishedWords:
    """What was found.

    Attributes:
        task: "ask" for questions that are answered in words, "ground" for implicit ones.
        profile: The profile with it.
        found: (field of the profile, where it stood), in order.
        others: Other places with prompts of the kind, which were not taken.
    """

    task: str
    profile: Profile
    found: tuple[tuple[str, str], ...]
    others: tuple[str, ...] = ()


@dataclass(slots=True)
class _Said:
    """What one file says."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    where: dict[str, int] = field(default_factory=dict)

    def take(self, name: str, value: Any, node: ast.AST) -> None:
        """Keep the first value of a field."""
        if name not in self.fields:
            self.fields[name], self.where[name] = value, getattr(node, "lineno", 0)


# --- Source.


def from_source(path: Path, *, think: bool = True) -> PublishedWords:
    """Find the prompts of a published system in Python source, without running any of it.

    Two shapes are known. *Questions in words*: system texts as constants whose names end in ``2D`` and ``3D``, and a function that joins
    question, options and, for volumes, a closing line. *Implicit questions*: one text with the place ``{Question}``, and with ``{Answer}``
    for the form of an answer. Limits are read from the defaults of ``--max-new-tokens``, ``--max-rounds`` and ``tokens_per_round``.

    Args:
        path: A file, or the folder of a clone; of several files with prompts the one whose name has "infer" in it, else the first.
        think: False takes, of two texts for implicit questions, the one without reasoning.

    Raises:
        FormatError: If nothing of the kind is found, or a text cannot stand in a profile.
    """
    files = [path] if path.is_file() else sorted(_python(path))
    if not files:
        raise FormatError(f"'{path.name}' holds no Python file", "a source file or the folder of a clone", "check the path")
    read = [source for file in files if (source := _read(file, path, think))]
    whole = [source for source in read if {"system_2d", "system_3d"} <= set(source.fields) or "before_2d" in source.fields]
    if not whole:
        raise FormatError(
            f"no prompts were found in {len(files)} Python files of '{path.name}'",
            "constants named ...2D and ...3D, or a text with the place {Question}",
            "point to the file that asks the model, or write the profile by hand",
        )
    chosen = min(whole, key=lambda source: ("infer" not in source.name.rsplit("/", 1)[-1], _order(source.name)))
    task = "ground" if "before_2d" in chosen.fields else "ask"
    base = BUILT_IN["medreasoner" if task == "ground" else "unireason-med"]
    fresh = {"closing_choice_3d": ""} if task == "ask" else {"system_2d": ""}
    profile = replace(base, name=f"{base.name}-from-source", **{**fresh, **chosen.fields})
    found = tuple((name, f"{chosen.name}:{chosen.where[name]}") for name in chosen.fields)
    return PublishedWords(task, profile, found, tuple(source.name for source in whole if source is not chosen))


def _order(name: str) -> tuple[int, str]:
    """Files nearer to the root first."""
    return name.count("/"), name


def _python(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise FormatError(f"there is no '{folder}'", "a source file or the folder of a clone", "check the path")
    count = 0
    for place, below, names in os.walk(folder):  # links to folders are not followed
        below[:] = sorted(set(below) - _NEVER)
        for name in names:
            file = Path(place, name)
            if name.endswith(".py") and file.is_file() and not file.is_symlink():
                count += 1
                if count > _MAX_FILES:
                    raise FormatError(f"'{folder.name}' holds more than {_MAX_FILES:,} files", "one clone", "point to a file")
                yield file


def _read(file: Path, root: Path, think: bool) -> _Said | None:
    """What a file says; None if it is too large, no Python, or says nothing."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            return None
        text = file.read_bytes().decode("utf-8")
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    source = _Said(file.name if file == root else file.relative_to(root).as_posix())
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            _named(source, node.targets[0].id.upper(), node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            _joined(source, node, tree)
            _implicit(source, node, think)
        elif isinstance(node, ast.Call):
            _limits(source, node)
    if "before_2d" in source.fields and _splits_pictures(tree):
        # Pictures are put at their placeholder: the text begins behind it.
        source.fields["before_2d"] = source.fields["before_2d"].removeprefix("<image>")
    return source if source.fields else None


def _named(source: _Said, name: str, node: ast.Assign) -> None:
    text = _text(node.value)
    for dim in ("2d", "3d"):
        if text and "SYSTEM" in name and name.endswith(dim.upper()):
            source.take(f"system_{dim}", text, node)


def _joined(source: _Said, function: ast.FunctionDef | ast.AsyncFunctionDef, tree: ast.AST) -> None:
    """A function that joins question, options and closing line: its separator, its option line, its closing line and for what."""
    returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    separator = next((s for value in returned if (s := _separator(value)) is not None), None)
    lines = [node for node in ast.walk(function) if isinstance(node, ast.JoinedStr) and len(node.values) == 3]
    option = next((line for node in lines if (line := _option(node))), None)
    if separator is None or option is None:
        return
    source.take("separator", separator, function)
    source.take("option", option, function)
    flags = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
    for node in ast.walk(function):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id in flags:
            closing = next((t for call in ast.walk(node) if (t := _appended(call))), None)
            if closing:
                for dim in _switched_on(tree, function.name, node.test.id) or ("3d",):
                    source.take(f"closing_choice_{dim}", closing, node)


def _switched_on(tree: ast.AST, function: str, flag: str) -> tuple[str, ...]:
    """For what callers switch the closing line on, by the names of the functions that call."""
    on: set[str] = set()
    for caller in ast.walk(tree):
        if isinstance(caller, ast.FunctionDef | ast.AsyncFunctionDef):
            for call in ast.walk(caller):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == function:
                    given = next((k.value for k in call.keywords if k.arg == flag), None)
                    if isinstance(given, ast.Constant) and given.value is True:
                        on |= {dim for dim in ("2d", "3d") if dim in caller.name.lower()}
    return tuple(sorted(on))


def _implicit(source: _Said, function: ast.FunctionDef | ast.AsyncFunctionDef, think: bool) -> None:
    """A function that writes one text around an implicit question; of two texts the first is taken to be the one with reasoning."""
    texts = [
        (node, text)
        for node in sorted((n for n in ast.walk(function) if isinstance(n, ast.Assign)), key=lambda n: n.lineno)
        if (text := _text(node.value)) and "{Question}" in text
    ]
    if not texts:
        return
    answers = [
        text
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "format"
        for keyword in call.keywords
        if keyword.arg == "Answer" and (text := _text(keyword.value))
    ]
    node, text = texts[0 if think or len(texts) == 1 else 1]
    pieces = _filled(text, {"Answer": answers[0] if answers else ""})
    if len(pieces) == 2:
        source.take("before_2d", pieces[0], node)
        source.take("closing_open_2d", pieces[1], node)
        for said in ast.walk(function):
            if isinstance(said, ast.Dict):
                pairs = {_text(k): _text(v) for k, v in zip(said.keys, said.values, strict=True) if k}
                if pairs.get("role") == "system" and pairs.get("content"):
                    source.take("system_2d", pairs["content"], said)


def _filled(text: str, values: dict[str, str]) -> list[str]:
    """A text for ``str.format`` with values put in, split at its questions; none if it has other places."""
    pieces = [""]
    try:
        for literal, place, _, _ in string.Formatter().parse(text):
            pieces[-1] += literal
            if place == "Question":
                pieces.append("")
            elif place is not None:
                pieces[-1] += values[place]
    except (ValueError, KeyError):
        return []
    return pieces


def _limits(source: _Said, call: ast.Call) -> None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg: keyword.value.value for keyword in call.keywords if isinstance(keyword.value, ast.Constant)}
    first = _text(call.args[0]) if call.args else None
    if name == "add_argument" and first in _LIMITS and type(given.get("default")) is int:
        source.take(_LIMITS[first], given["default"], call)
    if call.args and isinstance(call.args[0], ast.Name) and type(given.get("tokens_per_round")) is int:
        for dim in ("2d", "3d"):
            if dim in call.args[0].id.lower():
                source.take(f"max_round_tokens_{dim}", given["tokens_per_round"], call)


def _splits_pictures(tree: ast.AST) -> bool:
    """Whether a file cuts texts at the place of a picture."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "split"
        and any("<image>" in (_text(argument) or "") for argument in node.args)
        for node in ast.walk(tree)
    )


def _text(node: ast.AST | None) -> str | None:
    """The text of a constant, or of constants added up."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None or right is None else left + right
    return None


def _separator(node: ast.AST | None) -> str | None:
    """SEP of ``SEP.join(...)``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
        return _text(node.func.value)
    return None


def _option(node: ast.JoinedStr) -> str:
    """The option line of an f-string with a letter, a text, and what stands between."""
    letter, between, text = node.values
    held = _text(between)
    if isinstance(letter, ast.FormattedValue) and isinstance(text, ast.FormattedValue) and held is not None:
        return f"{{letter}}{held}{{text}}"
    return ""


def _appended(node: ast.AST) -> str | None:
    """The text of ``lines.append("text")``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append" and node.args:
        return _text(node.args[0])
    return None


# --- Rows.


def from_data(folder: Path) -> PublishedWords:
    """Find the texts that the rows of a release share: system texts, the closing line, what joins question and options.

    Args:
        folder: A UniMed-CoT release (``sft`` and ``rl`` tables). Rows with pictures speak for images, rows without for volumes.

    Raises:
        FormatError: If there are no rows, or no text is shared by nearly all rows of a kind.
    """
    from unireason.data.formats import unimed_cot

    prompts: dict[str, list[list[tuple[str, str]]]] = {"2d": [], "3d": []}
    for table in ("sft", "rl"):
        for row in unimed_cot.read(folder, table, strict=False):
            said = row.messages if table == "sft" else row.prompt
            asked = [message for message in said if message[0] != "assistant"]
            prompts["2d" if sum(text.count("<image>") for _, text in asked) == 1 else "3d"].append(asked)
    if not any(prompts.values()):
        raise FormatError(f"'{folder.name}' holds no rows with questions", "tables sft or rl", "check the path")
    base = BUILT_IN["unireason-med"]
    fields: dict[str, Any] = {"closing_choice_2d": "", "closing_choice_3d": ""}
    found: list[tuple[str, str]] = []
    joins: Counter[str] = Counter()
    for dim, asked_ in prompts.items():
        if not asked_:
            continue
        systems = Counter("".join(text for role, text in asked if role == "system") for asked in asked_)
        _shared(f"system_{dim}", systems, fields, found)
        closings: Counter[str] = Counter()
        for asked in asked_:
            text = next((said for role, said in reversed(asked) if role == "user"), "").replace("<image>", "")
            _, options = unimed_cot.read_prompt([("user", text)])
            if options:
                first, last = f"A. {options[0]}", options[-1]
                head, _, tail = text.partition(first)
                closings[tail.rpartition(last)[2].lstrip("\n")] += 1
                joins[head[len(head.rstrip("\n")) :]] += 1
        if closings:
            _shared(f"closing_choice_{dim}", closings, fields, found)
    if joins:
        _shared("separator", joins, fields, found)
    return PublishedWords("ask", replace(base, name=f"{base.name}-from-data", **fields), tuple(found))


_SHARE = 0.5


def _shared(name: str, texts: Counter[str], fields: dict[str, Any], found: list[tuple[str, str]]) -> None:
    """Take the text that most rows have, and tell how many; FormatError if no text has more than half of them."""
    (text, count), total = texts.most_common(1)[0], sum(texts.values())
    if count <= _SHARE * total:
        raise FormatError(
            f"{len(texts)} texts stand for {name} in {total} rows, the most frequent in {count}",
            "one text that most rows share",
            "write the profile by hand",
        )
    fields[name] = text
    found.append((name, f"{count} of {total} rows"))
