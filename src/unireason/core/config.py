"""The one binder of settings: a class says type, range, default and help of every field; TOML and overrides become it.

Pydantic checks the values; this module knows old names, near names and how an error is worded. It knows nothing of what is set.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo
from typing_extensions import dataclass_transform

from .errors import FormatError
from .store import json_text, parse_toml

T = TypeVar("T")
Table = dict[str, Any]
_MAX_BYTES = 1 << 20
_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Was(NamedTuple):
    """Beside a field's type: the name it had before, read for one release, and what old values are now."""

    name: str
    values: Mapping[Any, Any] = {}


class Like(NamedTuple):
    """Beside a field's type: what other programs call it; named to who writes it, not read."""

    name: str


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def settings(kind: type[T]) -> type[T]:
    """A frozen class of settings; the text under a field is its help. What does not fit is a FormatError, made in code too."""
    made: Any = dataclass(frozen=True, slots=True, config=_CONFIG)(kind)
    fill = made.__init__

    @wraps(fill)
    def init(self: Any, *args: Any, **values: Any) -> None:
        try:
            fill(self, *args, **values)
        except ValidationError as error:
            raise _refusal(made, {**dict(zip(options(made), args, strict=False)), **values}, error, "") from error

    made.__init__ = init
    return cast(type[T], made)


def options(kind: Any) -> dict[str, FieldInfo]:
    """The fields of a class of settings by name, with type, range, default and help."""
    found: dict[str, FieldInfo] = kind.__pydantic_fields__
    return found


def is_table(field: FieldInfo) -> bool:
    """True if a field is a class of settings itself."""
    return hasattr(field.annotation, "__pydantic_fields__")


def help_of(kind: Any, name: str) -> str:
    """The text under a field, which may stand in a parent."""
    found = (options(parent)[name].description for parent in kind.__mro__ if name in getattr(parent, "__pydantic_fields__", ()))
    return next((text for text in found if text), "")


def old_names(kind: Any, within: str = "") -> Iterator[tuple[str, str]]:
    """Every old name of a class's fields and of the tables in it, and the present one."""
    for name, field in options(kind).items():
        yield from ((f"{within}{mark.name}", f"{within}{name}") for mark in field.metadata if isinstance(mark, Was))
        if is_table(field):
            yield from old_names(field.annotation, f"{within}{name}.")


# --- Files and overrides.


def read_table(path: str | Path) -> Table:
    """The bare table of a TOML file; nothing is checked but the syntax."""
    place = Path(path)
    if not place.is_file():
        raise FormatError(f"there is no file '{place}'", "a TOML file")
    try:
        with place.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise FormatError(f"{place.name} is larger than {_MAX_BYTES:,} bytes", "a file of a few lines")
        return parse_toml(raw.decode("utf-8"), place.name)
    except (OSError, ValueError) as error:
        raise FormatError(f"{place.name} cannot be read: {error}", "a TOML file") from error


def overridden(kind: Any, table: Mapping[str, Any], overrides: Sequence[str]) -> Table:
    """A table with overrides, each ``"a.b=value"``, put in; what is no TOML value is a text. Old names become the present ones."""
    out = renamed(kind, table)
    for override in overrides:
        name, equals, text = override.partition("=")
        keys, text = name.strip().split("."), text.strip()
        if not equals or not all(keys):
            raise FormatError(f"the override {override!r}", "a name, = and a value, such as run.steps=20")
        try:
            parsed = parse_toml(f"value = {text}", "the override")
        except FormatError:
            parsed = {}
        given: Table = {keys[-1]: parsed["value"] if len(parsed) == 1 else text}
        for key in reversed(keys[:-1]):
            given = {key: given}
        out = _over(out, renamed(kind, given))
    return out


def renamed(kind: Any, table: Mapping[str, Any], *, told: bool = True) -> Table:
    """A table with old names of fields replaced by the present ones, which is told once on standard error."""
    found: list[str] = []
    out = _renamed(kind, table, "", found)
    if found and told:
        _note("; ".join(found))
    return out


@cache
def _note(names: str) -> None:
    print(f"note: old names of settings are read for this release alone: {names}", file=sys.stderr)


def _renamed(kind: Any, table: Mapping[str, Any], within: str, found: list[str]) -> Table:
    out = dict(table)
    for name, field in options(kind).items():
        for was in (m for m in field.metadata if isinstance(m, Was) and m.name in out):
            if name in out:
                raise FormatError(f"{within}{name} and its old name {within}{was.name} are both given", "one of them")
            value = out.pop(was.name)
            out[name] = was.values.get(value, value) if isinstance(value, str) else value
            found.append(f"{within}{was.name} is {within}{name} now")
        if is_table(field) and isinstance(out.get(name), Mapping):
            out[name] = _renamed(field.annotation, out[name], f"{within}{name}.", found)
    return out


def _over(below: Any, above: Any) -> Any:
    """One table over another."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {**below, **{key: _over(below[key], value) if key in below else value for key, value in above.items()}}


# --- Tables become settings.


def build(kind: type[T], table: Any, *, within: str = "") -> T:
    """Settings out of a table.

    Args:
        kind: A class made by :func:`settings`.
        table: Its values by name; those of a table given in part come over the default of that table.
        within: Name of the table in the file, for errors.

    Raises:
        FormatError: If a key is unknown or missing, or a value has the wrong type or range.
    """
    if not isinstance(table, Mapping):
        raise FormatError(f"{within} is {_shown(table)}", "a table")
    filled = _filled(kind, renamed(kind, table))
    try:
        return TypeAdapter(kind).validate_json(json_text(filled, default=lambda value: {"": str(value)}))
    except ValidationError as error:
        raise _refusal(kind, filled, error, within) from error


def _filled(kind: Any, table: Mapping[str, Any]) -> Table:
    """A table whose own tables come over the defaults of their fields, which need not be those of their class."""
    out = dict(table)
    for name, field in options(kind).items():
        if is_table(field) and isinstance(out.get(name), Mapping):
            default = field.get_default(call_default_factory=True)
            given = _filled(field.annotation, out[name])
            out[name] = given if field.is_required() else _over(dataclasses.asdict(default), given)
    return out


def _refusal(kind: Any, table: Table, error: ValidationError, within: str) -> FormatError:
    """What is wrong first: an unknown key, else all that are missing, else a value."""
    found = error.errors(include_url=False)
    for one in found:
        if one["type"] == "unexpected_keyword_argument":
            name = _dotted(within, one["loc"])
            return FormatError(f"unknown key {name!r}", f"one of: {', '.join(_near(name, kind, within))}")
    missing = [name for one in found if one["type"] == "missing" for name in _required(kind, one["loc"], within)]
    if missing:
        said = f"write it in the file or give --set {missing[0]}=..."
        return FormatError(f"there is no value for {', '.join(missing)}", "a value for each", said)
    place = found[0]["loc"]
    field, value = _field(kind, place), _at(table, place)
    if field is None or is_table(field):
        return FormatError(f"{_dotted(within, place) or 'the file'} is {_shown(value)}", "a table")
    if get_origin(field.annotation) is tuple and len(place) > 1 and isinstance(place[-1], int):
        place, value = place[:-1], _at(table, place[:-1])
    name, listed = _dotted(within, place), get_origin(field.annotation) is tuple
    hint = f"""in a shell: --set '{name}=["..."]'""" if listed and isinstance(value, str) else ""
    return FormatError(f"{name} is {_shown(value)}", said_of(field), hint)


def said_of(field: FieldInfo, *, many: str = "") -> str:
    """What a field may be, in words: type and range."""
    hint, inner = field.annotation, get_args(field.annotation)
    if get_origin(hint) is Literal:
        return " or ".join(f'"{value}"' for value in inner)
    if get_origin(hint) is tuple:
        own = said_of(FieldInfo.from_annotation(inner[0]), many="s")
        return f"list of {own}" if inner[-1] is Ellipsis else f"list of {len(inner)} {own}"
    if type(None) in inner:
        return said_of(FieldInfo.from_annotation(next(one for one in inner if one is not type(None))))
    bounds: dict[str, Any] = {}
    for mark in field.metadata:
        bounds |= {key: getattr(mark, key) for key in _BOUNDS if getattr(mark, key, None) is not None}
    shown = [words.format(bounds[key]) for key, words in _BOUNDS.items() if key in bounds and abs(bounds[key]) < _LARGEST]
    return ", ".join([f"{_TYPES.get(hint, str(hint))}{many}", *shown])


_TYPES: Mapping[Any, str] = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}", "min_length": "not empty"}
_LARGEST = 1 << 62  # a bound beyond is that of the machine


def _names(kind: Any, within: str) -> Iterator[tuple[str, str]]:
    """What a field may be called, and its dotted name; tables too."""
    for name, field in options(kind).items():
        own = f"{within}.{name}" if within else name
        yield own, own
        for mark in field.metadata:
            if isinstance(mark, Was | Like):
                yield (f"{within}.{mark.name}" if within else mark.name), own
        if is_table(field):
            yield from _names(field.annotation, own)


def _near(name: str, kind: Any, within: str) -> list[str]:
    """What may have been meant: the same last word, alike names, or else everything beside it."""
    known = list(_names(kind, within))
    beside, _, last = name.lower().replace("-", "_").rpartition(".")
    same = [own for called, own in known if called.rpartition(".")[2] == last]
    alike = difflib.get_close_matches(name, [own for _, own in known], n=4)
    alike += [own for called, own in known if difflib.get_close_matches(last, [called.rpartition(".")[2]], cutoff=0.75)]
    return list(dict.fromkeys([*same, *alike])) or [
        own for called, own in known if called == own and own.rpartition(".")[0] == beside
    ]


def _field(kind: Any, place: Sequence[int | str]) -> FieldInfo | None:
    """The field at a place, or around an item of a list."""
    field: FieldInfo | None = None
    for key in place:
        if isinstance(key, str) and (field is None or is_table(field)):
            field = options(kind if field is None else field.annotation).get(key)
    return field


def _required(kind: Any, place: Sequence[int | str], within: str) -> list[str]:
    """Dotted names of what is missing at a place: the required fields of a table, not the table."""
    field = _field(kind, place)
    if field is None or not is_table(field):
        return [] if isinstance(place[-1], int) else [_dotted(within, place)]
    inner = options(field.annotation)
    return [name for key in inner if inner[key].is_required() for name in _required(kind, (*place, key), within)]


def _dotted(within: str, place: Sequence[int | str]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in ((within, *place) if within else place)).lstrip(
        "."
    )


def _at(table: Any, place: Sequence[int | str]) -> Any:
    """The value at a place, as far as there is one."""
    for key in place:
        try:
            table = table[key]
        except (KeyError, IndexError, TypeError):
            break
    return table


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 100 else repr(value)[:100] + "..."


# --- Settings become plain values, and TOML.


KIND = "kind"


def resolved(made: Any) -> Table:
    """All values of settings as plain JSON values, ``kind`` first; tuples become lists."""
    values: Table = json.loads(json_text(dataclasses.asdict(made)))
    return {KIND: type(made).__name__.lower(), **values}


def to_toml(made: Any) -> str:
    """Settings as a TOML file, from which equal ones are read."""
    return table_toml(resolved(made))


def table_toml(table: Mapping[str, Any]) -> str:
    """Plain values as TOML."""
    return "\n".join(_lines(table, "")).strip() + "\n"


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
