"""Original checkpoints under their published names and shapes become networks that the experts load."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import original_networks
from segment_networks import image_case
from unireason.core.errors import ModelError, SizeLimitError
from unireason.core.types import Box2D
from unireason.segment import convert as conversion
from unireason.segment.convert import convert, medsam2_model, read_original, sam2_tensors, sam_model, sam_tensors
from unireason.segment.expert import Prompt, make_expert

SMALL = {"width": 64, "depth": 3, "grid": 16, "channels": 32}
STORED = "model.safetensors"


@pytest.mark.parametrize(
    ("shapes", "plan", "rename", "counts"),
    [
        (original_networks.sam(), sam_model, sam_tensors, (314, 315)),
        (original_networks.sam(grid=16, adapters=True), sam_model, sam_tensors, (386, 387)),
        (original_networks.medsam2(), medsam2_model, sam2_tensors, (471, 469)),
    ],
    ids=["medsam", "sam-med2d", "medsam2"],
)
def test_every_published_tensor_finds_its_place(shapes: Any, plan: Any, rename: Any, counts: tuple[int, int]):
    """By name, count and shape, at full size and without memory. SAM-Med2D has 72 tensors more than SAM."""
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    network, config = plan(state)
    with torch.device("meta"):
        wanted = network(config).state_dict()
    given = rename(state)
    assert (len(shapes), len(given)) == counts
    assert {name: tensor.shape for name, tensor in given.items()} == {name: tensor.shape for name, tensor in wanted.items()}


def test_the_sizes_are_those_of_the_published_networks():
    _, config = sam_model({n: torch.empty(s, device="meta") for n, s in original_networks.sam(grid=16, adapters=True).items()})
    vision = config.vision_config
    assert (vision.image_size, vision.window_size, vision.num_attention_heads) == (256, 14, 12)
    assert vision.global_attn_indexes == [2, 5, 8, 11]
    assert config.prompt_encoder_config.image_embedding_size == 16
    _, config = medsam2_model({})
    assert config.image_size == config.prompt_encoder_config.image_size == 512
    assert config.vision_config.backbone_feature_sizes == [[128, 128], [64, 64], [32, 32]]
    assert config.memory_attention_rope_feat_sizes == [32, 32]


SAM2_PLACES = {
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
    "obj_ptr_tpos_proj.weight": "temporal_positional_encoding_projection_layer.weight",
    "obj_ptr_proj.layers.1.weight": "object_pointer_proj.layers.0.weight",
    "obj_ptr_proj.layers.2.bias": "object_pointer_proj.proj_out.bias",
    "image_encoder.trunk.blocks.3.norm2.weight": "vision_encoder.backbone.blocks.3.layer_norm2.weight",
    "image_encoder.trunk.blocks.3.mlp.layers.1.weight": "vision_encoder.backbone.blocks.3.mlp.proj_out.weight",
    "image_encoder.trunk.blocks.3.proj.weight": "vision_encoder.backbone.blocks.3.proj.weight",
    "image_encoder.neck.convs.2.conv.bias": "vision_encoder.neck.convs.2.bias",
    "memory_attention.layers.2.cross_attn_image.out_proj.bias": "memory_attention.layers.2.cross_attn_image.o_proj.bias",
    "memory_attention.layers.1.norm3.bias": "memory_attention.layers.1.layer_norm3.bias",
    "memory_encoder.mask_downsampler.encoder.9.weight": "memory_encoder.mask_downsampler.layers.3.conv.weight",
    "memory_encoder.mask_downsampler.encoder.10.weight": "memory_encoder.mask_downsampler.layers.3.layer_norm.weight",
    "memory_encoder.mask_downsampler.encoder.12.bias": "memory_encoder.mask_downsampler.final_conv.bias",
    "memory_encoder.fuser.layers.1.pwconv2.weight": "memory_encoder.memory_fuser.layers.1.pointwise_conv2.weight",
    "memory_encoder.fuser.layers.1.gamma": "memory_encoder.memory_fuser.layers.1.scale",
    "memory_encoder.out_proj.weight": "memory_encoder.projection.weight",
    "sam_mask_decoder.transformer.layers.0.self_attn.out_proj.weight": "mask_decoder.transformer.layers.0.self_attn.o_proj.weight",
    "sam_mask_decoder.transformer.layers.1.mlp.layers.1.bias": "mask_decoder.transformer.layers.1.mlp.proj_out.bias",
    "sam_mask_decoder.transformer.norm_final_attn.bias": "mask_decoder.transformer.layer_norm_final_attn.bias",
    "sam_mask_decoder.output_hypernetworks_mlps.2.layers.2.bias": "mask_decoder.output_hypernetworks_mlps.2.proj_out.bias",
    "sam_mask_decoder.pred_obj_score_head.layers.1.bias": "mask_decoder.pred_obj_score_head.layers.0.bias",
    "sam_mask_decoder.output_upscaling.1.weight": "mask_decoder.upscale_layer_norm.weight",
    "sam_prompt_encoder.mask_downscaling.4.bias": "prompt_encoder.mask_embed.layer_norm2.bias",
    "sam_prompt_encoder.not_a_point_embed.weight": "prompt_encoder.not_a_point_embed.weight",
}


def test_tensors_of_one_shape_are_not_confused():
    """Every tensor carries its own number; those of like shape are told apart by it."""
    state = original_networks.numbered(original_networks.medsam2())
    made = sam2_tensors(state)
    for old, new in SAM2_PLACES.items():
        assert made[new].flatten()[0] == state[old].flatten()[0], old
    points = [state[f"sam_prompt_encoder.point_embeddings.{i}.weight"][0, 0] for i in range(4)]
    assert made["prompt_encoder.point_embed.weight"][:, 0].tolist() == points
    assert len({float(t.flatten()[0]) for t in made.values()}) == 471 - 3, "four points are one tensor, one matrix stands twice"


def small_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = original_networks.sam(**SMALL, adapters=True)
    return {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}


def test_a_training_checkpoint_becomes_an_expert(tmp_path: Path):
    """As it was saved in training: under "model", with the optimiser beside it and a prefix of parallel training."""
    state = small_state()
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    torch.save({"model": {f"module.{n}": t for n, t in state.items()}, "optimizer": optimiser}, tmp_path / "o.pth")
    done = convert(tmp_path / "o.pth", "sam-med2d", tmp_path / "new")
    assert (done["read"], done["written"]) == (len(state), len(state) + 1)
    stored = load_file(tmp_path / "new" / STORED)
    assert (
        stored["vision_encoder.layers.1.mlp.adapter.up.weight"] == state["image_encoder.blocks.1.Adapter.spatial.2.weight"]
    ).all()
    assert (stored["vision_encoder.layers.2.layer_norm1.bias"] == state["image_encoder.blocks.2.norm1.bias"]).all()
    expert: Any = make_expert("sam-med2d", weights=tmp_path / "new", device="cpu")
    matrix = state["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    assert (expert.network.model.shared_image_embedding.positional_embedding == matrix).all()
    assert (expert.network.model.prompt_encoder.shared_embedding.positional_embedding == matrix).all()
    import numpy as np

    picture = image_case(np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8))
    (found,) = expert.segment(picture, [Prompt(Box2D(3, 4, 20, 22))])
    assert found.mask.shape == (30, 40)


def test_medsam2_becomes_an_expert(tmp_path: Path):
    state = {n: t.sub(240).div(1e4) for n, t in original_networks.numbered(original_networks.medsam2()).items()}
    torch.save({"model": state}, tmp_path / "MedSAM2.pt")
    convert(tmp_path / "MedSAM2.pt", "medsam2", tmp_path / "new")
    (tmp_path / "probe").write_text("")
    assert {p.stat().st_mode for p in (tmp_path / "new").iterdir()} == {(tmp_path / "probe").stat().st_mode}
    expert: Any = make_expert("medsam2", weights=tmp_path / "new", device="cpu")
    assert (expert.network.size, sorted(p.name for p in (tmp_path / "new").iterdir())) == (512, ["config.json", STORED])


class Evil:
    def __reduce__(self) -> Any:
        return (Path("evil").write_text, ("run",))


def test_a_file_that_holds_code_is_refused_and_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": small_state(), "extra": Evil()}, "evil.pt")
    Path("plain.pt").write_bytes(pickle.dumps({"model": Evil()}))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(ModelError, match="cannot be read as plain weights"):
            convert(name, "sam-med2d", "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.pt", "plain.pt"]


def test_files_that_are_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ModelError, match="there is no file"):
        read_original(tmp_path / "none.pt")
    file = tmp_path / "o.pt"
    for content in (b"", b"not a pickle"):
        file.write_bytes(content)
        with pytest.raises(ModelError, match="cannot be read"):
            read_original(file)
    for held in ({}, [1], {"model": {"a": 1}}, {"epoch": 3}):
        torch.save(held, file)
        with pytest.raises(ModelError, match="no table of tensors"):
            read_original(file)
    monkeypatch.setattr(conversion, "LARGEST_BYTES", 10)
    with pytest.raises(SizeLimitError):
        read_original(file)


def test_another_network_is_refused_and_nothing_is_written(tmp_path: Path):
    state = small_state()
    file = tmp_path / "o.pt"
    changes: list[tuple[dict[str, torch.Tensor | None], str]] = [
        (
            {"image_encoder.neck.1.bias": None},
            "1 tensors are missing and 0 left over, first vision_encoder.neck.layer_norm1.bias",
        ),
        ({"text.weight": torch.zeros(1)}, "0 tensors are missing and 1 left over, first text.weight"),
        ({"image_encoder.neck.1.bias": torch.zeros(3)}, "has the shape (3,) instead of (32,)"),
        ({"image_encoder.pos_embed": None}, "there is no tensor 'image_encoder.pos_embed'"),
        ({"prompt_encoder.mask_downscaling.9.weight": torch.zeros(1)}, "there is no tensor '9'"),
    ]
    for change, said in changes:
        torch.save({n: t for n, t in {**state, **change}.items() if t is not None}, file)
        with pytest.raises(ModelError) as caught:
            convert(file, "sam-med2d", tmp_path / "new")
        assert said in str(caught.value)
    torch.save(state, file)
    with pytest.raises(ModelError, match="no checkpoint of the kind 'medsam2'"):
        convert(file, "medsam2", tmp_path / "new")
    with pytest.raises(ModelError, match="there is no kind 'unet'"):
        convert(file, "unet", tmp_path / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["o.pt"]
