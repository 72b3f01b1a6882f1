"""A device that is not there: the CPU computes, every tensor knows where it would lie, and what CUDA would refuse is refused.

Inside ``pretended_cuda`` torch says that it has a GPU. A storage is marked with its device: by the function mode where Python names one
(``device=``, ``to``, ``cuda``, ``cpu``), and by the dispatch mode where an operation makes new tensors of others, also in backward passes.
What is made in C++ without a source bears no mark and fits everywhere.

CUDA lets meet: a number in a CPU tensor without axes and tensors of the device; CPU indices and a tensor of the device; both sides of a
copy. Everything else on two devices is a RuntimeError, as are NumPy's view of a tensor of the device and a CPU generator for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
_MARK = "_pretended_device"
_COPIES = ("aten::copy_", "aten::_to_copy", "aten::_copy_from", "aten::set_", "aten::_foreach_copy_")
_INDEXED = ("aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_", "aten::_unsafe_index")


def _marked(tensor: torch.Tensor) -> torch.device | None:
    try:
        return getattr(tensor.untyped_storage(), _MARK, None)
    except (NotImplementedError, RuntimeError):  # sparse and meta tensors have no storage to mark
        return None


def _mark(tensor: torch.Tensor, device: torch.device) -> None:
    if tensor.device.type == "cpu" and tensor.layout == torch.strided:
        setattr(tensor.untyped_storage(), _MARK, device)


def _tensors(*trees: Any) -> list[torch.Tensor]:
    found = list[torch.Tensor]()
    for leaf in trees:
        if isinstance(leaf, torch.Tensor):
            found.append(leaf)
        elif isinstance(leaf, list | tuple):
            found += _tensors(*leaf)
        elif isinstance(leaf, dict):
            found += _tensors(*leaf.values())
    return found


def _wanted(device: Any) -> torch.device | None:
    """CPU or CUDA for what names one of them; None for anything else, such as meta."""
    if device is None:
        return None
    kind = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    return {"cpu": CPU, "cuda": CUDA}.get(kind.type)


class _Operations(TorchDispatchMode):
    """Holds operations against the marks of what goes in, and marks what comes out."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self._held(func, args, kwargs or {})

    def _held(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = func._schema.name
        given = _tensors(args, kwargs)
        marks = {id(t): _marked(t) for t in given}
        if name in _INDEXED:
            own = [t for t in _tensors(args[0], *args[2:3]) if marks[id(t)]]
            indices = [t for t in _tensors(args[1]) if marks[id(t)]]
            if any(marks[id(t)] == CUDA for t in indices) and marks[id(args[0])] == CPU:
                raise RuntimeError(f"{name}: indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            checked = own
        elif name in _COPIES:
            checked = []
        else:
            checked = [t for t in given if marks[id(t)]]
        there = [t for t in checked if marks[id(t)] == CUDA]
        here = [t for t in checked if marks[id(t)] == CPU and t.ndim]
        if there and here:
            shapes = [(tuple(t.shape), str(marks[id(t)])) for t in checked]
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {shapes}")
        if there and isinstance(kwargs.get("generator"), torch.Generator):
            raise RuntimeError(f"{name}: expected a 'cuda' device type for generator but found 'cpu'")
        out = func(*args, **kwargs)
        known = [mark for mark in marks.values() if mark]
        if known:
            device = CUDA if CUDA in known else CPU
            if name in ("aten::_to_copy", *_INDEXED):
                device = marks[id(given[0])] or device
            for tensor in _tensors(out):
                if _marked(tensor) is None:
                    _mark(tensor, device)
        return out


class _Python(TorchFunctionMode):
    """Answers what Python asks of a tensor's device, and makes tensors where Python wants them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") == "__get__":
            wanted = _PROPERTIES.get(func.__self__)
            return func(*args) if wanted is None or args[0].device.type != "cpu" else wanted(_marked(args[0]) or CPU)
        for tensor in _tensors(args, kwargs):
            if _marked(tensor) is None:
                _mark(tensor, CPU)
        if func is torch.Tensor.backward:
            with self:  # what runs in the backward pass asks for devices, too
                kwargs["grad_tensors"] = kwargs.pop("gradient", None)
                return torch.autograd.backward(args[0], *args[1:], **kwargs)
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and _marked(args[0]) == CUDA:
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
            )
        if func is torch.Tensor.get_device:
            return 0 if _marked(args[0]) == CUDA else -1
        if func in (torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu):
            return self._moved(func, *args, **kwargs)
        wanted = _wanted(kwargs.get("device"))
        if wanted is not None:
            kwargs["device"] = CPU
        out = func(*args, **kwargs)
        source = next((m for t in _tensors(args, kwargs) if (m := _marked(t)) == CUDA), CPU)
        if wanted is not None:
            out = tree_map_only(torch.Tensor, lambda t: self._placed(t, wanted), out)
        for tensor in _tensors(out):
            if _marked(tensor) is None:
                _mark(tensor, source)
        return out

    def _moved(self, func: Any, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        wanted, flags = None, iter(("non_blocking", "copy"))
        if func is torch.Tensor.cuda or func is torch.Tensor.cpu:
            wanted, kwargs = CUDA if func is torch.Tensor.cuda else CPU, {}
        else:
            for value in args:
                if isinstance(value, torch.Tensor):
                    wanted, kwargs["dtype"] = _marked(value) or CPU, value.dtype
                elif isinstance(value, torch.dtype):
                    kwargs["dtype"] = value
                elif isinstance(value, str | int | torch.device) and not isinstance(value, bool):
                    wanted = _wanted(value)
                    if wanted is None:
                        return torch.Tensor.to(tensor, *args, **kwargs)
                elif isinstance(value, bool):
                    kwargs[next(flags)] = value
            if isinstance(other := kwargs.pop("other", None), torch.Tensor):
                wanted, kwargs["dtype"] = _marked(other) or CPU, other.dtype
            wanted = _wanted(kwargs.pop("device", None)) or wanted
        out = torch.Tensor.to(tensor, **kwargs) if kwargs else tensor
        return out if wanted is None else self._placed(out, wanted)

    def _placed(self, tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The tensor on a device: itself if it lies there or nowhere yet, else a copy."""
        mark = _marked(tensor)
        if mark is not None and mark != device:
            tensor = tensor.clone()
        _mark(tensor, device)
        return tensor


_PROPERTIES = {
    torch.Tensor.device: lambda mark: mark,
    torch.Tensor.is_cuda: lambda mark: mark == CUDA,
    torch.Tensor.is_cpu: lambda mark: mark == CPU,
}


def device_of(tensor: torch.Tensor) -> torch.device:
    """Where a tensor would lie."""
    return _marked(tensor) or CPU


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """Inside the block torch has one GPU, and operations that mix devices fail as they do there."""
    from accelerate import PartialState

    PartialState(cpu=True)  # before there is a GPU to be found
    autocast, enabled, dtype = torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype

    def here(kind: Any) -> str:
        return str(kind).replace("cuda", "cpu")

    def autocast_here(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return autocast(here(device_type), *args, **kwargs)

    fakes: dict[str, Any] = {
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.get_device_name": lambda *_: "a GPU that is not there",
        "torch.cuda.is_bf16_supported": lambda *_: True,
        "torch.cuda.synchronize": lambda *_: None,
        "torch.autocast": autocast_here,
        "torch.amp.autocast": autocast_here,
        "torch.is_autocast_enabled": lambda kind="cpu": enabled(here(kind)),
        "torch.get_autocast_dtype": lambda kind: dtype(here(kind)),
    }
    with ExitStack() as stack:
        for name, fake in fakes.items():
            stack.enter_context(mock.patch(name, fake))
        stack.enter_context(_Operations())
        stack.enter_context(_Python())
        yield
