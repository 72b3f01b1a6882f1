"""Names of structures: one spelling for records, and for everything that is read the words of a radiologist.

A record keeps the key, which ``readable`` makes of the spelling of a data set ("left iliac vena"). Text says what ``wordings/names.toml``
and ``wordings/lesions.toml`` make of it ("left common iliac vein"); a table of the user's comes on top (``use``). Lesions have kinds, one a
special case of another: a melanoma is a cancer, a tumour and a lesion, and as it lies in the skin, a skin lesion.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from unireason.core.errors import FormatError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SIDES = ("left", "right")
KINDS = ("organ", "vessel", "bone", "muscle", "region", "device", "lesion")
UNKNOWN = "unknown"
"""Kind of a name that neither the tables nor the user's know."""
NUMBERS = ("one", "many", "mass")
ANYWHERE = "any"
"""The site of a kind of lesion that may lie anywhere."""
RELATIONS = ("left", "right", "anterior", "posterior", "superior", "inferior", "lateral", "medial")
_FIELDS = {
    **{"display": str, "plural": str, "adjective": str, "number": str, "part_of": str, "article": str},
    **{"paired": bool, "midline": bool, "spellings": list, "also": list, "is": list, "near": dict},
}
_RULE = ("pattern", "display", "kind", "group", "both", "article", "plural", "part_of", "paired", "midline")
_MOST_BYTES = 2**20
_ROMAN = ("0", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
_ORDINAL = (
    "",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
)


@dataclass(frozen=True, slots=True)
class Name:
    """A structure's name and what the tables know of it.

    Attributes:
        key: As records spell it.
        display: As a text says it, without an article ("L2 vertebra").
        plural: The display for several of them.
        article: "the", or "" for one that is said without ("segment IV of the liver").
        number: "one"; "many" if the display is a plural; "mass" for what is not counted ("oedema").
        adjective: "renal", or "" if none is known.
        kind: One of KINDS, or UNKNOWN.
        group: Super-category ("abdomen", "skeleton", "lesion", "other").
        side: "left", "right", or "" if the name tells none.
        paired: True if there is one on either side.
        midline: True if it lies in the middle of the body.
        part_of: Key of what it is a part of, without a side; "" if nothing.
        near: Where it lies, relation to landmark: ``{"inferior": "liver"}`` is below the liver.
        what: The same for every spelling of one structure or one kind of lesion, without its side.
        kinds: Of a lesion, what it is, nearest first: ("melanoma", "cancer", "tumor", "lesion").
        site: Where a lesion lies, as a key without its side; "" if that may be anywhere.
    """

    key: str
    display: str
    plural: str
    article: str = "the"
    number: str = "one"
    adjective: str = ""
    kind: str = UNKNOWN
    group: str = "other"
    side: str = ""
    paired: bool = False
    midline: bool = False
    part_of: str = ""
    near: Mapping[str, str] = field(default_factory=dict)
    what: str = ""
    kinds: tuple[str, ...] = ()
    site: str = ""

    @property
    def known(self) -> bool:
        """True if a table knows it."""
        return self.kind != UNKNOWN


_KEPT: list[Any] = []
_Answer = TypeVar("_Answer")


def kept(asked: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """A function of names whose answers are kept until another table is laid over (``use``)."""
    found = lru_cache(maxsize=2**16)(asked)
    _KEPT.append(found)
    return found


# --- Spelling: one for every structure, the side in front.


def readable(raw: str) -> str:
    """One spelling: lower case, blanks, the side in front ("kidney_left" and "Kidney, Left" become "left kidney").

    Args:
        raw: Name as a data set spells it; "" gives "".
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", raw)
    words = re.sub(r"[_\-,;/()\s]+", " ", text).strip().lower().split()
    for side in SIDES:
        if side in words:
            rest = [w for w in words if w != side]
            return " ".join([side, *rest]) if rest else side
    for short, side in (("l", "left"), ("r", "right")):
        if len(words) > 1 and words[-1] == short:
            return " ".join([side, *words[:-1]])
    return " ".join(words)


def side_of(name: str) -> str:
    """ "left", "right", or "" if the name tells no side."""
    first = name.split(" ", 1)[0]
    return first if first in SIDES else ""


def base(name: str) -> str:
    """The name without its side."""
    return name.split(" ", 1)[1] if side_of(name) and " " in name else name


def counterpart(name: str) -> str:
    """The same structure on the other side; "" if the name tells no side."""
    side = side_of(name)
    return f"{'right' if side == 'left' else 'left'} {base(name)}" if side else ""


# --- What a text says.


def display(name: str) -> str:
    """A structure as a text says it, without an article: "L2 vertebra"; what no table knows stays as it is."""
    return known(name).display


def the(name: str) -> str:
    """The display with its article: "the L2 vertebra"."""
    found = known(name)
    return found.display if not found.article or found.display.startswith("the ") else f"the {found.display}"


def a(name: str) -> str:
    """The display with an article that does not take for granted that it is there: "an abscess", "kidney cysts", "oedema"."""
    found = known(name)
    return found.display if found.number != "one" or not found.article else f"{_article(found.display)} {found.display}"


def plural(name: str) -> str:
    """The display for several: "L2 vertebrae", "polyps"."""
    return known(name).plural


def is_plural(name: str) -> bool:
    """True if the display is a plural ("ribs", "hepatic vessels"), so that its verb has to agree."""
    return known(name).number == "many"


@kept
def is_pair(name: str) -> bool:
    """True of a class of both of a pair: "kidneys", "lungs"."""
    return is_plural(name) and known(name.removesuffix("s")).paired


def adjective(name: str) -> str:
    """ "renal" for a kidney; "" if none is known."""
    return known(name).adjective


def key_of(text: str, among: Iterable[str]) -> str:
    """The name that a text stands for, whether it says its key or its display; "" if it is none of them."""
    wanted = text.strip().lower().removeprefix("the ")
    return next((n for n in among if wanted in (n.lower(), display(n).lower())), "")


@kept
def called(name: str) -> tuple[str, ...]:
    """What a structure may be called in an answer, its display first: its key, "the kidney on the left", synonyms of the tables."""
    found = known(name)
    side = found.side
    plain = display(base(name))
    texts = [found.display, name, *([f"{plain} on the {side}"] if found.display == f"{side} {plain}" else [])]
    if found.known and found.kind != "lesion":  # a kind of lesion lies anywhere: its synonyms lack the place
        for text, row in _table().rows.items():
            if (row.what, row.kind) == (found.what, found.kind) and side_of(text) in ("", side) and "{" not in text:
                texts += [_sided(row, name, side).display, text if side_of(text) or not side else f"{side} {text}"]
    return tuple(dict.fromkeys(texts))


def mentions(text: str, among: Iterable[str]) -> list[tuple[int, int, str]]:
    """Where a text names structures, the longest name first where several fit: start, end and key of each, in order.

    A display, a key and the plural of either count, "the kidney on the left", and a name without its side where only one side is known.
    """
    pattern, words = _spoken(tuple(dict.fromkeys(among)))
    return [(m.start(), m.end(), words[m[0].lower()]) for m in pattern.finditer(text)] if pattern else []


@kept
@lru_cache(maxsize=512)
def _spoken(among: tuple[str, ...]) -> tuple[re.Pattern[str] | None, dict[str, str]]:
    """One pattern for all that some names may be called, and which name each of it is."""
    words: dict[str, str] = {}
    bases: dict[str, set[str]] = {}
    for name in among:
        said = [name, display(name), plural(name), _plural(name)]
        side = side_of(name)
        if side:
            said.append(f"{display(base(name))} on the {side}")
            bases.setdefault(display(base(name)).lower(), set()).add(name)
        for words_of_it in said:
            words.setdefault(words_of_it.lower(), name)
    for plain, sided in bases.items():
        if len(sided) == 1:
            words.setdefault(plain, *sided)
    pattern = "|".join(re.escape(w) for w in sorted(words, key=lambda w: (-len(w), w)) if w)
    return (re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.IGNORECASE) if pattern else None), words


# --- Kinds and kinship.


def is_lesion(name: str) -> bool:
    """True for the names of lesions, so that questions about lesions may be asked."""
    return known(name).kind == "lesion"


def group(name: str) -> str:
    """The super-category of a structure ("abdomen", "skeleton", "lesion", "other")."""
    return known(name).group


@kept
def is_a(name: str, other: str) -> bool:
    """True if every structure of the one name is one of the other: a melanoma is a skin lesion, a left kidney is a kidney."""
    mine, theirs = known(name), known(other)
    if theirs.side not in ("", mine.side):
        return False
    if mine.kind == theirs.kind == "lesion":
        return theirs.what in mine.kinds and (not theirs.site or _within(mine.site, theirs.site))
    return mine.what == theirs.what


@kept
def related(name: str, other: str) -> bool:
    """True if one may be the other, a kind of it or a part of it: neither is a fair wrong option beside the other."""
    mine, theirs = known(name), known(other)
    if mine.side and theirs.side and mine.side != theirs.side:
        return False
    if (mine.kind == "lesion") != (theirs.kind == "lesion"):
        return False
    if mine.kind == "lesion":
        alike = theirs.what in mine.kinds or mine.what in theirs.kinds
        return alike and (not (mine.site and theirs.site) or _within(mine.site, theirs.site) or _within(theirs.site, mine.site))
    return _within(mine.what, theirs.what) or _within(theirs.what, mine.what)


def _within(place: str, other: str) -> bool:
    """True if a place is the other or, by steps, a part of it."""
    for _ in range(8):
        if place == other or not place:
            return place == other
        place = known(known(place).part_of).what if known(place).part_of else ""
    return False


# --- Tables.


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows by spelling; a row that is shown as it is spelled has that as its display."""

    rows: Mapping[str, Name]
    rules: tuple[tuple[re.Pattern[str], Mapping[str, Any]], ...]
    sites: Mapping[str, str]
    """Words for where a lesion lies: names and adjectives, to the name."""


_own: Mapping[str, Any] = {}


def use(own: Mapping[str, Any]) -> None:
    """Lay a table of the user's over those of the package, for this process; {} takes it away.

    Args:
        own: As ``read_own`` returns it.

    Raises:
        FormatError: If it is no such table.
    """
    global _own
    if own == _own:
        return
    before, _own = _own, own
    try:
        _forget()
        _table()
    except FormatError:
        _own = before
        _forget()
        raise


def _forget() -> None:
    for found in _KEPT:
        found.cache_clear()


def read_own(path: Path) -> dict[str, Any]:
    """A user's names file, checked.

    Args:
        path: A TOML file as docs/reference/names.md describes it.

    Returns:
        Its content as plain values, for ``use``.

    Raises:
        FormatError: If it cannot be read or holds something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(
            f"the names file '{path}' cannot be read ({error.strerror})", "a TOML file", "check the path"
        ) from error
    if len(data) > _MOST_BYTES:
        raise FormatError(f"the names file '{path.name}' has {len(data):,} bytes", f"at most {_MOST_BYTES:,}")
    try:
        table: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise FormatError(
            f"the names file '{path.name}' is no TOML ({error})", "a file as docs/reference/names.md shows"
        ) from error
    list(_rows(table, f"the names file '{path.name}'"))
    _rules(table, f"the names file '{path.name}'")
    return table


@cache
def _packaged() -> tuple[Mapping[str, Any], ...]:
    folder = Path(__file__).with_name("wordings")
    return tuple(tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8")) for name in ("names", "lesions"))


@kept
def _table() -> _Table:
    """All tables as one, the user's last."""
    tables = [*((t, "the packaged names") for t in _packaged()), (_own, "the names")]
    rows: dict[str, Name] = {}
    parents: dict[str, tuple[str, ...]] = {}
    for table, what in tables:
        for key, row, kind, where in _rows(table, what):
            found = _row(key, row, kind, where)
            if kind == "lesion":
                parents[key] = tuple(readable(p) for p in row.get("is", ("lesion",)))
            for spelling in (key, found.display.lower(), *row.get("spellings", ())):
                rows[readable(spelling)] = found
            for synonym in row.get("also", ()):
                rows[readable(synonym)] = _shown(found, synonym)
    rows = {k: replace(r, kinds=_ancestry(r.what, parents)) if r.kind == "lesion" else r for k, r in rows.items()}
    sites = {word: row.what for word, row in rows.items() if row.kind not in ("lesion", "device")}
    sites |= {row.adjective: row.what for row in rows.values() if row.adjective and row.kind != "lesion"}
    rules = [rule for table, what in reversed(tables) for rule in _rules(table, what)]
    return _Table(rows, tuple(rules), sites)


def _rows(table: Mapping[str, Any], what: str) -> Iterator[tuple[str, Mapping[str, Any], str, str]]:
    """Key, row, kind and group (of lesions: site) of every row, checked."""
    for kind, groups in table.items():
        if kind == "rules":
            continue
        if kind not in KINDS:
            raise FormatError(f"{what} has the section [{kind}]", f"one of {', '.join(KINDS)}, or [[rules]]")
        if not isinstance(groups, dict):
            raise FormatError(f"{what}: '{kind}' is {groups!r}", f'sections such as [{kind}."abdomen"]')
        for where, entries in groups.items():
            if not isinstance(entries, dict) or any(key in _FIELDS for key in entries):
                raise FormatError(
                    f"{what}: [{kind}.{where}] holds no rows", f'[{kind}."{"site" if kind == "lesion" else "group"}"]'
                )
            for raw, value in entries.items():
                row = {"display": value} if isinstance(value, str) else value
                _check_row(row, f"{what}: '{raw}' in [{kind}.{where}]")
                yield readable(raw), row, kind, where


def _check_row(row: Any, what: str) -> None:
    if not isinstance(row, dict):
        raise FormatError(f"{what} is {row!r}", "a display name, or a table such as { display = ..., plural = ... }")
    for key, value in row.items():
        if key not in _FIELDS:
            raise FormatError(f"{what} has the field '{key}'", f"one of {', '.join(_FIELDS)}")
        if not isinstance(value, _FIELDS[key]) or (key in ("display", "plural") and not value):
            raise FormatError(
                f"{what}: {key} is {value!r}", {str: "text", bool: "true or false", list: "a list", dict: "a table"}[_FIELDS[key]]
            )
        inner = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
        if not all(isinstance(v, str) and v for v in inner):
            raise FormatError(f"{what}: {key} is {value!r}", "texts")
    if row.get("article", "the") not in ("the", ""):
        raise FormatError(f"{what}: article is {row['article']!r}", "the, or nothing")
    if row.get("number", "one") not in NUMBERS:
        raise FormatError(f"{what}: number is {row['number']!r}", f"one of {', '.join(NUMBERS)}")
    unknown = [r for r in row.get("near", {}) if r not in RELATIONS]
    if unknown:
        raise FormatError(f"{what}: near has '{unknown[0]}'", f"one of {', '.join(RELATIONS)}")


def _rules(table: Mapping[str, Any], what: str) -> list[tuple[re.Pattern[str], Mapping[str, Any]]]:
    """The rules of a table, patterns compiled."""
    found: list[tuple[re.Pattern[str], Mapping[str, Any]]] = []
    for rule in table.get("rules", ()):
        if not isinstance(rule, dict) or not {"pattern", "display", "kind", "group"} <= set(rule) or set(rule) - set(_RULE):
            raise FormatError(
                f"{what}: a rule is {rule!r}"[:200], f"pattern, display, kind, group; others are {', '.join(_RULE[4:])}"
            )
        if rule["kind"] not in KINDS:
            raise FormatError(f"{what}: the rule {rule['pattern']!r} has the kind {rule['kind']!r}", f"one of {', '.join(KINDS)}")
        try:
            found.append((re.compile(rule["pattern"]), rule))
        except (re.error, TypeError) as error:
            raise FormatError(f"{what}: the rule {rule['pattern']!r} is no regular expression ({error})") from error
    return found


def _row(key: str, row: Mapping[str, Any], kind: str, where: str) -> Name:
    shown = row.get("display", key)
    lesion = kind == "lesion"
    return Name(
        key=key,
        display=shown,
        plural=row.get("plural") or (shown if row.get("number") in ("many", "mass") else _plural(shown)),
        article=row.get("article", "the"),
        number=row.get("number") or ("many" if _is_plural(shown) else "one"),
        adjective=row.get("adjective", ""),
        kind=kind,
        group="lesion" if lesion else where,
        paired=row.get("paired", False),
        midline=row.get("midline", False),
        part_of=readable(row.get("part_of", "")),
        near=row.get("near", {}),
        what=key,
        site=readable(where) if lesion and where != ANYWHERE else "",
    )


def _shown(row: Name, synonym: str) -> Name:
    """A row under a synonym that is shown as it is."""
    number = "many" if _is_plural(synonym) else row.number if row.number != "many" else "one"
    return replace(row, display=synonym, plural=_plural(synonym), number=number)


def _ancestry(kind: str, parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """A kind of lesion and all that it is a special case of, nearest first."""
    found = [kind]
    for one in found:
        found += [p for p in parents.get(one, ()) if p not in found]
    return tuple(found)


# --- From a key to its row.

_OTHER_LESION = re.compile(
    r"\b(metasta\w+|o?edema\w*|infarct\w*|h(a)?emorrhag\w*|neoplas\w*|necro\w+|gtv\w*|tumou?rs?|cancer|lesions?|mass(es)?|cysts?|"
    r"enhancing|plaques?|\w+oma)\b"
)
_NO_LESION = re.compile(r"\b(stoma|soma|axioma|chroma|stroma|coma|glaucoma|trichoma)\b")
_GROUPS: tuple[tuple[str, str], ...] = (
    (r"optic|eye|retina|macula|fovea|cup|lens|vitre", "eye"),
    (r"lung|trachea|bronch|airway|pleura", "thorax"),
    (
        r"heart|atri(um|al)|ventric(le|ular)|myocardi|aort|vein|vena|arter|vessel|portal|pulmonary|cava|carotid",
        "heart and vessels",
    ),
    (r"brain|cerebr|hippocamp|thalam|putamen|caudate|white matter|gr[ae]y matter|amygdala|pallid|skull|gyrus|cortex", "head"),
    (r"liver|spleen|pancrea|stomach|gall ?bladder|duoden|bowel|colon|intestin|o?esophag|rectum", "abdomen"),
    (r"kidney|adrenal|bladder|prostat|uter|ureter|ovar|semina|urethra", "pelvis and urinary tract"),
    (r"vertebra|spine|rib|bone|femur|hip|sacrum|scapula|clavic|humer|stern|tibia|cartilage|disc|mandib", "skeleton"),
    (r"muscle|glute|iliopsoas|fat", "muscle and fat"),
    (r"skin|naev|nev(us|i)|mole", "skin"),
    (r"breast|thyroid|node|gland|parotid", "glands and nodes"),
)
"""For names that no table knows."""


@kept
def known(name: str) -> Name:
    """What the tables know of a name; of one that they do not, the key as its display and the kind UNKNOWN."""
    table, side, rest = _table(), side_of(name), base(name)
    for text, told in ((name, ""), (rest, side)):
        row = table.rows.get(text)
        if row is not None and not ("{side}" in row.display and not told and side):
            return _sided(row, name, told)
    for pattern, rule in table.rules:
        match = pattern.fullmatch(rest)
        if match:
            return _sided(_ruled(match, rule, rest), name, side)
    return _lesion(table, rest, name, side) or _unknown(name, side)


def _sided(row: Name, name: str, side: str) -> Name:
    """A row under the name that was asked for, with its side."""
    shown, many = row.display, row.plural
    if "{side}" in shown:
        shown, many = (re.sub(r" +", " ", text.replace("{side}", side)) for text in (shown, many))
    elif side:
        shown, many = f"{side} {shown}", f"{side} {many}"
    return replace(row, key=name, display=shown, plural=many, side=side or side_of(name))


def _ruled(match: re.Match[str], rule: Mapping[str, Any], rest: str) -> Name:
    """The row that a rule makes of a match."""
    values = {}
    for group_name, text in match.groupdict().items():
        number = int(text) if text and text.isdigit() else -1
        values[group_name], values[f"{group_name}_upper"] = text or "", (text or "").upper()
        values[f"{group_name}_roman"] = _ROMAN[number] if 0 <= number < len(_ROMAN) else (text or "")
        values[f"{group_name}_ordinal"] = _ORDINAL[number] if 0 < number < len(_ORDINAL) else (text or "")
    both = "both" in rule and bool(match.groupdict().get("m"))
    text = rule["both" if both else "display"]
    many = rule.get("plural") or _plural(text)
    shown, many = (re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), t) for t in (text, many))
    return Name(
        key=rest,
        display=shown,
        plural=shown if both else many,
        article=rule.get("article", "the"),
        number="many" if both else "one",
        kind=rule["kind"],
        group=rule["group"],
        paired=rule.get("paired", False),
        midline=rule.get("midline", False),
        part_of=rule.get("part_of", ""),
        what=shown.lower().replace("{side} ", ""),
    )


def _lesion(table: _Table, rest: str, name: str, side: str) -> Name | None:
    """A kind of lesion with its site in front or behind ("liver tumour", "cyst of kidney"), the longest kind that fits."""
    words = [w for w in rest.split() if w not in ("of", "in", "the")]
    for size in range(len(words), 0, -1):
        for front in (False, True):
            row = table.rows.get(" ".join(words[:size] if front else words[len(words) - size :]))
            more = words[size:] if front else words[: len(words) - size]
            if row is None or row.kind != "lesion" or not more:
                continue
            site = next((table.sites[w] for i in range(len(more)) if (w := " ".join(more[i:])) in table.sites), row.site)
            shown = " ".join((known(site).display if site and site == " ".join(more) else " ".join(more), row.display))
            found = replace(row, display=shown, plural=_plural(shown), site=site, group="lesion")
            if row.number != "mass":
                found = replace(found, number="many" if _is_plural(shown) else "one")
            return _sided(found, name, side)
    return None


def _unknown(name: str, side: str) -> Name:
    """A name of no table; a word such as "tumour" in it still makes a lesion of it."""
    lesion = bool(_OTHER_LESION.search(name)) and not _NO_LESION.search(name)
    title = "lesion" if lesion else next((title for pattern, title in _GROUPS if re.search(pattern, name)), "other")
    return Name(
        key=name,
        display=name,
        plural=_plural(name),
        number="many" if _is_plural(name) else "one",
        kind="lesion" if lesion else UNKNOWN,
        group=title,
        side=side,
        what=base(name),
        kinds=(base(name), "lesion") if lesion else (),
    )


# --- English.

# Endings in "s" of words that name one thing: humerus, pelvis, pancreas, biceps, mass.
_SINGULAR_S = re.compile(r"(us|is|ss|as|ps|ns)$")
_PLURAL = frozenset(("vertebrae", "teeth", "bronchi", "atria", "metastases", "prostheses", "naevi", "menisci", "nuclei", "gyri"))
_IRREGULAR = (
    (r"vertebra$", "vertebrae"),
    (r"(.*)(sis)$", r"\1ses"),
    (r"(.*)(bronch|nucle|thalam|naev|nev|gyr|humer|uter|menisc|thromb)us$", r"\1\2i"),
    (r"(.*)(atri)um$", r"\1\2a"),
    (r"(.*[^aeiou])y$", r"\1ies"),
    (r"([IVX]+)$", r"\1"),
    (r"(.*(s|x|z|ch|sh))$", r"\1es"),
)


def _head(shown: str) -> tuple[str, str]:
    """A name up to the word that its number hangs on, and the rest ("middle lobe", " of the right lung")."""
    head, of, rest = shown.partition(" of ")
    return head, of + rest


def _is_plural(shown: str) -> bool:
    last = _head(shown)[0].rsplit(" ", 1)[-1]
    return last in _PLURAL or (last.endswith("s") and not _SINGULAR_S.search(last))


def _plural(shown: str) -> str:
    head, rest = _head(shown)
    if not head or _is_plural(shown):
        return shown
    start, blank, last = head.rpartition(" ")
    for pattern, form in _IRREGULAR:
        if re.match(pattern, last):
            return f"{start}{blank}{re.sub(pattern, form, last, count=1)}{rest}"
    return f"{head}s{rest}"


def _article(shown: str) -> str:
    """ "a" or "an", by the sound of the first word: an L2 vertebra, an ulcer, a uterus."""
    first = shown.split(" ", 1)[0]
    if len(first) > 1 and (first[1:].isdigit() or first.isupper()):
        return "an" if first[0] in "AEFHILMNORSX" else "a"
    return "an" if first[:1].lower() in "aeiou" and not re.match(r"(uni|ute|ure|uri|eu)", first.lower()) else "a"


def table_of(names: Sequence[str]) -> list[dict[str, str]]:
    """Names with their displays and kinds, as ``data inspect`` lists them."""
    return [{"raw": n, "display": known(n).display, "kind": known(n).kind} for n in names]
