"""A sample as messages of text: ``<image>`` stands for a picture, in the prompt and behind every box that injects crops.

The wording is that of ``grounding.prompts.Profile``, the cut regions are those of ``grounding.crop``: what a trainer reads from an
export is what the engine asks and shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unireason.data.records import SampleRecord
from unireason.errors import FormatError
from unireason.grounding import grammar
from unireason.grounding.crop import Rect, plan
from unireason.grounding.prompts import Picture, Profile, load_profile
from unireason.types import Frame, Problem

IMAGE = "<image>"

Message = tuple[str, str]
"""Role and content."""

Cut = tuple[int, Rect | None]
"""A picture in the order of its placeholder: model slice and the rectangle cut from it; None for the whole slice."""


@dataclass(frozen=True, slots=True)
class Posed:
    """A sample as it is asked and answered.

    Attributes:
        prompt: System message (if the profile has one) and user message.
        response: The assistant's turn, ``<image>`` behind every executed box, once a crop.
        shown: Pictures of the prompt, in order.
        cuts: Crops of the response, in order.
    """

    prompt: tuple[Message, ...]
    response: str
    shown: tuple[Cut, ...]
    cuts: tuple[Cut, ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """Prompt and response."""
        return (*self.prompt, ("assistant", self.response))

    @property
    def pictures(self) -> tuple[Cut, ...]:
        """All pictures in the order of their placeholders."""
        return (*self.shown, *self.cuts)


def pose(sample: SampleRecord, frame: Frame, profile: Profile | None = None) -> Posed:
    """Lay out a sample.

    Args:
        sample: The sample.
        frame: The model frame of its case.
        profile: Wording; None takes "default" for questions with options and "umrg" for implicit grounding.

    Raises:
        FormatError: If a text of the sample holds the placeholder or a special token, or a look cannot be executed in the frame.
    """
    profile = profile or load_profile("umrg" if sample.task == "umrg" else "default")
    question = sample.question
    texts = (question.text, *question.options, sample.response)
    if any(IMAGE in text for text in texts):
        raise FormatError(f"sample {sample.id} holds the text {IMAGE}", "a text without the placeholder of pictures")
    prompt, shown = [], []
    for role, parts in profile.parts(frame.kind, question.text, question.options, n_slices=frame.depth):
        shown += [(part.index, None) for part in parts if isinstance(part, Picture)]
        prompt.append((role, "".join(IMAGE if isinstance(part, Picture) else part for part in parts)))
    response, cuts = with_crops(sample.response, frame) if profile.injects else (sample.response, ())
    return Posed(tuple(prompt), response, tuple(shown), cuts)


def with_crops(response: str, frame: Frame) -> tuple[str, tuple[Cut, ...]]:
    """Put a placeholder a crop behind every box of the reasoning.

    Args:
        response: Text with boxes, think block closed.
        frame: Model frame of the boxes.

    Returns:
        The text and the crops in order. Boxes behind ``</think>`` inject nothing.

    Raises:
        FormatError: If a box cannot be executed in the frame.
    """
    ends = response.rfind(grammar.THINK_END)
    pieces: list[str] = []
    cuts: list[Cut] = []
    done = 0
    for found in grammar.parse(response).boxes:
        if found.start >= ends:
            break
        planned = plan(found.box, frame)
        if isinstance(planned, Problem):
            raise FormatError(f"the box {found.text} cannot be executed ({planned.code})", f"a box of a {frame.kind}")
        pieces += [response[done : found.end], IMAGE * len(planned)]
        cuts += planned
        done = found.end
    return "".join([*pieces, response[done:]]), tuple(cuts)


def picture_id(case_stem: str, cut: Cut) -> str:
    """Name of a picture without ending: case, model slice and, for a crop, its rectangle. Equal crops have equal names."""
    index, rect = cut
    corner = "" if rect is None else "-" + "-".join(str(v) for v in rect)
    return f"{case_stem}-{index:03d}{corner}"


def as_structs(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as ``{"role", "content"}``."""
    return [{"role": role, "content": content} for role, content in messages]
