"""What the network sees: frames, pictures, features."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tiny
from unireason.core.errors import FormatError, ModelError
from unireason.core.types import Frame
from unireason.model import vision
from unireason.model.checkpoint import assemble
from unireason.model.files import make_processor


def test_frame_is_grid_times_patch():
    prepared = vision.prepare(tiny.checkpoint(), list(tiny.stack(side=60).slices))
    assert prepared.frame("volume") == Frame(56, 56, 4, "volume")
    assert [p.shape for p in prepared.pictures] == [(56, 56)] * 4


def test_frame_pictures_are_exactly_what_the_network_sees():
    """Undo the normalisation and the patch order by hand and compare with the uint8 picture."""
    made = tiny.checkpoint()
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (50, 81, 3), dtype=np.uint8)
    prepared = vision.prepare(made, [picture])
    _, rows, columns = prepared.grid_thw[0]
    cut = prepared.pixel_values.reshape(rows // 2, columns // 2, 2, 2, 3, 2, 14, 14)
    back = cut[:, :, :, :, :, 0].permute(0, 2, 5, 1, 3, 6, 4).reshape(rows * 14, columns * 14, 3)
    mean, std = (torch.tensor(v) for v in (made.image_processor.image_mean, made.image_processor.image_std))
    assert torch.equal(((back * std + mean) * 255).round().to(torch.uint8), torch.from_numpy(prepared.pictures[0].copy()))
    again = vision.prepare(made, prepared.pictures)
    assert torch.equal(again.pixel_values, prepared.pixel_values)


@given(height=st.integers(4, 400), width=st.integers(4, 400))
def test_processor_agrees_with_the_planned_grid(height, width):
    base = tiny.checkpoint()
    processor = make_processor({"min_pixels": 3136, "max_pixels": 12845056})
    made = assemble(base.network, base.tokenizer, processor)
    grid = vision.grid_of(made, height, width)
    assert vision.prepare(made, [np.zeros((height, width), np.uint8)]).grid_thw == (grid,)
    alone = processor(images=[Image.fromarray(np.zeros((height, width, 3), np.uint8))], return_tensors="pt")["image_grid_thw"]
    assert alone[0].tolist() == list(grid)  # one resize: what the processor makes of the picture as it came


def test_published_slice_size():
    base = tiny.checkpoint()
    made = assemble(base.network, base.tokenizer, make_processor({"min_pixels": 3136, "max_pixels": 12845056}))
    assert vision.grid_of(made, 256, 256) == (1, 18, 18)  # 252 x 252: 9 x 9 = 81 visual tokens


def test_grey_equals_the_same_picture_in_colour():
    made = tiny.checkpoint()
    grey = np.random.default_rng(1).integers(0, 256, (45, 70), dtype=np.uint8)
    a, b = vision.prepare(made, [grey]), vision.prepare(made, [np.repeat(grey[..., None], 3, axis=2)])
    assert torch.equal(a.pixel_values, b.pixel_values)


def test_features_do_not_depend_on_company(monkeypatch):
    made = tiny.checkpoint()
    pictures = [
        np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8) for i, size in enumerate([(56, 56), (28, 84), (56, 28)])
    ]
    alone = [vision.encode(made, vision.prepare(made, [p]))[0] for p in pictures]
    together = vision.encode(made, vision.prepare(made, pictures))
    monkeypatch.setattr(vision, "_PATCHES_AT_ONCE", 20)  # three passes
    in_pieces = vision.encode(made, vision.prepare(made, pictures))
    assert [f.shape for f in together] == [(4, 64), (3, 64), (2, 64)]
    for a, b, c in zip(alone, together, in_pieces, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
        assert torch.allclose(a, c, atol=1e-5)


def test_embedded_features_equal_pictures_given_to_the_network():
    made = tiny.checkpoint()
    prepared = vision.prepare(made, list(tiny.stack().slices))
    from unireason.model.tokens import chunk_positions, prompt_ids

    ids = prompt_ids(made, tiny.PROFILE.parts("volume", "q", n_slices=4), prepared.grid_thw)
    row = torch.tensor([ids])
    with torch.no_grad():
        ours = made.network(
            inputs_embeds=vision.embed(made.network, row, vision.encode(made, prepared)),
            position_ids=chunk_positions(made.network, ids, prepared.grid_thw, 0)[0],
        ).logits
        theirs = made.network(
            input_ids=row,
            attention_mask=torch.ones_like(row),
            pixel_values=prepared.pixel_values,
            image_grid_thw=torch.tensor(prepared.grid_thw),
            mm_token_type_ids=(row == made.ids.image_pad).int(),
        ).logits
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_embed_refuses_another_number_of_features():
    made = tiny.checkpoint()
    row = torch.tensor([[made.ids.vision_start, made.ids.image_pad, made.ids.vision_end]])
    with pytest.raises(ModelError, match="2 visual features"):
        vision.embed(made.network, row, [torch.zeros(2, 64)])
    with pytest.raises(ModelError, match="0 visual features"):
        vision.embed(made.network, row, [])


@pytest.mark.parametrize(
    "picture",
    [np.zeros((5, 5), np.float32), np.zeros((5, 5, 4), np.uint8), np.zeros((0, 5), np.uint8), np.zeros((2, 2, 2, 2), np.uint8)],
)
def test_pictures_of_another_form(picture):
    with pytest.raises(ModelError, match="picture of shape"):
        vision.prepare(tiny.checkpoint(), [picture])


def test_no_picture_and_thin_pictures():
    with pytest.raises(ModelError, match="no picture"):
        vision.prepare(tiny.checkpoint(), [])
    with pytest.raises(FormatError):
        vision.prepare(tiny.checkpoint(), [np.zeros((1, 300), np.uint8)])


def test_frame_of_pictures_of_several_sizes():
    prepared = vision.prepare(tiny.checkpoint(), [np.zeros((56, 56), np.uint8), np.zeros((28, 84), np.uint8)])
    with pytest.raises(ModelError, match="one size"):
        prepared.frame("volume")
