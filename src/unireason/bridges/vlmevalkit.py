"""Our models in VLMEvalKit: a class to put into its ``supported_VLM``.

Source: ``vlmeval/vlm/base.py`` and ``vlmeval/inference.py`` of VLMEvalKit, commit e8e78f0.
"""

from __future__ import annotations

from typing import Any

from unireason.core.errors import UniReasonError

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
        """Load the model."""
        super().__init__()
        self.answerer = Answerer(model, **{"letter": True, **options})

    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        """Answer one message."""
        pictures = [item["value"] for item in message if item["type"] == "image"]
        text = "\n".join(item["value"] for item in message if item["type"] == "text")
        return self.answerer.answers([(pictures, text)])[0]
