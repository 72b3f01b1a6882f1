"""Our models in VLMEvalKit: a class to put into its ``supported_VLM``.

Source: ``vlmeval/vlm/base.py`` and ``vlmeval/inference.py`` of VLMEvalKit, commit e8e78f0.
"""

from __future__ import annotations

from typing import Any

from unireason.errors import UniReasonError

from .answering import Answerer

try:
    from vlmeval.vlm.base import BaseModel
except ImportError as error:
    raise UniReasonError(
        "VLMEvalKit is not installed", "its package vlmeval", "install it from its repository; its requirements come with it"
    ) from error


class UniReason(BaseModel):  # type: ignore[misc]  # the kit has no types
    """A model of ours as VLMEvalKit sees it."""

    INTERLEAVE = True
    allowed_types = ("text", "image")

    def __init__(self, model: str = "phantom", **options: Any) -> None:
        """Load the model.

        Args:
            model: "phantom", a checkpoint folder or a hub id.
            **options: See ``Answerer``: ``full``, ``letter``, ``skip``, ``device`` and fields of ``AskOptions``. ``letter`` is on unless
                told otherwise: the kit's exact matching overlooks a letter with more than four words behind it.

        Raises:
            UniReasonError: See ``Answerer``.
        """
        super().__init__()
        self.answerer = Answerer(model, **{"letter": True, **options})

    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        """Answer one message.

        Args:
            message: Items with "type" ("image" or "text") and "value"; texts are joined by line ends, pictures are taken in order.
            dataset: Name of the data set; not used.

        Raises:
            UniReasonError: If it cannot be asked and ``skip`` is off.
        """
        pictures = [item["value"] for item in message if item["type"] == "image"]
        text = "\n".join(item["value"] for item in message if item["type"] == "text")
        return self.answerer.answers([(pictures, text)])[0]
