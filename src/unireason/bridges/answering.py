"""What all bridges share: pictures and a prompt in, the text of an answer out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unireason.engine.asking import Question, options_from
from unireason.errors import FormatError, UniReasonError
from unireason.types import Case, Trace

from .pictures import case_of
from .prompts import read_prompt

if TYPE_CHECKING:
    from unireason.engine.reasoner import Reasoner

Asked = tuple[Sequence[Any], str]
"""Pictures (see `pictures.case_of`) and the prompt."""

_LOG = logging.getLogger(__name__)


class Answerer:
    """Answers what kits ask.

    Attributes:
        skipped: Questions that could not be asked and were answered with an empty text.
    """

    def __init__(
        self,
        model: str | Path | Reasoner = "phantom",
        *,
        full: bool = False,
        letter: bool = False,
        skip: bool = False,
        device: Any = None,
        **how: Any,
    ) -> None:
        """Load the model.

        Args:
            model: "phantom", a checkpoint folder, a hub id, or a reasoner at hand.
            full: Answer with the whole response, reasoning and boxes included, instead of the answer alone.
            letter: Answer a question with options with the letter alone, where the answer names one and ``full`` is off.
            skip: Answer a question that cannot be asked (no picture, pictures of different size, too long) with an empty text and count
                it, instead of ending the kit's run.
            device: See ``engine.reasoner.load``.
            **how: Fields of ``AskOptions`` except ``samples``.

        Raises:
            ModelError: If the checkpoint cannot be found or used.
            FormatError: If a setting is unknown or out of range.
        """
        from unireason.engine.reasoner import Reasoner, load

        if options_from(how).samples != 1:
            raise FormatError(f"{how['samples']} samples of one answer", "1")
        self._reasoner = model if isinstance(model, Reasoner) else load(model, device=device)
        self._full, self._letter, self._skip, self._how = full, letter, skip, how
        self._case: Case | None = None
        self.skipped = 0

    def answers(self, asked: Iterable[Asked]) -> list[str]:
        """Answer questions; those in a row about the same pictures share their encoding and are generated together.

        Args:
            asked: Pictures and prompts. None gives an empty list.

        Returns:
            One text a question, in order; an empty one where the model left the question unanswered.

        Raises:
            UniReasonError: If a question cannot be asked and ``skip`` is off.
        """
        said: list[str] = []
        for case, questions in self._by_case(asked):
            said += [""] * len(questions) if case is None else self._told(case, questions)
        return said

    def _by_case(self, asked: Iterable[Asked]) -> Iterator[tuple[Case | None, list[Question]]]:
        """Cases with the questions in a row about them; None for pictures that cannot be used."""
        pairs = ((self._shown(pictures), read_prompt(text)) for pictures, text in asked)
        for _, together in groupby(pairs, key=lambda pair: pair[0] and pair[0].source.sha256):
            found = list(together)
            yield found[0][0], [question for _, question in found]

    def _shown(self, pictures: Sequence[Any]) -> Case | None:
        try:
            case = case_of(pictures)
        except UniReasonError as error:
            self._pass_over(error)
            return None
        if self._case is None or self._case.source.sha256 != case.source.sha256:
            self._case = case
        return self._case

    def _told(self, case: Case, questions: list[Question]) -> list[str]:
        try:
            traces = self._reasoner.ask_many(case, questions, **self._how)
        except UniReasonError as error:
            if len(questions) > 1 and self._skip:  # find the one that cannot be asked
                return [text for question in questions for text in self._told(case, [question])]
            self._pass_over(error)
            return [""]
        return [self._text(trace) for (trace,) in traces]

    def _text(self, trace: Trace) -> str:
        if self._full:
            return trace.raw_text
        return (self._letter and trace.answer.choice) or trace.answer.text

    def _pass_over(self, error: UniReasonError) -> None:
        if not self._skip:
            raise error
        self.skipped += 1
        _LOG.warning("a question was answered with an empty text: %s", error)
