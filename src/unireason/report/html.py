"""Safe HTML: escaping, inlined data, the security policy of a page, and writing it to disk.

Every text that came from a model, a user or a file passes through :func:`escape` or :func:`inline_json` before it reaches
a page. Pages carry their styles and scripts inside; the policy allows exactly those, by hash, and no network at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from glob import escape as escape_glob
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from unireason.core.errors import FormatError
from unireason.core.store import json_text, write_bytes
from unireason.core.types import Trace, is_mismatch
from unireason.metrics.statistics import FEW

CONTRADICTS = '<b class="contradicts">letter and text contradict</b>'
"""Badge of an answer that names an option by its letter and states another text."""

VERDICTS = {True: '<b class="good">right</b>', False: '<b class="bad">wrong</b>', None: ""}
"""Badges of right and wrong answers."""

RESEARCH_ONLY = "Research only. Not a medical device."
"""Stands on every page and under every table."""

PAGE_BYTES = 2_500_000
"""Above so many bytes a list goes on on a further page."""

_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


def clean(value: object) -> str:
    """Text that can be shown: control characters, lone surrogates and marks that turn the reading order become U+FFFD."""
    text = str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _UNSAFE.sub("\ufffd", text)


def escape(value: object) -> str:
    """Text that is inert in HTML content and in quoted attributes."""
    return html.escape(clean(value), quote=True)


def inline_json(value: object) -> str:
    """JSON that cannot end the script element it is put in, whatever strings it holds."""
    text = json_text(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def json_link(value: object) -> str:
    """A ``data:`` address that holds ``value`` as a JSON file, for a download link."""
    raw = json_text(value, ensure_ascii=True, indent=1).encode("ascii")
    return "data:application/json;base64," + base64.b64encode(raw).decode("ascii")


def static(name: str) -> str:
    """The text of a file shipped in ``report/static``."""
    return files(__package__).joinpath("static", name).read_text(encoding="utf-8")


@cache
def templates() -> Any:
    """The environment of ``report/templates``; whatever a template puts out is cleaned and escaped unless it is HTML already."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else clean(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plain = (interval_text, mark, number, numbers, percent, plural)
    drawn = {one.__name__: _marked(one) for one in (bar, figure, figures, filters)}
    verdicts = {key: Markup(text) for key, text in VERDICTS.items()}
    made.globals.update({one.__name__: one for one in plain}, **drawn, verdicts=verdicts, contradicts=Markup(CONTRADICTS))
    made.tests.update(mismatch=is_mismatch, share=is_share)
    return made


def part(name: str, *given: Any, of: str = "parts.html") -> Markup:
    """A macro of ``parts.html`` or ``cards.html``, filled."""
    return Markup(getattr(templates().get_template(of).module, name)(*given).strip())


def _marked(function: Callable[..., str]) -> Callable[..., Markup]:
    """A function that gives HTML, for templates."""
    return lambda *given, **named: Markup(function(*given, **named))


def page(
    template: str,
    *,
    about: str,
    title: str,
    cautions: Sequence[str] = (),
    sheets: Sequence[str] = (),
    style: str = "",
    script: str = "",
    **values: Any,
) -> bytes:
    """A page as a file: a template of ``report/templates`` that extends ``base.html``, sealed with its security policy.

    Args:
        template: File name.
        about: What kind of page it is, in a word or two.
        title: Plain text.
        cautions: Sentences in plain text for the head of the page.
        sheets: Style sheets of ``report/static`` behind the shared one, by name.
        style: Rules of this page alone.
        script: A script of ``report/static``.
        values: What else the template asks for: plain values, or ``Markup`` where they are HTML.
    """
    styles = "\n".join([*(static(f"{name}.css") for name in ("style", *sheets)), *([style] if style else [])])
    code = static(script) if script else ""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"

    # Pictures from ``data:`` and the two elements of this page; everything else is refused.
    scripts = digest(code) if code else "'none'"
    policy = f"default-src 'none'; img-src data:; style-src {digest(styles)}; script-src {scripts}; "
    filled: str = (
        templates()
        .get_template(template)
        .render(
            about=about,
            title=title,
            cautions=cautions,
            style=Markup(styles),
            script=Markup(code),
            policy=Markup(f"{policy}base-uri 'none'; form-action 'none'"),
            research_only=RESEARCH_ONLY,
            **values,
        )
    )
    return filled.encode("utf-8")


def write_pages(
    path: str | os.PathLike[str], parts: Iterable[Markup], make: Callable[[list[Markup], list[str], int], bytes]
) -> Path:
    """Write a long list on as many pages as keep each small: ``report.html``, ``report-page-2.html`` ...; no part is cut.

    Args:
        path: The first page. Further pages of an earlier list are removed.
        parts: HTML, in order; none makes one page.
        make: From the parts of a page, the names of all pages and the number of this one to its bytes.

    Returns:
        The path of the first page.
    """
    first, shares, room = Path(path), list[list[Markup]]([[]]), PAGE_BYTES
    for one in parts:
        if shares[-1] and room < len(one):
            shares.append([])
            room = PAGE_BYTES
        shares[-1].append(one)
        room -= len(one)
    names = [first.name, *(f"{first.stem}-page-{n}{first.suffix}" for n in range(2, len(shares) + 1))]
    for n, (name, share) in enumerate(zip(names, shares, strict=True)):
        write_bytes(first.with_name(name), make(share, names, n))
    for old in first.parent.glob(f"{escape_glob(first.stem)}-page-*{first.suffix}"):
        if old.name not in names and old.stem.rpartition("-")[2].isdecimal():
            old.unlink()
    return first


def sheet(
    about: str,
    title: str,
    facts: str,
    parts: Sequence[str],
    *,
    sheets: Sequence[str] = (),
    heading: str = "",
    script: str = "",
    cautions: Sequence[str] = (),
    pages: Sequence[str] = (),
    current: int = 0,
) -> bytes:
    """A page of one column as a file: cautions, heading, a line of facts, then the parts; all HTML, styles and script by name.

    ``pages`` names all pages of a list that goes on, of which this is the one at ``current``.
    """
    return page(
        "sheet.html",
        about=about,
        title=Markup(title),
        cautions=cautions,
        sheets=sheets,
        script=script,
        heading=Markup(heading),
        facts=Markup(facts),
        parts=[Markup(part) for part in parts],
        pages=pages,
        current=current,
    )


Cell = str | tuple[str, str]
"""HTML of a cell, or its class and its HTML."""


def table(kind: str, heads: Iterable[Cell], rows: str) -> str:
    """A table with one row of heads; ``rows`` is HTML, perhaps in bodies of its own."""
    body = rows if rows.startswith("<tbody>") else f"<tbody>{rows}</tbody>"
    return f'<table class="{kind}"><thead><tr>{_cells("th", heads)}</tr></thead>{body}</table>'


def row(head: str, *cells: Cell) -> str:
    """A row of a table."""
    return f'<tr><th scope="row">{head}</th>{_cells("td", cells)}</tr>'


def _cells(tag: str, cells: Iterable[Cell]) -> str:
    scope, found = ' scope="col"' if tag == "th" else "", ""
    for cell in cells:
        kind, text = ("", cell) if isinstance(cell, str) else (f' class="{cell[0]}"', cell[1])
        found += f"<{tag}{scope}{kind}>{text}</{tag}>"
    return found


def figures(large: Iterable[tuple[str, str, str]]) -> str:
    """Large figures: name, value, and a few words behind it."""
    cells = "".join(f"<div><dt>{n}</dt><dd>{v}{f'<small>{m}</small>' if m else ''}</dd></div>" for n, v, m in large)
    return f'<dl class="large">{cells}</dl>'


def figure(label: str, link: str, size: tuple[float, float], drawn: str, *, view: str = "", caption: str = "") -> str:
    """A picture of a size in any unit with drawings on it; ``view`` shows a part of it."""
    box = view or f"0 0 {size[0]:.2f} {size[1]:.2f}"
    return (
        f'<figure><svg viewBox="{box}" role="img" aria-label="{label}"><image href="{link}" width="{size[0]:.2f}" '
        f'height="{size[1]:.2f}" preserveAspectRatio="none"/>{drawn}</svg>'
        f"{f'<figcaption>{caption}</figcaption>' if caption else ''}</figure>"
    )


def mark(number: int, label: str, corners: Sequence[float], factors: tuple[float, float], *, tone: int) -> Markup:
    """A box with its number as SVG, for pictures on cards, in the tone of its look."""
    x1, y1, x2, y2 = (v * f for v, f in zip(corners, (*factors, *factors), strict=True))
    rect = f'x="{x1:.2f}" y="{y1:.2f}" width="{max(x2 - x1, 0):.2f}" height="{max(y2 - y1, 0):.2f}"'
    top = y1 - 6.2 if y1 >= 6.2 else y1
    return Markup(
        f'<g class="box tone-{tone}"><title>{escape(label)}</title><rect class="halo" {rect}/><rect class="line" {rect}/>'
        f'<rect class="tagback" x="{x1:.2f}" y="{top:.2f}" width="5.6" height="5.6" rx="1"/>'
        f'<text x="{x1 + 2.8:.2f}" y="{top + 4.3:.2f}">{number}</text></g>'
    )


def filters(choices: Sequence[tuple[str, str]], prefix: str) -> str:
    """Radio buttons that hide cards by style alone, the first one chosen; nothing where there is nothing to choose."""
    if len(choices) < 3:
        return ""
    boxes = "".join(
        f'<label><input type="radio" name="show" id="{prefix}-{key}"{" checked" if key == "all" else ""}><span>{name}</span></label>'
        for key, name in choices
    )
    return f'<fieldset class="filters"><legend class="unseen">Show</legend>{boxes}</fieldset>'


def dotted(words: Iterable[str]) -> str:
    """Words in a line of HTML."""
    return " · ".join(escape(word) for word in words)


def checkpoint(model: Mapping[str, Any]) -> str:
    """A checkpoint by its name and the begin of its hash."""
    return f"checkpoint {model['name']} {str(model['sha256'])[:12]}".strip()


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 case", "1,200 cases"; for nouns that take an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def numbers(values: tuple[float, ...] | list[Any]) -> str:
    """Box numbers as compact text: integers without a point, others with one decimal."""
    return ", ".join(number(v) for v in values)


def number(value: float, decimals: int = 1) -> str:
    """One number without needless zeros and with a true minus sign; beyond a million in powers of ten."""
    text = f"{value:.{decimals}f}" if abs(value) < 1e6 else f"{value:.3g}"
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text.replace("-", "\u2212")


# --- Pictures as ``data:`` addresses of bounded size.


BUDGET = 2_200_000
"""Bytes of picture data above which a group of pictures is stored as JPEG instead of PNG."""


def check(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``pixels`` if it is uint8, (h, w) or (h, w, 3) and not empty."""
    ok = pixels.dtype == np.uint8 and (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) and pixels.size > 0
    if not ok:
        raise FormatError(f"a picture of type {pixels.dtype} and shape {pixels.shape}", "uint8 of (h, w) or (h, w, 3)")
    return pixels


def fit(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Shrink a picture (area average) until its longer side is at most ``longest`` pixels; never enlarge it."""
    height, width = check(pixels).shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def addresses(pictures: Sequence[NDArray[np.uint8]], *, budget: int = BUDGET) -> list[str]:
    """Encode pictures that belong together."""
    images = [Image.fromarray(check(p)) for p in pictures]
    coded, kind = [_encode(image, "PNG") for image in images], "png"
    for quality in (90, 75):
        if sum(map(len, coded)) <= budget:
            break
        coded, kind = [_encode(image, "JPEG", quality) for image in images], "jpeg"
    return [f"data:image/{kind};base64,{base64.b64encode(c).decode('ascii')}" for c in coded]


def png(image: Image.Image) -> bytes:
    """A picture as PNG bytes."""
    return _encode(image, "PNG")


def _encode(image: Image.Image, kind: str, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    options = {} if kind == "PNG" else {"quality": quality, "subsampling": 0}
    image.save(stream, kind, **options)
    return stream.getvalue()


# --- Bars of shares with intervals and the line of chance, and shares as words; shared by the pages that show scores.


def bar(value: Any, interval: Any = None, chance: Any = None) -> str:
    """A bar from 0 to 100% with the whiskers of its interval and the line of chance."""
    if not is_share(value):
        return ""
    marks = f'<rect class="rail" width="100" height="16"/><rect class="bar" y="3" width="{100 * value:.2f}" height="10"/>'
    if is_pair(interval):
        low, high = (100 * float(v) for v in interval)
        marks += f'<path class="whiskers" d="M{low:.2f} 8H{high:.2f}M{low:.2f} 4V12M{high:.2f} 4V12"/>'
    if is_share(chance):
        marks += f'<path class="chance" d="M{100 * chance:.2f} 0V16"/>'
    return f'<svg viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true">{marks}</svg>'


def is_share(value: Any) -> bool:
    """True for a number from 0 to 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def is_pair(value: Any) -> bool:
    """True for two shares."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(is_share(v) for v in value)


def percent(value: Any, decimals: int = 0) -> str:
    """A share in percent; a dash for anything else."""
    return f"{100 * value:.{decimals}f}%" if is_share(value) else "\u2013"


def interval_text(value: Any, decimals: int = 0) -> str:
    """Two shares as a range in percent; "" for anything else."""
    return f"{100 * value[0]:.{decimals}f}\u2013{100 * value[1]:.{decimals}f}%" if is_pair(value) else ""


# --- What a reader must know before any number or answer: few patients, or a question outside what the model was made for.


def of_traces(traces: Iterable[Trace]) -> list[str]:
    """What lies outside the scope of the model that made the traces, each once; none inside or where nothing is known."""
    checks = [trace.scope for trace in traces]
    remarks = list(dict.fromkeys(remark for check in checks for remark in check.remarks))
    made_for = dict.fromkeys(f"What the model was made for: {check.stated}" for check in checks if check.remarks)
    return [*remarks, *made_for]


def of_results(results: Mapping[str, Any]) -> list[str]:
    """Of the results of an evaluation, from their ``scope``, ``patients`` and ``too_few_patients``; what is missing is no caution."""
    scope = results.get("scope") or {}
    said = []
    if scope.get("outside"):
        said = [f"{plural(n, 'question')} of {scope['questions']:,}: {remark}" for remark, n in scope["remarks"].items()]
        said.append(f"What the model was made for: {scope['stated']}")
    if results.get("too_few_patients"):
        said.append(
            f"Too few patients: {plural(results['patients'], 'patient')}, fewer than {FEW}, say little of others. Intervals over them are "
            "made for few and wide; those over questions taken as independent promise too much."
        )
    return said


def tell(cautions: Sequence[str]) -> None:
    """Print the sentences to stderr."""
    for text in cautions:
        print(f"caution: {text}", file=sys.stderr)
