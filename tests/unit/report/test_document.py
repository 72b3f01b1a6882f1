"""A document says the same on a page, in Markdown and on a terminal, and no text of it does harm."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup

from report_samples import HOSTILE
from unireason.report.document import (
    Card,
    Cards,
    Column,
    Document,
    Facts,
    Headline,
    Notice,
    Plot,
    Prose,
    Remark,
    Table,
    Value,
    View,
    as_html,
    as_markdown,
    as_terminal,
    asked_of,
    provenance,
    unread,
    write_html,
)

SHARES = (Column("Condition"), Column("Accuracy", interval="95%", outer="Patients", drawn="dot"), Column("n", spare=True))


def page(*blocks, **more):
    return as_html(Document("Title", ["one", "two"], blocks, **more)).decode()


def markdown(*blocks, **more):
    return as_markdown(Document("Title", ["one", "two"], blocks, **more))


def terminal(*blocks, **more):
    return as_terminal(Document("Title", ["one", "two"], blocks, **more))


def table(*rows, columns=SHARES, **more):
    return Table(columns, rows or [("true", Value(0.5, (0.25, 0.75), (0.0, 1.0), "%"), 1200)], **more)


@pytest.mark.parametrize(
    ("value", "text", "ends"),
    [
        (Value(0.5, (0.25, 0.75), unit="%"), "50%", "25\u201375%"),
        (Value(0.5, (0.25, 0.75), unit="%", decimals=1), "50.0%", "25.0\u201375.0%"),
        (Value(-0.1, (-0.2, 0.1)), "\u22120.10", "\u22120.20 to 0.10"),
        (Value(0.125, (-0.001, 0.25), unit="points"), "+12.5", "\u22120.1 to +25.0"),
        (Value(-0.0001, unit="points"), "0.0", ""),
        (Value(3.5, (1.75, 3.5), unit="mm"), "3.50 mm", "1.75\u20133.50 mm"),
        (Value(None), "\u2013", ""),
    ],
)
def test_numbers_in_words(value, text, ends):
    assert (value.text(), value.ends()) == (text, ends)


def test_one_table_in_three_media():
    html = page(table())
    assert '<th scope="row">true</th>' in html
    assert '<path class="dot" d="M50.00 8h0"/>' in html
    assert 'd="M25.00 8H75.00M25.00 4V12M75.00 4V12"' in html
    assert '<path class="band" d="M0.00 8H100.00"/>' in html
    assert re.search(r'<td class="value">50%</td>\s*<td class="ends">25–75%</td><td class="ends">0–100%</td>', html)
    assert "| Condition | Accuracy | 95% | Patients | n |" in markdown(table())
    assert "| true | 50% | 25\u201375% | 0\u2013100% | 1,200 |" in markdown(table())
    facts, head, row = terminal(table()).splitlines()
    assert facts == "one, two"
    assert head.split() == ["Condition", "Accuracy", "95%", "Patients", "n"]
    assert row.split() == ["true", "50%", "25\u201375%", "0\u2013100%", "1,200"]


def test_intervals_stand_beside_values_where_no_column_is_theirs():
    beside = table(("a", Value(0.5, (0.2, 0.8))), columns=(Column("x"), Column("Reliance")))
    assert "0.50 <small>0.20\u20130.80</small>" in page(beside)
    assert "| a | 0.50 (0.20\u20130.80) |" in markdown(beside)
    assert "a  0.50 (0.20\u20130.80)" in " ".join(terminal(beside).split("\n")[2:])


def test_a_value_outside_its_axis_is_drawn_at_its_end():
    row = ("a", Value(7.0, lines=(("rule", 0.0),), tone="bad"))
    html = page(table(row, columns=(Column("x"), Column("y", drawn="dot", axis=(-0.25, 0.25)))))
    assert 'class="dot" d="M100.00 8h0"' in html
    assert 'class="rule" d="M50.00 0V16"' in html
    assert '<svg class="bad"' in html
    assert "<svg" not in page(table(("a", Value(None)), columns=(Column("x"), Column("y", drawn="bar"))))


def test_rows_under_headings_and_no_rows():
    grouped = table("Family", ("count", 3), "Structure", ("liver", 4), columns=(Column("Tag"), Column("n", interval="95%")))
    assert page(grouped).count('colspan="3"') == 2
    text = markdown(grouped)
    assert text.index("### Family") < text.index("| count | 3 |") < text.index("### Structure") < text.index("| liver | 4 |")
    assert [line.split() for line in terminal(grouped).splitlines()[2:4]] == [["Family"], ["count", "3"]]
    assert "Nothing was measured." in page(Table(SHARES, []))
    assert "Nothing was measured." in markdown(Table(SHARES, []))


def test_figures_and_prose():
    headline = Headline([("Reliance", Value(0.5, (0.2, 0.8)), ""), ("Chance", Value(0.25, unit="%"), "of guessing")])
    html = page(headline, Prose([Remark("Holds", "a claim.", "good")], title="Claims"))
    assert "<dt>Reliance</dt><dd>0.50<small>0.20\u20130.80</small></dd>" in html
    assert "<dd>25%<small>of guessing</small></dd>" in html
    assert '<b class="good">Holds</b> <small>a claim.</small>' in html
    assert "| Reliance | 0.50 (0.20\u20130.80) |  |" in markdown(headline)
    assert terminal(headline, Prose([Remark("Holds", "a claim.")])).splitlines()[-1] == "Holds: a claim."


def test_blocks_without_a_title_join_the_panel_before():
    assert page(Headline([], title="A"), table(), table(title="B")).count('<section class="card panel">') == 2
    plots = [Plot(b"1", "one", "One"), Plot(b"2", "two", "Two")]
    html = page(*plots)
    assert html.count('<div class="plots">') == 1
    assert 'src="data:image/png;base64,MQ==" alt="one"' in html
    assert "![one](one.png)" in markdown(Plot(b"1", "one", file="one.png"))


def test_facts_are_folded_and_told_in_markdown():
    facts = Facts({"Seed": "0"}, command="unireason eval run")
    assert '<details class="card provenance"><summary>' in page(facts)
    assert "* Seed: 0" in markdown(facts)
    assert "```bash\nunireason eval run\n```" in markdown(facts)
    assert "Seed" not in terminal(facts)


def test_examples_behind_the_first_are_unfolded_on_demand():
    html = page(Cards("Flips", [Card(f"question {n}") for n in range(5)], shown=2))
    first, rest = html.split('<details class="rest">')
    assert first.count("data-card") == 2
    assert rest.count("data-card") == 3
    assert "Show 3 more" in rest
    assert "question" not in markdown(Cards("Flips", [Card("question")]))
    assert "None among the answers." in page(Cards("Flips", []))


def test_examples_are_filtered():
    cards = Cards("Wrong", [Card("q", facets={"family": "count"})])
    html = page(
        cards, cards, filters={"family": ("Family", {"count": "count", "size": "size"}), "kind": ("Kind", {"image": "2D"})}
    )
    assert 'data-card data-family="count"' in html
    assert html.count('class="finder"') == 1
    assert '<option value="size">size</option>' in html
    assert 'name="kind"' not in html  # one value: nothing to choose
    assert "<script>" in html
    assert "<script>" not in page(cards)


def test_a_picture_is_drawn_in_its_true_proportion():
    """A grid of 40 x 20 cells that is 40 mm wide and 80 mm high: 1.25 and 5 units a cell."""
    grey = np.zeros((20, 40), np.uint8)
    marks = {"boxes": [(1, "a box", (10, 5, 20, 10))], "points": [("truth", (3, 3))], "paths": [("region", "M0,0 1,1Z")]}
    html = page(Cards("x", [Card("q", views=[View(grey, (40, 20), 0.5, "asked for", **marks)])]))
    assert 'viewBox="0.00 0.00 50.00 100.00"' in html
    assert '<g class="box tone-1"><title>a box</title>' in html
    assert 'x="12.50" y="25.00" width="12.50" height="25.00"' in html
    assert 'class="dot" cx="4.38" cy="17.50"' in html
    assert 'transform="scale(1.25000 5.00000)" d="M0,0 1,1Z"' in html
    assert '<image href="data:image/png;base64,' in html
    part = View("data:image/png;base64,AA", (40, 20), 0.5, window=(4, 2, 8, 4))
    assert 'viewBox="5.00 10.00 10.00 20.00"' in page(Cards("x", [Card("q", views=[part])]))
    assert "no look" in page(Cards("x", [Card("q", blank="no look")]))


def test_an_example_says_who_answered_what():
    card = Card(
        "Which?", kind="3D · case", verdict=Remark("wrong", tone="bad"), options=[("A", "liver", "expected"), ("B", "spleen", "")],
        answers=[("true", Remark("A", "letter and text contradict", "good")), ("blank", Remark("", tone="bad"))],
        marks=[("IoU", Value(0.5))], lines=[("reply", "A")], body=Markup("<p>own</p>"),
    )  # fmt: skip
    html = page(Cards("x", [card]))
    assert '<b class="bad">wrong</b>' in html
    assert '<span class="expected">liver</span>' in html
    assert '<li class="bad"><span>blank</span><b>\u2013</b></li>' in html
    assert "letter and text contradict" in html
    assert "<dt>IoU</dt><dd>0.50</dd>" in html
    assert "<p>own</p>" in html


def test_no_text_does_harm():
    everywhere = [
        Headline([(HOSTILE, HOSTILE, HOSTILE)], title=HOSTILE),
        table((Remark(HOSTILE, HOSTILE), Remark(HOSTILE, HOSTILE, "bad"), HOSTILE), notes=[HOSTILE], legend=[("dash", HOSTILE)]),
        table(title=HOSTILE),
        Prose([HOSTILE, Remark(HOSTILE, HOSTILE)]),
        Facts({HOSTILE: HOSTILE}, command=HOSTILE),
        Cards(HOSTILE, [Card(HOSTILE, HOSTILE, Remark(HOSTILE), [], HOSTILE, [(HOSTILE, HOSTILE, "")], [(HOSTILE, HOSTILE)],
                             [(HOSTILE, Remark(HOSTILE, HOSTILE))], [("note", HOSTILE)], facets={"family": HOSTILE})], [(1, HOSTILE)]),
    ]  # fmt: skip
    more = {"cautions": [HOSTILE], "notices": [Notice(HOSTILE, [HOSTILE], HOSTILE)]}
    html = as_html(Document(HOSTILE, [HOSTILE], everywhere, **more)).decode()
    body = html.partition("<body>")[2]
    assert not re.search(r"<(script|img|iframe|b onclick)", body, re.IGNORECASE)
    assert "\x1b" not in html
    text = as_markdown(Document(HOSTILE, [HOSTILE], everywhere, **more)).partition("```bash")[0]
    assert "<script" not in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", as_terminal(Document(HOSTILE, [HOSTILE], everywhere, **more)))


def test_what_could_not_be_asked_is_named_in_part():
    (notice,) = unread({"n": 5, "questions": {f"q{n}": f"why {n}" for n in range(5)}})
    for text in (page(notices=[notice]), markdown(notices=[notice]), terminal(notices=[notice])):
        assert "5 questions could not be asked" in text
        assert [n for n in range(5) if f"q{n}: why {n}" in text] == [0, 1, 2]
        assert "and 2 more" in text
    assert unread({"n": 0, "questions": {}}) == []


def test_a_manifest_as_a_line_and_as_settings():
    made = {"kind": "run", "suite": "s", "seed": 3, "questions_sha256": "ff", "split": "",
            "checkpoint": {"name": "m", "sha256": "ab" * 32, "hashed": None}}  # fmt: skip
    assert asked_of(made, "8 questions") == ["suite s", "8 questions", "seed 3", "checkpoint m abababababab"]
    pairs = dict(provenance(made, command="again").pairs)
    assert pairs == {"Suite": "s", "Seed": "3", "Questions, SHA-256": "ff", "Checkpoint": f"name m, sha256 {'ab' * 32}"}


def test_cautions_and_file(tmp_path: Path):
    path = write_html(Document("T", [], [], cautions=["Too few"]), tmp_path / "page.html")
    assert "<p>Too few</p>" in path.read_text()
    assert "**Caution.** Too few" in markdown(cautions=["Too few"])


def test_a_column_may_have_no_title_and_a_long_table_is_cut_on_a_terminal():
    rows = [(f"row {n}", Value(0.5, (0.25, 0.75), unit="%")) for n in range(60)]
    block = Table([Column(""), Column("Share", interval="95%")], rows)
    assert "|  | Share | 95% |" in markdown(block)
    assert markdown(block).count("| row ") == 60
    told = terminal(block)
    assert told.count("row ") == 40
    assert "and 20 more lines" in told
