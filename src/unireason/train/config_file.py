"""A TOML run file becomes settings, and settings become TOML or JSON again.

It knows dataclasses and nothing of training: types, required keys and near names are read off the class. What a number may be
is said in ``limits``. Folders in a file are relative to the working directory, as on the command line.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from unireason.core.errors import FormatError
from unireason.core.store import json_text

from .config import Grpo, Planned, Sft, check

T = TypeVar("T")
Table = dict[str, Any]

KIND = "kind"
PLAN = "plan"
KINDS: Mapping[str, type[Any]] = {"sft": Sft, "grpo": Grpo}
_MAX_BYTES = 1 << 20
_INT_LIMIT = 1 << 63


def read(path: str | Path | None, kind: type[T], overrides: Sequence[str] = ()) -> T:
    """Read a run file.

    Args:
        path: TOML file with ``kind = "..."`` (the class's name in small letters) and one table a field. A ``[plan]`` table is for
            ``unireason plan``; it is checked and left out. None for a run that the overrides alone describe.
        kind: Class of the settings, such as ``Sft`` or ``Grpo``.
        overrides: Values that come in place of the file's, each ``"a.b=value"`` in TOML; a value that is no TOML is a text.

    Returns:
        The settings, every field checked.

    Raises:
        FormatError: If the file cannot be read, is not TOML, is of another kind, lacks a required key, has an unknown one, or a
            value has the wrong type or range.
    """
    wanted = kind.__name__.lower()
    table = _put({KIND: wanted}, overrides) if path is None else read_table(path, overrides)
    named = table.pop(KIND, None)
    if named != wanted:
        file = "the run" if path is None else Path(path).name
        came = f"{file} has no kind" if named is None else f"{file} is of the kind {named!r}"
        remedy = f"use: unireason train {named}" if isinstance(named, str) and named in KINDS else ""
        raise FormatError(came, f'{KIND} = "{wanted}"', remedy)
    build(Planned, table.pop(PLAN, {}), within=PLAN)
    return build(kind, table)


def read_any(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Sft | Grpo, Planned]:
    """Read a run file of either kind, and its ``[plan]`` table.

    Args:
        path: TOML file with ``kind = "sft"`` or ``kind = "grpo"``.
        overrides: See :func:`read`.

    Raises:
        FormatError: As :func:`read` does.
    """
    table = read_table(path, overrides)
    named = table.pop(KIND, None)
    if not isinstance(named, str) or named not in KINDS:
        came = f"{Path(path).name} has no kind" if named is None else f"{Path(path).name} is of the kind {named!r}"
        raise FormatError(came, " or ".join(f'{KIND} = "{name}"' for name in KINDS))
    planned = build(Planned, table.pop(PLAN, {}), within=PLAN)
    settings: Sft | Grpo = build(KINDS[named], table)
    return settings, planned


def read_table(path: str | Path, overrides: Sequence[str] = ()) -> Table:
    """The bare table of a run file with the overrides put in; nothing is checked but the syntax.

    Raises:
        FormatError: If the file cannot be read, is too large or not TOML, or an override is malformed.
    """
    place = Path(path)
    try:
        if not place.is_file():
            raise FormatError(f"there is no file '{place}'", "a TOML file")
        with place.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise FormatError(f"{place.name} is larger than {_MAX_BYTES:,} bytes", "a run file of a few lines")
        table = _toml(raw.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{place.name} cannot be read: {error}", "a TOML file") from error
    return _put(table, overrides)


def build(kind: type[T], table: Mapping[str, Any], *, within: str = "") -> T:
    """Settings out of a table."""
    _refuse_unknown(kind, table, within)
    missing = list(_missing(kind, table, within))
    if missing:
        needed = ", ".join(missing)
        raise FormatError(f"the run lacks {needed}", "a value for each", f"write it in the file or give --set {missing[0]}=...")
    made: T = _filled(kind, table, within)
    check(made)
    return made


def resolved(settings: Any) -> Table:
    """All values of settings as plain JSON values, ``kind`` first; tuples become lists."""
    values: Table = json.loads(json_text(dataclasses.asdict(settings)))
    return {KIND: type(settings).__name__.lower(), **values}


def to_toml(settings: Any) -> str:
    """Settings as a TOML file that :func:`read` reads back equal."""
    return "\n".join(_lines(resolved(settings), "")).strip() + "\n"


def _lines(table: Mapping[str, Any], name: str) -> Iterator[str]:
    """Plain keys first: behind a table's head TOML would take them for the table's own."""
    if name:
        yield f"\n[{name}]"
    for key, value in table.items():
        if not isinstance(value, Mapping):
            # A JSON text is a TOML text, except that TOML wants DEL escaped.
            yield f"{key} = {json_text(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{name}.{key}" if name else key)


def _toml(text: str) -> Table:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _put(table: Table, overrides: Sequence[str]) -> Table:
    """A table with overrides, each ``"a.b=value"``, put in; what is no TOML value is a text."""
    for override in overrides:
        name, equals, text = override.partition("=")
        keys, text, below = name.strip().split("."), text.strip(), table
        if not equals or not all(keys):
            raise FormatError(f"the override {override!r}", "a name, = and a value, such as optim.rate=1e-5")
        for number, key in enumerate(keys[:-1], start=1):
            below = below.setdefault(key, {})
            if not isinstance(below, dict):
                raise FormatError(f"the override {override!r}", f"a table; {'.'.join(keys[:number])} is a value")
        try:
            parsed = _toml(f"value = {text}")
        except (ValueError, RecursionError):
            parsed = {}
        below[keys[-1]] = parsed["value"] if len(parsed) == 1 else text
    return table


def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _joined(within: str, name: str) -> str:
    return f"{within}.{name}" if within else name


def _names(kind: type, within: str = "") -> Iterator[tuple[str, bool]]:
    """Dotted names of everything that may be set, and whether it is a table."""
    for name, hint in _hints(kind).items():
        is_table = dataclasses.is_dataclass(hint)
        yield _joined(within, name), is_table
        if is_table:
            yield from _names(hint, _joined(within, name))


def _refuse_unknown(kind: type, table: Mapping[str, Any], within: str) -> None:
    known = dict(_names(kind, within))
    for name in _given(table, within):
        # What stands below a plain value is refused later, as a value of the wrong type.
        below = any(name.startswith(f"{place}.") for place, is_table in known.items() if not is_table)
        if name not in known and not below:
            raise FormatError(f"unknown key {name!r}", f"one of: {', '.join(_near(name, list(known)))}")


def _given(table: Any, within: str) -> Iterator[str]:
    if not isinstance(table, Mapping):
        raise FormatError(f"{within} is {_shown(table)}", "a table")
    for key, value in table.items():
        name = _joined(within, str(key))
        yield name
        if isinstance(value, Mapping):
            yield from _given(value, name)


_ELSEWHERE = {
    "lr": ("rate",),
    "learning_rate": ("rate",),
    "weight_decay": ("decay",),
    "max_grad_norm": ("clip",),
    "max_steps": ("steps",),
    "num_train_epochs": ("epochs",),
    "batch_size": ("samples", "prompts"),
    "per_device_train_batch_size": ("samples", "prompts"),
    "num_generations": ("samples",),
    "beta": ("kl",),
    "num_iterations": ("updates",),
    "gradient_checkpointing": ("checkpointing",),
    "lora_r": ("rank",),
    "lora_alpha": ("alpha",),
    "bf16": ("precision",),
    "warmup_ratio": ("warmup",),
    "lr_scheduler_type": ("schedule",),
    "eval_steps": ("eval_every",),
    "save_steps": ("save_every",),
}
"""What other trainers call a setting, and its last word here."""


def _near(name: str, known: Sequence[str]) -> list[str]:
    """What may have been meant: the same last word, that of another trainer, alike names, or else everything beside it."""
    last, beside = name.rpartition(".")[2].lower().replace("-", "_"), name.rpartition(".")[0]
    same = [k for k in known if k.rpartition(".")[2] in (last, *_ELSEWHERE.get(last, ()))]
    if same and last in _ELSEWHERE:
        return same
    alike = difflib.get_close_matches(name, known, n=4)
    alike += [k for k in known if k not in alike and difflib.get_close_matches(last, [k.rpartition(".")[2]], cutoff=0.75)]
    return same + [k for k in alike if k not in same] or [k for k in known if k.rpartition(".")[0] == beside]


def _missing(kind: type, table: Mapping[str, Any], within: str) -> Iterator[str]:
    """Dotted names of required values that a table does not have."""
    hints = _hints(kind)
    for field in dataclasses.fields(kind):
        name, hint = _joined(within, field.name), hints[field.name]
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        nested = table.get(field.name, {})
        if required and dataclasses.is_dataclass(hint) and isinstance(nested, Mapping):
            yield from _missing(hint, nested, name)  # type: ignore[arg-type]  # a class, not an instance
        elif required and field.name not in table:
            yield name


def _filled(kind: Any, table: Mapping[str, Any], within: str, base: Any = None) -> Any:
    """An instance of a class: the values of a table over those of ``base``, or over the class's defaults."""
    hints, values = _hints(kind), {}
    for field in dataclasses.fields(kind):
        name, hint = _joined(within, field.name), hints[field.name]
        if field.name not in table and (base is not None or not dataclasses.is_dataclass(hint)):
            continue
        if not dataclasses.is_dataclass(hint):
            values[field.name] = _fitted(hint, table[field.name], name)
            continue
        start = _default(field) if base is None else getattr(base, field.name)
        nested = table.get(field.name, {})
        if not isinstance(nested, Mapping):
            raise FormatError(f"{name} is {_shown(nested)}", "a table")
        values[field.name] = _filled(hint, nested, name, start)
    return dataclasses.replace(base, **values) if base is not None else kind(**values)


def _default(field: dataclasses.Field[Any]) -> Any:
    """What a table starts from: the factory's value, since GRPO's rate is not the class's own; None for a required table."""
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def _fitted(hint: Any, value: Any, name: str) -> Any:
    """A value as the type that a field declares."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
        raise FormatError(f"{name} is {_shown(value)}", "one of: " + ", ".join(f'"{v}"' for v in inner))
    if origin is tuple:
        return _tuple(inner, value, name)
    if hint is float and type(value) in (int, float) and abs(value) < _INT_LIMIT and math.isfinite(value):
        return float(value)
    if hint is int and type(value) is int and abs(value) < _INT_LIMIT:
        return value
    if hint in (bool, str) and type(value) is hint:
        return value
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text in quotes"}
    raise FormatError(f"{name} is {_shown(value)}", words[hint])


def _tuple(inner: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    endless = len(inner) == 2 and inner[1] is Ellipsis
    if not isinstance(value, list | tuple) or (not endless and len(value) != len(inner)):
        text = endless and inner[0] is str
        raise FormatError(
            f"{name} is {_shown(value)}",
            "a list of texts in quotes and square brackets" if text else f"a list of {len(inner)} in square brackets",
            f"""in a shell: --set '{name}=["..."]'""" if text else "",
        )
    kinds = [inner[0]] * len(value) if endless else list(inner)
    return tuple(_fitted(kind, item, f"{name}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 100 else repr(value)[:100] + "..."
