"""Our models in lmms-eval, where they are called ``unireason``: ``--model unireason --model_args model=phantom``.

Source: ``lmms_eval/api/model.py`` and ``lmms_eval/models/registry_v2.py`` of lmms-eval 0.7.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from unireason.core.errors import UniReasonError

from .answering import Answerer, Asked

try:
    from lmms_eval.api.model import lmms
except ImportError as error:
    raise UniReasonError("lmms-eval is not installed", "", "pip install lmms-eval") from error


class UniReason(lmms):  # type: ignore[misc]  # the kit has no types
    """A model of ours as lmms-eval sees it."""

    is_simple = True

    def __init__(self, model: str = "phantom", *, batch_size: Any = None, max_batch_size: Any = None, **options: Any) -> None:
        """Load the model."""
        super().__init__()
        self.answerer = Answerer(model, **options)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer requests in order."""
        return self.answerer.answers(self._asked(requests))

    def _asked(self, requests: Sequence[Any]) -> Iterator[Asked]:
        for request in requests:
            text, _, pictures_of, number, task, split = request.args
            yield pictures_of(self.task_dict[task][split][number]) or [], text

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        """Refused: what would follow is not known before the model has reasoned."""
        raise UniReasonError("the task compares probabilities of given answers", "a task of type generate_until")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> NoReturn:
        """Refused: a question is asked once."""
        raise UniReasonError("the task asks in several rounds", "a task of type generate_until")


def manifest() -> Any:
    """What the entry point ``lmms_eval.models`` gives to the kit: under which name the class is found."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="unireason", simple_class_path=f"{__name__}.{UniReason.__name__}")
