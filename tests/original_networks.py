"""Names and shapes of the tensors in published checkpoints: facts of the public repositories, written out by hand."""

from __future__ import annotations

from collections.abc import Iterator

import torch

Shapes = dict[str, tuple[int, ...]]
Entry = tuple[str, tuple[int, ...]]


def _linear(name: str, inputs: int, outputs: int, *kernel: int) -> Iterator[Entry]:
    yield f"{name}.weight", (outputs, inputs, *kernel)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Iterator[Entry]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _attention(name: str, width: int, inner: int, keys: int | None = None) -> Iterator[Entry]:
    yield from _linear(f"{name}.q_proj", width, inner)
    yield from _linear(f"{name}.k_proj", keys or width, inner)
    yield from _linear(f"{name}.v_proj", keys or width, inner)
    yield from _linear(f"{name}.out_proj", inner, width)


def _three(name: str, width: int, outputs: int) -> Iterator[Entry]:
    for layer, last in enumerate((width, width, outputs)):
        yield from _linear(f"{name}.layers.{layer}", width, last)


def _transposed(name: str, inputs: int, outputs: int) -> Iterator[Entry]:
    yield f"{name}.weight", (inputs, outputs, 2, 2)
    yield f"{name}.bias", (outputs,)


def _prompt_encoder(name: str, width: int) -> Iterator[Entry]:
    yield f"{name}.pe_layer.positional_encoding_gaussian_matrix", (2, width // 2)
    for point in range(4):
        yield f"{name}.point_embeddings.{point}.weight", (1, width)
    yield f"{name}.not_a_point_embed.weight", (1, width)
    yield from _linear(f"{name}.mask_downscaling.0", 1, 4, 2, 2)
    yield from _norm(f"{name}.mask_downscaling.1", 4)
    yield from _linear(f"{name}.mask_downscaling.3", 4, 16, 2, 2)
    yield from _norm(f"{name}.mask_downscaling.4", 16)
    yield from _linear(f"{name}.mask_downscaling.6", 16, width, 1, 1)
    yield f"{name}.no_mask_embed.weight", (1, width)


def _mask_decoder(name: str, width: int, hidden: int, layers: tuple[str, str]) -> Iterator[Entry]:
    for i in range(2):
        layer = f"{name}.transformer.layers.{i}"
        yield from _attention(f"{layer}.self_attn", width, width)
        for norm in range(1, 5):
            yield from _norm(f"{layer}.norm{norm}", width)
        yield from _attention(f"{layer}.cross_attn_token_to_image", width, width // 2)
        yield from _linear(f"{layer}.mlp.{layers[0]}", width, hidden)
        yield from _linear(f"{layer}.mlp.{layers[1]}", hidden, width)
        yield from _attention(f"{layer}.cross_attn_image_to_token", width, width // 2)
    yield from _attention(f"{name}.transformer.final_attn_token_to_image", width, width // 2)
    yield from _norm(f"{name}.transformer.norm_final_attn", width)
    yield f"{name}.iou_token.weight", (1, width)
    yield f"{name}.mask_tokens.weight", (4, width)
    yield from _transposed(f"{name}.output_upscaling.0", width, width // 4)
    yield from _norm(f"{name}.output_upscaling.1", width // 4)
    yield from _transposed(f"{name}.output_upscaling.3", width // 4, width // 8)
    for mask in range(4):
        yield from _three(f"{name}.output_hypernetworks_mlps.{mask}", width, width // 8)
    yield from _three(f"{name}.iou_prediction_head", width, 4)


def sam(
    *, width: int = 768, depth: int = 12, grid: int = 64, window: int = 14, channels: int = 256, adapters: bool = False
) -> Shapes:
    """SAM with a plain vision transformer; every third layer attends to the whole picture."""
    made: list[Entry] = [("image_encoder.pos_embed", (1, grid, grid, width))]
    made += _linear("image_encoder.patch_embed.proj", 3, width, 16, 16)
    for i in range(depth):
        block, span = f"image_encoder.blocks.{i}", 2 * (grid if i % 3 == 2 else window) - 1
        made += [*_norm(f"{block}.norm1", width), *_norm(f"{block}.norm2", width)]
        made += [(f"{block}.attn.rel_pos_h", (span, 64)), (f"{block}.attn.rel_pos_w", (span, 64))]
        made += [*_linear(f"{block}.attn.qkv", width, 3 * width), *_linear(f"{block}.attn.proj", width, width)]
        made += [*_linear(f"{block}.mlp.lin1", width, 4 * width), *_linear(f"{block}.mlp.lin2", 4 * width, width)]
        if adapters:
            made += _norm(f"{block}.Adapter.norm", width)
            made += [
                (f"{block}.Adapter.channel.0.weight", (width // 4, width)),
                (f"{block}.Adapter.channel.2.weight", (width, width // 4)),
            ]
            made += [(f"{block}.Adapter.spatial.{i}.weight", (width, width, k, k)) for i, k in ((0, 3), (2, 4))]
    made += [("image_encoder.neck.0.weight", (channels, width, 1, 1)), *_norm("image_encoder.neck.1", channels)]
    made += [("image_encoder.neck.2.weight", (channels, channels, 3, 3)), *_norm("image_encoder.neck.3", channels)]
    made += [*_prompt_encoder("prompt_encoder", channels), *_mask_decoder("mask_decoder", channels, 2048, ("lin1", "lin2"))]
    return dict(made)


def _hiera() -> Iterator[Entry]:
    """The tiny encoder: 1, 2, 7 and 2 blocks of 96, 192, 384 and 768 channels."""
    trunk, before = "image_encoder.trunk", 96
    yield f"{trunk}.pos_embed", (1, 96, 7, 7)
    yield f"{trunk}.pos_embed_window", (1, 96, 8, 8)
    yield from _linear(f"{trunk}.patch_embed.proj", 3, 96, 7, 7)
    for i, width in enumerate([96, 192, 192, *[384] * 7, 768, 768]):
        block = f"{trunk}.blocks.{i}"
        yield from _norm(f"{block}.norm1", before)
        yield from _linear(f"{block}.attn.qkv", before, 3 * width)
        yield from _linear(f"{block}.attn.proj", width, width)
        yield from _norm(f"{block}.norm2", width)
        yield from _linear(f"{block}.mlp.layers.0", width, 4 * width)
        yield from _linear(f"{block}.mlp.layers.1", 4 * width, width)
        if width != before:
            yield from _linear(f"{block}.proj", before, width)
        before = width
    for level, width in enumerate((768, 384, 192, 96)):
        yield from _linear(f"image_encoder.neck.convs.{level}.conv", width, 256, 1, 1)


def _memory() -> Iterator[Entry]:
    for i in range(4):
        layer = f"memory_attention.layers.{i}"
        yield from _attention(f"{layer}.self_attn", 256, 256)
        yield from _attention(f"{layer}.cross_attn_image", 256, 256, 64)
        yield from _linear(f"{layer}.linear1", 256, 2048)
        yield from _linear(f"{layer}.linear2", 2048, 256)
        for norm in range(1, 4):
            yield from _norm(f"{layer}.norm{norm}", 256)
    yield from _norm("memory_attention.norm", 256)
    encoder = "memory_encoder.mask_downsampler.encoder"
    for step, (inputs, outputs) in enumerate(((1, 4), (4, 16), (16, 64), (64, 256))):
        yield from _linear(f"{encoder}.{3 * step}", inputs, outputs, 3, 3)
        yield from _norm(f"{encoder}.{3 * step + 1}", outputs)
    yield from _linear(f"{encoder}.12", 256, 256, 1, 1)
    yield from _linear("memory_encoder.pix_feat_proj", 256, 256, 1, 1)
    for i in range(2):
        layer = f"memory_encoder.fuser.layers.{i}"
        yield f"{layer}.gamma", (256,)
        yield from _linear(f"{layer}.dwconv", 1, 256, 7, 7)
        yield from _norm(f"{layer}.norm", 256)
        yield from _linear(f"{layer}.pwconv1", 256, 1024)
        yield from _linear(f"{layer}.pwconv2", 1024, 256)
    yield from _linear("memory_encoder.out_proj", 256, 64, 1, 1)


def medsam2() -> Shapes:
    """SAM 2.1 with the tiny encoder, as MedSAM2 ships it."""
    made: list[Entry] = [("maskmem_tpos_enc", (7, 1, 1, 64)), ("no_mem_embed", (1, 1, 256)), ("no_mem_pos_enc", (1, 1, 256))]
    made += [("no_obj_ptr", (1, 256)), ("no_obj_embed_spatial", (1, 64)), *_hiera(), *_linear("mask_downsample", 1, 1, 4, 4)]
    made += [*_memory(), *_prompt_encoder("sam_prompt_encoder", 256)]
    made += _mask_decoder("sam_mask_decoder", 256, 2048, ("layers.0", "layers.1"))
    made += [("sam_mask_decoder.obj_score_token.weight", (1, 256)), *_three("sam_mask_decoder.pred_obj_score_head", 256, 1)]
    made += [*_linear("sam_mask_decoder.conv_s0", 256, 32, 1, 1), *_linear("sam_mask_decoder.conv_s1", 256, 64, 1, 1)]
    made += [*_three("obj_ptr_proj", 256, 256), *_linear("obj_ptr_tpos_proj", 256, 64)]
    return dict(made)


def numbered(shapes: Shapes) -> dict[str, torch.Tensor]:
    """A state in which every tensor is filled with a number of its own and takes no memory."""
    return {name: torch.tensor(float(i + 1)).expand(shape) for i, (name, shape) in enumerate(shapes.items())}
