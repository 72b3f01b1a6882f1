"""Our models in MedEvalKit: a class to put into its ``LLMRegistry``.

Source: ``LLMs.py``, ``utils/base_dataset.py`` and the classes in ``models`` of MedEvalKit, commit 9b12e3b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .answering import Answerer, Asked


class UniReason:
    """A model of ours as MedEvalKit sees it."""

    def __init__(self, model_path: str = "phantom", args: Any = None, **options: Any) -> None:
        """Load the model."""
        self.answerer = Answerer(model_path, **{"letter": True, **options})

    def process_messages(self, messages: Mapping[str, Any]) -> Asked:
        """Pictures and prompt of one question."""
        if "messages" in messages:
            return [], "\n".join(str(turn["content"]) for turn in messages["messages"])
        pictures = [messages["image"]] if "image" in messages else messages.get("images") or []
        return list(pictures), str(messages["prompt"])

    def generate_output(self, messages: Mapping[str, Any]) -> str:
        """Answer one question."""
        return self.generate_outputs([messages])[0]

    def generate_outputs(self, messages_list: Sequence[Mapping[str, Any]]) -> list[str]:
        """Answer questions in order; those in a row about the same pictures share their encoding."""
        return self.answerer.answers(self.process_messages(messages) for messages in messages_list)
