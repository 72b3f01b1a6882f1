"""torchvision's wheel is linked against CUDA and refuses a CPU torch. With the operators that it registers meta functions for declared
beforehand, its Python part loads, and vLLM needs no more. Loaded by a ``.pth`` file of the environment that `make vllm` makes."""

import torch

_OPERATORS = torch.library.Library("torchvision", "DEF")
for _schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    _OPERATORS.define(_schema)
