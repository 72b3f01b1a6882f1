"""Prompt profiles: the wording, the layout and the limits a checkpoint was trained with.

A profile is plain data. It turns a question into messages of strings and picture places; the model room turns those into
token ids. Pictures always stand before the question, so that several questions on one case share everything up to the last
picture. It knows nothing of tokenizers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from unireason.core.config import build, options, settings, table_toml
from unireason.core.errors import FormatError
from unireason.core.store import json_text, parse_toml
from unireason.core.types import Frame, Kind

PROFILE_FILE = "profile.toml"
GROUNDING_FILE = "grounding.toml"
Role = Literal["system", "user", "assistant"]
Chat = Literal["tokenizer", "chatml"]
CropSource = Literal["model", "native", "none", "published"]

_MAX_OPTIONS = 26
_MAX_TEXT = 20_000
_MAX_FILE_BYTES = 1 << 20
# Anything that a Qwen tokenizer may read as one token: <|im_end|>, <|image_pad|>, ..., and the added reasoning tags.
_SPECIAL = re.compile(r"<\|[^<>|\s]{1,40}\|>|</?(?:think|answer|tool_call|tool_response)>")
_STRUCTURE = re.compile(r"<\|(?:im_start|im_end|endoftext|vision_start|vision_end|vision_pad|image_pad|video_pad)\|>")


@dataclass(frozen=True, slots=True)
class Picture:
    """The place of one picture in a message.

    Attributes:
        index: Which picture, counted from 0 in slice order.
    """

    index: int


Part = str | Picture
Message = tuple[Role, tuple[Part, ...]]


Size = Annotated[int, Field(ge=1, le=16384)]
Limit = Annotated[int, Field(ge=1, le=1_000_000)]


@settings
class Profile:
    """How to ask one checkpoint."""

    name: Annotated[str, Field(min_length=1)]
    """Short name, kept in every trace."""
    system_2d: str
    """System message for an image; empty for none."""
    system_3d: str
    """System message for a volume; empty for none."""
    system_tail: str = ""
    """Line behind a system message in supervised training alone, as the converter of the published recipe appends one; "" for none."""
    option: str = "{letter}. {text}"
    """One option line, with ``{letter}`` and ``{text}``."""
    closing_choice_2d: str = ""
    """Line behind the options of an image question; may hold ``{letters}``."""
    closing_choice_3d: str = ""
    """The same for a volume."""
    closing_open_2d: str = ""
    """Line behind an open question on an image."""
    closing_open_3d: str = ""
    """The same for a volume."""
    before_2d: str = ""
    """Text directly in front of an image question, its line breaks included; "" for none."""
    before_3d: str = ""
    """The same for a volume."""
    separator: str = "\n"
    """What stands between question, options and closing line; options are a line each."""
    verbatim: bool = False
    """Whether question and options go to the model as they are: blanks and line breaks kept, an empty option left out while the others
    keep their letters."""
    slice_label: str = ""
    """Text before each slice of a volume, with ``{index}``; empty for none."""
    volume_shape: tuple[Size, Size, Size] = (32, 256, 256)
    """(D, H, W) to which a volume is resampled."""
    window: Annotated[str, Field(min_length=1)] = "auto"
    """How grey levels are made unless a question says it: a name of ``imaging.present.choose``, or "published" for volumes as the published
    code makes them."""
    image_size: tuple[Size, Size] | None = None
    """(H, W) to which an image is resized before the processor; None keeps its size."""
    assistant_prefix: str = ""
    """Text that opens the assistant's turn, such as ``<think>``."""
    max_rounds: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Looks at most, or generations."""
    rounds: Literal["looks", "generations"] = "looks"
    """What ``max_rounds`` counts: of ten generations the last shows nothing, so that nine can look."""
    end_of_text: bool = True
    """Whether ``<|endoftext|>`` ends a response."""
    reread: bool = False
    """Whether a round whose text the tokenizer would write in other ids goes on behind those, as the published code does."""
    max_new_tokens: Limit = 512
    """Sampled tokens at most, over all rounds."""
    max_round_tokens_2d: Limit = 256
    """Sampled tokens a round at most, image."""
    max_round_tokens_3d: Limit = 128
    """The same for a volume."""
    chat: Chat = "tokenizer"
    """"tokenizer" uses the chat template of the tokenizer, "chatml" the layout of ``render``."""
    crops: CropSource = "model"
    """What a look shows: "model" the region cut from the model frame, "native" the same region cut from full-resolution pixels, "none"
    nothing (the box stands in the text and the model goes on behind it), "published" what the published code shows: the
    region of a bilinear copy of the picture in a frame by the smart resize, for any number of Python's and for boxes of either kind."""
    scale: bool = False
    """Whether to say, before the question, how large a pixel is, how far slices lie apart and how wide the picture is, where that is known.
    Data sets that are built for such a profile measure in millimetres, others in pixels of the model frame."""

    @model_validator(mode="after")
    def _fits(self) -> Profile:
        """No text holds a token that would break the chat layout, and lines have the places that are filled."""
        for name in (n for n, field in options(Profile).items() if field.annotation is str):
            if not _is_unicode(getattr(self, name)):
                raise FormatError(f"the profile's {name} holds half a surrogate pair", "valid Unicode")
            if found := _STRUCTURE.search(getattr(self, name)):
                raise FormatError(f"the profile's {name} holds {found[0]}", "no chat or picture token")
        for line, holes in (("option", {"letter", "text"}), ("slice_label", {"index"}), *_CLOSINGS):
            _fill(line, getattr(self, line), dict.fromkeys(holes, ""))
        if not {"{letter}", "{text}"} <= set(re.findall(r"\{\w+\}", self.option)):
            raise FormatError(f"the profile's option line is {self.option!r}", "a line with {letter} and {text}")
        return self

    @property
    def sha256(self) -> str:
        """Hash over all fields: two profiles with one hash ask in the same words under the same limits."""
        table = asdict(self)
        for name, unset in _YOUNGER.items():
            if table[name] == unset:
                del table[name]
        return hashlib.sha256(json_text(table, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def injects(self) -> bool:
        """True if a box in the reasoning is followed by image tokens."""
        return self.max_looks > 0 and self.crops != "none"

    @property
    def max_looks(self) -> int:
        """Looks at most."""
        return max(self.max_rounds - (self.rounds == "generations"), 0)

    @property
    def taught(self) -> Profile:
        """The profile as supervised training shows it: with its tail behind every system message that there is."""
        if not self.system_tail:
            return self
        flat, deep = (text and f"{text}\n{self.system_tail}" for text in (self.system_2d, self.system_3d))
        return replace(self, system_2d=flat, system_3d=deep, system_tail="")

    def max_round_tokens(self, kind: Kind) -> int:
        """Sampled tokens a round at most for an image or a volume."""
        return self.max_round_tokens_2d if kind == "image" else self.max_round_tokens_3d

    def parts(
        self, kind: Kind, question: str, options: Sequence[str] = (), *, n_slices: int = 1, scale: str = ""
    ) -> list[Message]:
        """Lay out one question.

        Args:
            kind: "image" or "volume".
            question: The question; blanks around it are dropped.
            options: Option texts in order A, B, ...; none for an open question. Line breaks in them become blanks.
            n_slices: Pictures of the case; 1 for an image.
            scale: How large pixels are (``scale_line``); shown if the profile says so.

        Returns:
            A system message (unless its text is empty) and a user message: all pictures, then the question. The assistant's
            turn is opened by the caller, with ``assistant_prefix``.

        Raises:
            FormatError: If the question or an option is empty or holds a special token of the model, if there is one option or
                more than 26, or if the number of pictures does not fit the kind.
        """
        if n_slices < 1 or (kind == "image" and n_slices != 1):
            raise FormatError(f"{n_slices} pictures for one {kind}", "1 for an image, at least 1 for a volume")
        if (len(options) == 1 and not self.verbatim) or len(options) > _MAX_OPTIONS:
            raise FormatError(f"the number of answer options is {len(options)}", f"none, or 2 to {_MAX_OPTIONS}")
        system = self.system_2d if kind == "image" else self.system_3d
        user: list[Part] = []
        for index in range(n_slices):
            if kind == "volume" and self.slice_label:
                user.append(_fill("slice_label", self.slice_label, {"index": str(index)}))
            user.append(Picture(index))
        asked = self._question(kind, question, options)
        user.append(f"{scale}\n{asked}" if self.scale and scale else asked)
        messages: list[Message] = [("user", tuple(user))]
        return [("system", (system,)), *messages] if system else messages

    def _question(self, kind: Kind, question: str, options: Sequence[str]) -> str:
        letters, lines = letters_of(options), []
        for letter, text in zip(letters, options, strict=True):
            if self.verbatim and not text:
                continue
            fitted = {"letter": letter, "text": _clean(f"option {letter}", text if self.verbatim else " ".join(text.split()))}
            lines.append(_fill("option", self.option, fitted))
        name = f"closing_{'choice' if lines else 'open'}_{'2d' if kind == 'image' else '3d'}"
        closing = _fill(name, getattr(self, name), {"letters": ", ".join(letters)})
        asked = _clean("question", question if self.verbatim else question.strip())
        before = self.before_2d if kind == "image" else self.before_3d
        return before + self.separator.join(part for part in (asked, "\n".join(lines), closing) if part)

    def to_toml(self) -> str:
        """The profile as TOML; ``from_toml`` reads it back equal."""
        return table_toml({name: value for name, value in asdict(self).items() if value is not None})


def scale_line(spacing_mm: Sequence[float] | None, shape: Sequence[int], frame: Frame) -> str:
    """The line by which a prompt tells how large pixels of the model frame are.

    Args:
        spacing_mm: Voxel size of the case along x, y (and z); None gives "".
        shape: Its shape, (Z, Y, X) or (Y, X).
        frame: The model frame.
    """
    if spacing_mm is None:
        return ""
    field = [s * n for s, n in zip(spacing_mm, tuple(shape)[::-1], strict=True)]
    across, down = (f"{size / n:.3g}" for size, n in zip(field, (frame.width, frame.height), strict=False))
    apart = "" if frame.kind == "image" else f", slices lie {field[2] / frame.depth:.3g} mm apart"
    wide = " x ".join(f"{size:.0f}" for size in field)
    return f"Scale: a pixel measures {across} x {down} mm{apart}; the field of view is {wide} mm."


def letters_of(options: Sequence[str]) -> str:
    """The option letters "ABC..." for a list of options; empty for none."""
    return "".join(chr(ord("A") + i) for i in range(len(options)))


def from_toml(text: str) -> Profile:
    """Read a profile; the system messages it lacks are those of "default"."""
    default = BUILT_IN["default"]
    table = {"system_2d": default.system_2d, "system_3d": default.system_3d, **parse_toml(text, "the profile")}
    return build(Profile, table, within="profile")


def load_profile(ref: str | Path) -> Profile:
    """Find a profile.

    Args:
        ref: Name of a built-in profile ("default", "umrg"), a TOML file, or a checkpoint folder that holds ``profile.toml``.

    Raises:
        FormatError: If there is no such profile or it cannot be read.
    """
    if str(ref) in BUILT_IN:
        return BUILT_IN[str(ref)]
    path = Path(ref) / PROFILE_FILE if Path(ref).is_dir() else Path(ref)
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
        if len(raw) > _MAX_FILE_BYTES:
            raise FormatError(f"the profile {path.name} is larger than {_MAX_FILE_BYTES} bytes")
        return from_toml(raw.decode("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        known = ", ".join(BUILT_IN)
        raise FormatError(f"the profile {path.name!r} cannot be read: {error}", f"a TOML file or one of: {known}") from error


def render(messages: Sequence[Message], *, assistant_prefix: str = "") -> str:
    """Write messages in ChatML, one image pad a picture, up to the open assistant's turn.

    Args:
        messages: As made by ``Profile.parts``.
        assistant_prefix: Text that opens the assistant's turn.

    Returns:
        The prompt; pictures stand in order of their places.
    """
    turns = []
    for role, parts in messages:
        body = "".join(p if isinstance(p, str) else "<|vision_start|><|image_pad|><|vision_end|>" for p in parts)
        turns.append(f"<|im_start|>{role}\n{body}<|im_end|>\n")
    return "".join(turns) + f"<|im_start|>assistant\n{assistant_prefix}"


def _is_unicode(text: str) -> bool:
    """False for text with half a surrogate pair, which no tokenizer can encode."""
    return not any(0xD800 <= ord(c) <= 0xDFFF for c in text)


def _fill(name: str, line: str, values: Mapping[str, str]) -> str:
    """Put values in the holes of a line; other braces are an error, so that a typing mistake does not reach the model."""

    def one(hole: re.Match[str]) -> str:
        if hole[1] not in values:
            raise FormatError(f"the profile's {name} has the place {hole[0]}", ", ".join(f"{{{v}}}" for v in values) or "none")
        return values[hole[1]]

    return re.sub(r"\{(\w*)\}", one, line)


def _clean(name: str, text: str) -> str:
    """A text of the user's, refused when empty or when it holds a token that would speak for somebody else."""
    if not text:
        raise FormatError(f"the {name} is empty", "some text")
    if len(text) > _MAX_TEXT or not _is_unicode(text):
        raise FormatError(
            f"the {name} has {len(text)} characters, or half a surrogate pair", f"at most {_MAX_TEXT}, valid Unicode"
        )
    found = _SPECIAL.search(text)
    if found:
        raise FormatError(f"the {name} holds the special token {found[0]}", "plain text", "remove the token")
    return text


# Fields younger than recorded hashes: at these values they do not count.
_YOUNGER = {
    **{"crops": "model", "scale": False, "before_2d": "", "before_3d": "", "separator": "\n", "verbatim": False},
    **{"rounds": "looks", "end_of_text": True, "reread": False, "window": "auto", "system_tail": ""},
}

_CLOSINGS = tuple((f"closing_{what}_{dim}", {"letters"}) for what in ("choice", "open") for dim in ("2d", "3d"))

_LOOK = (
    "You are an expert reader of {what}. First think inside <think> and </think>. While thinking you may look closer "
    "at any place: write {box} and that region is shown to you at once. Look as often as you need, then go on thinking "
    "with what you saw. Behind </think> give the final answer; for a question with options give the letter and the "
    "text of the right one."
)

BUILT_IN: Mapping[str, Profile] = {
    "default": Profile(
        name="default",
        system_2d=_LOOK.format(what="medical 2D images", box="<|box_start|>[x1,y1,x2,y2]<|box_end|>"),
        system_3d=_LOOK.format(
            what="medical 3D scans, given as slices in order", box="<|box_start|>[x1,y1,z1,x2,y2,z2]<|box_end|> (z counts slices)"
        ),
        closing_choice_3d="Answer with one letter out of {letters}.",
        scale=True,
    ),
    "umrg": Profile(
        name="umrg",
        system_2d=(
            "You find the place in a medical image that a clinical question is about. Reason inside <think> and </think>; while "
            "you do, you may write <|box_start|>[x1,y1,x2,y2]<|box_end|> to be shown a region closer. Then "
            'write <answer>{"bbox": [x1,y1,x2,y2], "points_1": [x,y], "points_2": [x,y]}</answer> in pixels: one tight box '
            "around the structure and two points inside it."
        ),
        system_3d=(
            "You find the place in a medical 3D scan, given as slices in order, that a clinical question is about. Reason inside "
            "<think> and </think>; while you do, you may write <|box_start|>[x1,y1,z1,x2,y2,z2]<|box_end|> (z counts slices) to be "
            'shown a region closer. Then write <answer>{"bbox": [x1,y1,z1,x2,y2,z2], "points_1": [x,y,z], "points_2": [x,y,z]}'
            "</answer>: one tight cuboid around the structure and two points inside it."
        ),
    ),
    "unireason-med": Profile(
        name="unireason-med",
        system_2d=_LOOK.format(what="medical 2D images", box="<|box_start|>[x1,y1,x2,y2]<|box_end|>"),
        system_3d=_LOOK.format(
            what="medical 3D scans, given as slices in order", box="<|box_start|>[x1,y1,z1,x2,y2,z2]<|box_end|>"
        ),
        closing_choice_3d="Answer with one letter out of {letters}.",
        separator="\n\n",
        verbatim=True,
        rounds="generations",
        end_of_text=False,
        reread=True,
        window="published",
        crops="published",
    ),
    "medreasoner": Profile(
        name="medreasoner",
        system_2d="",
        system_3d="",
        before_2d="Question about the medical image: ",
        closing_open_2d=(
            "\n\nReason inside <think> and </think> about the structure that the question means. Then write, inside <answer> and "
            "</answer>, one tight box around it and two points inside it, in pixels, like this:\n"
            "<answer>{'bbox': [x1, y1, x2, y2], 'points_1': [x, y], 'points_2': [x, y]}</answer>"
        ),
        separator="",
        verbatim=True,
        max_rounds=0,
        max_new_tokens=2048,
        max_round_tokens_2d=2048,
        end_of_text=False,
    ),
}
