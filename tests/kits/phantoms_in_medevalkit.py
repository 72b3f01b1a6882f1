"""Runs questions through a copy of MedEvalKit, from its folder: its registry, prompt, base class of data sets, and judge of options.

    python phantoms_in_medevalkit.py TASK_FOLDER OUT

The questions stand in a folder that was exported for lmms-eval; of the kit's data set with several pictures a question only the reading
is replaced.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from pathlib import Path

os.environ.setdefault("api_key", "None")  # as eval.py does; no judge is called
sys.path.insert(0, "")  # the kit's folder

from LLMs import init_llm
from utils.MedFrameQA.MedFrameQA import MedFrameQA
from utils.question_formats import get_multiple_choice_prompt


class Phantoms(MedFrameQA):
    """The kit's data set over exported questions."""

    def load_data(self):
        for line in (Path(self.dataset_path) / "questions.jsonl").read_text(encoding="utf-8").splitlines():
            doc = json.loads(line)
            choices = [f"{letter}.{text}" for letter, text in zip("ABCDEFGHIJ", doc["options"], strict=False)]
            pictures = [str(Path(self.dataset_path) / name) for name in doc["pictures"]]
            shown = {"image": pictures[0]} if len(pictures) == 1 else {"images": pictures}
            messages = {"prompt": get_multiple_choice_prompt(doc["question"], choices), **shown}
            self.samples.append({"messages": messages, "choices": choices, "answer": doc["letter"]})


task, out = sys.argv[1:]
model = init_llm(Namespace(model_name="UniReason", model_path="phantom"))
questions = Phantoms(model, task, out)
questions.load_data()
questions.eval()
