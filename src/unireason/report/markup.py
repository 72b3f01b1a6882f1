"""Safe HTML: escaping, inlined data, the security policy of a page, and writing it to disk.

Every text that came from a model, a user or a file passes through :func:`escape` or :func:`inline_json` before it reaches
a page. Pages carry their styles and scripts inside; the policy allows exactly those, by hash, and no network at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from unireason.files import json_text

CONTRADICTS = '<b class="contradicts">letter and text contradict</b>'
"""Badge of an answer that names an option by its letter and states another text."""

RESEARCH_ONLY = "Research only. Not a medical device."
"""Stands on every page and under every table."""

_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


def clean(value: object) -> str:
    """Text that can be shown: control characters, lone surrogates and marks that turn the reading order become U+FFFD."""
    text = str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _UNSAFE.sub("\ufffd", text)


def escape(value: object) -> str:
    """Text that is inert in HTML content and in quoted attributes.

    Args:
        value: Anything; its ``str`` is cleaned as by :func:`clean`.

    Returns:
        The escaped text; "" for "".
    """
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


def render(template: str, *, about: str, style: str, script: str, values: Mapping[str, str], head: str = "") -> str:
    """Fill a page of ``static``, put it into the frame that all pages share, and seal it with its security policy.

    Args:
        template: File name of the page's main part; its ``$names`` are replaced once, so a ``$`` inside a value stays as it is.
        about: Word beside the brand that says what the page is.
        style: Text of the one style element.
        script: Text of the one script element; "" for a page that needs none and then allows none.
        values: Replacements, already escaped, with ``title``; ``file`` stands in the head of a page about one file.
        head: HTML above the main part, such as ``caution.banner``.

    Returns:
        The whole document.
    """
    main = Template(static(template)).substitute(values)
    return Template(static("frame.html")).substitute(
        title=values["title"],
        about=about,
        file=values.get("file", ""),
        main=head + main,
        style=style,
        script=f"<script>{script}</script>\n" if script else "",
        policy=_policy(style, script),
        research_only=RESEARCH_ONLY,
    )


def _policy(style: str, script: str) -> str:
    """Content security policy: pictures from ``data:`` and the two named elements; everything else is refused."""
    scripts = _hash(script) if script else "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {scripts}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


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
