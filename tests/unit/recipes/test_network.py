from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.phantom import network as networks
from unireason.model import checkpoint, vision, vocabulary
from unireason.model import vision as patches
from unireason.model.files import make_processor
from unireason.model.save import save

SHAPE = networks.NetworkShape(width=64, layers=1, heads=4, kv_heads=2, mlp=64, vision_width=32, vision_layers=1, vision_heads=2)


@pytest.fixture(scope="module")
def tokenizer():
    return networks.make_tokenizer([" liver", " left kidney", " left", "\nA."])


def test_phrases_and_numbers_are_one_token(tokenizer):
    ids = tokenizer.encode(" left kidney[12,187]\nA. liver", add_special_tokens=False)
    pieces = [tokenizer.decode([i]) for i in ids]
    assert pieces == [" left kidney", "[", "12", ",", "187", "]", "\nA.", " liver"]


@pytest.mark.parametrize("text", ["plain", "leberé <|box_start|>[1,2]<|box_end|></think> x", "a\n\n b  256 300", "日本"])
def test_text_survives(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


def test_number_embeddings_vary_smoothly(tokenizer):
    network = networks.make_network(SHAPE, tokenizer, seed=0)
    table = network.get_input_embeddings().weight[torch.tensor(vocabulary.number_ids(tokenizer))]
    unit = torch.nn.functional.normalize(table, dim=1)
    near = (unit[50:150] * unit[51:151]).sum(1).mean()
    far = (unit[50:150] * unit[90:190]).sum(1).mean()
    assert near > far + 0.3


def test_saved_checkpoint_loads_and_is_small(tmp_path, tokenizer):
    network = networks.make_network(SHAPE, tokenizer, seed=1)
    processor = make_processor({"min_pixels": 784, "max_pixels": 12544})
    save(tmp_path / "made", checkpoint.assemble(network, tokenizer, processor))
    loaded = checkpoint.load(tmp_path / "made", device="cpu", dtype="fp32")
    assert loaded.pixel_limits == (784, 12544)
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], value.to(torch.bfloat16).float()), key


def test_patches_are_those_of_the_image_processor():
    processor = make_processor({"min_pixels": 784, "max_pixels": 12544})
    pictures = np.random.default_rng(0).integers(0, 256, (3, 56, 84), dtype=np.uint8)
    fed = processor(images=[Image.fromarray(p).convert("RGB") for p in pictures], return_tensors="pt")
    torch.testing.assert_close(patches.patchify(pictures), fed["pixel_values"].float(), atol=1e-5, rtol=1e-5)
    assert torch.equal(patches.grid(3, 56, 84), fed["image_grid_thw"])


def test_training_resizes_as_serving_does(tmp_path, tokenizer):
    network = networks.make_network(SHAPE, tokenizer, seed=1)
    processor = make_processor({"min_pixels": 784, "max_pixels": 12544})
    save(tmp_path / "made", checkpoint.assemble(network, tokenizer, processor))
    loaded = checkpoint.load(tmp_path / "made", device="cpu", dtype="fp32")
    rng = np.random.default_rng(1)
    for size in ((130, 121), (17, 9), (60, 20), (31, 45)):
        picture = rng.integers(0, 256, size, dtype=np.uint8)
        height, width = vision.model_size(loaded, *size)
        prepared = vision.prepare(loaded, [picture])
        assert np.array_equal(prepared.pictures[0], patches.resized_picture(picture, height, width))
