"""Prompts found in made-up sources and rows of the published shapes."""

import json

import pytest

from unireason.cli import main
from unireason.core.errors import FormatError
from unireason.data.formats import unimed_cot
from unireason.data.words import from_data, from_source
from unireason.grounding.profile import load_profile

ASKING = """
import os, missing_module
os.remove("proof")
SYSTEM_PROMPT_2D = (
    "Read the picture. "
    "Mark places."
)
SYSTEM_PROMPT_3D = "Read the " + "slices."

def form(question, choices, *, add_line):
    lines = [question]
    rows = [f"{letter}) {choices[letter]}" for letter in "AB"]
    if rows:
        lines.append("\\n".join(rows))
        if add_line:
            lines.append("Name a letter.")
    return "\\n\\n".join(lines)

def run_2d(args):
    return form(args.q, {}, add_line=False)

def run_3d(args):
    return form(args.q, {}, add_line=True)

def options(parser, *, tokens_per_round):
    parser.add_argument("--max-new-tokens", type=int, default=77)
    parser.add_argument("--max-rounds", type=int, default=6)

options(p_2d, tokens_per_round=31)
options(p_3d, tokens_per_round=32)
"""
POINTING = """
def message(question, think="True"):
    if think == "True":
        words = (
            "<image>\\nFind it.\\n"
            "Asked: {Question}\\n\\n"
            "Keys {{'bbox'}}, like this:\\n"
            "<answer>{Answer}</answer>"
        )
    else:
        words = "<image>\\nShow {Question} now."
    system = {"role": "system", "content": "Help."}
    return words.format(Question=question, Answer="{'bbox': [a, b]}")
"""


def test_prompts_are_parsed_out_of_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proof").write_text("")
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "my_infer.py").write_text(ASKING)
    (clone / "broken.py").write_text("def (")
    words = from_source(clone)
    profile = words.profile
    assert (tmp_path / "proof").exists()
    assert words.task == "ask"
    assert (profile.system_2d, profile.system_3d) == ("Read the picture. Mark places.", "Read the slices.")
    assert (profile.closing_choice_2d, profile.closing_choice_3d) == ("", "Name a letter.")
    assert (profile.separator, profile.option) == ("\n\n", "{letter}) {text}")
    limits = (profile.max_new_tokens, profile.max_rounds, profile.max_round_tokens_2d, profile.max_round_tokens_3d)
    assert limits == (77, 6, 31, 32)
    assert (profile.rounds, profile.crops, profile.verbatim) == ("generations", "published", True)
    assert dict(words.found)["system_3d"] == "my_infer.py:8"


def test_a_text_around_a_question_is_split_and_filled(tmp_path):
    (tmp_path / "infer.py").write_text(POINTING)
    (tmp_path / "a_training.py").write_text(POINTING + "\npieces = re.split('(<image>)', text)\n")
    words = from_source(tmp_path)
    assert words.task == "ground"
    assert words.others == ("a_training.py",)
    assert words.profile.before_2d == "<image>\nFind it.\nAsked: "
    assert words.profile.closing_open_2d == "\n\nKeys {'bbox'}, like this:\n<answer>{'bbox': [a, b]}</answer>"
    assert words.profile.system_2d == "Help."
    assert words.profile.max_looks == 0
    plain = from_source(tmp_path / "infer.py", think=False).profile
    assert (plain.before_2d, plain.closing_open_2d) == ("<image>\nShow ", " now.")
    assert from_source(tmp_path / "a_training.py").profile.before_2d == "\nFind it.\nAsked: "


@pytest.mark.parametrize("text", ["x = 1", "SYSTEM_2D = 'a'", "def f():\n    w = '{Question} {Other}'"])
def test_source_without_prompts_is_told(tmp_path, text):
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(FormatError, match="no prompts"):
        from_source(tmp_path)
    with pytest.raises(FormatError, match="gone"):
        from_source(tmp_path / "gone")


def rows(*systems, closing="Name a letter."):
    for number, system in enumerate(systems):
        said = f"Where is {number}?\n\nA. left\nB. right"
        yield unimed_cot.SftRow((("system", system), ("user", f"<image>{said}"), ("assistant", "A")), ("a",))
        yield unimed_cot.RlRow((("system", "Slices."), ("user", f"{said}\n\n{closing}")))


def test_texts_that_rows_share_become_a_profile(tmp_path):
    unimed_cot.write(tmp_path, rows("Look.", "Look.", "Other."))
    words = from_data(tmp_path)
    assert (words.profile.system_2d, words.profile.system_3d) == ("Look.", "Slices.")
    assert (words.profile.closing_choice_2d, words.profile.closing_choice_3d) == ("", "Name a letter.")
    assert words.profile.separator == "\n\n"
    assert dict(words.found)["system_2d"] == "2 of 3 rows"


def test_texts_that_differ_are_told(tmp_path):
    unimed_cot.write(tmp_path, rows("Look.", "Other."))
    with pytest.raises(FormatError, match="system_2d"):
        from_data(tmp_path)


def test_the_command_writes_a_profile_and_shows_it(tmp_path, capsys):
    (tmp_path / "infer.py").write_text(ASKING)
    out = tmp_path / "profile.toml"
    assert main(["profile", "from-source", str(tmp_path / "infer.py"), "--out", str(out)]) == 0
    assert "system_3d (infer.py:8): 'Read the slices.'" in capsys.readouterr().out
    assert load_profile(out).system_3d == "Read the slices."
    assert main(["profile", "from-source", str(tmp_path / "infer.py"), "--out", str(out)]) == 2
    out.unlink()
    capsys.readouterr()
    assert main(["profile", "from-source", str(tmp_path / "infer.py"), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "ask"
