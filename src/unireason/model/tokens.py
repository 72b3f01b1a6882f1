"""Token ids of prompts and pictures, and text of token ids. Images are ids from the start, never text that is read again.

Needs the checkpoint's tokenizer only; no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from unireason.core.errors import ModelError
from unireason.grounding.profile import Message, Picture, render

from .checkpoint import Checkpoint, SpecialIds

if TYPE_CHECKING:
    import torch

Grid = tuple[int, int, int]
_PLACE = "<|vision_start|><|image_pad|><|vision_end|>"


def picture_ids(ids: SpecialIds, grid: Grid, *, merge: int = 2) -> tuple[int, ...]:
    """Ids of one picture of a grid (t, h, w) in patches: start, one pad a visual token (``merge`` patches a side), end."""
    count = grid[0] * grid[1] * grid[2] // merge**2
    return (ids.vision_start, *([ids.image_pad] * count), ids.vision_end)


def prompt_ids(checkpoint: Checkpoint, messages: Sequence[Message], grids: Sequence[Grid]) -> tuple[int, ...]:
    """Token ids of a prompt, image pads expanded, up to the open assistant's turn; ``grids`` has that of every picture, in patches.

    The layout is the tokenizer's own chat template, or ChatML if the profile says so or the tokenizer has no template. Text
    pieces between pictures are tokenised one by one; special tokens cut the text there in any case, so that this equals
    tokenising the whole. Messages that do not show every picture once and in order are a ModelError.
    """
    places = [part.index for _, parts in messages for part in parts if isinstance(part, Picture)]
    if places != list(range(len(grids))):
        raise ModelError(f"the prompt shows the pictures {places}", f"each of {len(grids)} once, in order")
    pieces = _text(checkpoint, messages).split(_PLACE)
    if len(pieces) != len(grids) + 1:
        raise ModelError(
            f"the chat template wrote {len(pieces) - 1} pictures of {len(grids)}", remedy='set chat = "chatml" in the profile'
        )
    out: list[int] = []
    for index, piece in enumerate(pieces):
        out.extend(encode_text(checkpoint, piece))
        if index < len(grids):
            out.extend(picture_ids(checkpoint.ids, grids[index], merge=checkpoint.merge))
    return tuple(out)


def encode_text(checkpoint: Checkpoint, text: str) -> list[int]:
    """Ids of a text; special tokens in it become their ids. Empty text gives none."""
    if not text:
        return []
    quick = getattr(checkpoint.tokenizer, "backend_tokenizer", None)  # the wrapper around it takes twice as long
    if quick is not None:
        return list(quick.encode(text, add_special_tokens=False).ids)
    return list(checkpoint.tokenizer(text, add_special_tokens=False)["input_ids"])


def decode(checkpoint: Checkpoint, ids: Sequence[int]) -> str:
    """Text of ids, special tokens kept, nothing cleaned up."""
    kept = checkpoint.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return str(kept)


def readable(checkpoint: Checkpoint, ids: Sequence[int]) -> str:
    """Text of ids in which only true special tokens read as such.

    A model can spell "<|box_end|>" letter by letter. Such a look-alike gets a blank behind its "<", so that a reader of the text
    sees the same boxes and pictures as the engine, which goes by ids.
    """
    special = {i for i, token in checkpoint.tokenizer.added_tokens_decoder.items() if token.content.startswith("<|")}
    pieces = []
    for known, run in groupby(ids, key=special.__contains__):
        text = decode(checkpoint, list(run))
        pieces.append(text if known else text.replace("<|", "< |"))
    return "".join(pieces)


def collapse_pads(ids: Sequence[int], image_pad: int) -> list[int]:
    """The ids with every run of image pads shortened to one, for texts that people read."""
    return [token for i, token in enumerate(ids) if token != image_pad or i == 0 or ids[i - 1] != image_pad]


def _text(checkpoint: Checkpoint, messages: Sequence[Message]) -> str:
    profile, tokenizer = checkpoint.profile, checkpoint.tokenizer
    if profile.chat == "chatml" or not tokenizer.chat_template:
        return render(messages, assistant_prefix=profile.assistant_prefix)
    chat = [{"role": role, "content": [_content(part) for part in parts]} for role, parts in messages]
    try:
        written = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of its own and may raise anything
        raise ModelError(f"the chat template fails: {error}", remedy='set chat = "chatml" in the profile') from error
    return str(written) + profile.assistant_prefix


def _content(part: str | Picture) -> dict[str, Any]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}


# --- Rotary positions of a piece of a sequence, so that it can be computed on top of what is already cached.


def chunk_positions(network: Any, ids: Sequence[int], grids: Sequence[Grid], start: int) -> tuple[torch.Tensor, int]:
    """Positions of the next piece of a sequence.

    Args:
        network: ``Qwen2_5_VLForConditionalGeneration``.
        ids: Ids of the piece, at least one; pictures only whole.
        grids: (t, h, w) in patches of the pictures in the piece, in order.
        start: The next free position, 0 at the beginning of a sequence.

    Returns:
        (int64 (3, 1, n): time, row and column positions on the CPU; the next free position).

    Source: Qwen2-VL, arXiv 2409.12191, section 2.1 (multimodal rotary positions).
    """
    import torch

    if not grids:
        return torch.arange(start, start + len(ids)).view(1, 1, -1).expand(3, 1, -1), start + len(ids)
    row = torch.tensor([list(ids)])
    types = (row == network.config.image_token_id).int()
    local, _ = network.model.get_rope_index(row, mm_token_type_ids=types, image_grid_thw=torch.tensor([list(g) for g in grids]))
    positions = local + start
    return positions, int(positions.max()) + 1
