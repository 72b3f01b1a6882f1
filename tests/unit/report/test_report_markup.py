"""Escaping, inlined data, the security policy and writing."""

import base64
import hashlib
import json
import re

import pytest

from report_samples import HOSTILE
from unireason.report import html


def test_escape_leaves_nothing_that_html_would_read() -> None:
    assert html.escape('<a href="x">&\'') == "&lt;a href=&quot;x&quot;&gt;&amp;&#x27;"
    assert not set("<>\"'") & set(html.escape(HOSTILE))


def test_clean_replaces_what_cannot_be_shown_and_keeps_the_rest() -> None:
    assert html.clean("a\x00b\ud800c\u202ed\u2066\n\té漢") == "a\ufffdb\ufffdc\ufffdd\ufffd\n\té漢"


def test_inline_json_cannot_end_its_element_and_keeps_its_value() -> None:
    value = {"a": HOSTILE, "b": ["<!--", "\u2028"]}
    text = html.inline_json(value)
    assert "<" not in text
    assert ">" not in text
    assert "&" not in text
    assert text.isascii()
    assert json.loads(text) == value


def test_inline_json_has_null_where_json_has_no_number() -> None:
    assert json.loads(html.inline_json([float("nan"), float("inf"), 1.5])) == [None, None, 1.5]


def test_json_link_holds_the_value() -> None:
    head, body = html.json_link({"x": "é<"}).split(",", 1)
    assert head == "data:application/json;base64"
    assert json.loads(base64.b64decode(body)) == {"x": "é<"}


def test_policy_names_the_very_style_and_script_and_refuses_the_network() -> None:
    page = html.sheet("report", "t", "{{ style }}", ["b"], script="evaluation.js").decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    for tag in ("style", "script"):
        text = re.search(f"<{tag}>(.*?)</{tag}>", page, re.S)[1]
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "img-src data:;" in policy[1]
    assert "unsafe" not in policy[1]
    assert page.count("{{ style }}") == 1, "what looks like a hole inside a value must stay as it is"
    assert page.count(html.RESEARCH_ONLY) == 2


def test_a_page_without_script_allows_none() -> None:
    page = html.sheet("report", "t", "", []).decode()
    assert "script-src 'none'" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (3.25, "3.2"),
        (-0.04, "0"),
        (-12.5, "\u221212.5"),
        (100.0, "100"),
        (0.0, "0"),
        (1e300, "1e+300"),
        (-2.5e6, "\u22122.5e+06"),
    ],
)
def test_number_is_short_and_has_a_true_minus(value: float, text: str) -> None:
    assert html.number(value) == text
