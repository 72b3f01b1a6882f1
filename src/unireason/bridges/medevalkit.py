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
        """Load the model.

        Args:
            model_path: "phantom", a checkpoint folder or a hub id.
            args: The kit's command line; not used, its generation settings are made for answers without reasoning.
            **options: See ``Answerer``: ``full``, ``letter``, ``skip``, ``device`` and fields of ``AskOptions``. ``letter`` is on unless
                told otherwise: the kit compares what is not a letter with the options by likeness of text, and an empty answer, too, is
                most like the first of them.

        Raises:
            UniReasonError: See ``Answerer``.
        """
        self.answerer = Answerer(model_path, **{"letter": True, **options})

    def process_messages(self, messages: Mapping[str, Any]) -> Asked:
        """Pictures and prompt of one question.

        Args:
            messages: "prompt" and "image" or "images" (paths or Pillow pictures); a "system" text is not used, the model has its own.
                A dialogue ("messages") is text without a picture.

        Returns:
            What ``Answerer.answers`` takes; no pictures where the kit gives none.
        """
        if "messages" in messages:
            return [], "\n".join(str(turn["content"]) for turn in messages["messages"])
        pictures = [messages["image"]] if "image" in messages else messages.get("images") or []
        return list(pictures), str(messages["prompt"])

    def generate_output(self, messages: Mapping[str, Any]) -> str:
        """Answer one question.

        Raises:
            UniReasonError: If it cannot be asked and ``skip`` is off.
        """
        return self.generate_outputs([messages])[0]

    def generate_outputs(self, messages_list: Sequence[Mapping[str, Any]]) -> list[str]:
        """Answer questions in order; those in a row about the same pictures share their encoding.

        Raises:
            UniReasonError: If one cannot be asked and ``skip`` is off.
        """
        return self.answerer.answers(self.process_messages(messages) for messages in messages_list)
