"""Devices made of the CPU's memory, as strict as real ones about what lies where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

_CPU = torch.device("cpu")
_HOST_ONLY = {"numpy", "__array__", "__dlpack__", "data_ptr"}
_ACROSS = {"__get__", "__set__", "_has_compatible_shallow_copy_type", "copy_", "to", "type_as"}
"""Calls that see tensors of both devices, on a real one, too."""
_INDEXING = {"__getitem__", "__setitem__", "index_put_"}


class PretendDevice(TorchFunctionMode):
    """While it is active, tensors that were sent to ``device`` are said to be there and mix with no others.

    They stay where they are, so all results are the CPU's. As on a real device a call with tensors of
    both is refused, as are NumPy's look at one that is there and random numbers of a generator of the
    CPU; a tensor without axes may be mixed in, and the index of one that is there may lie on the CPU.
    On ``mps`` no tensor of 64 bits can be.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.device = torch.device(name, 0)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do what ``func`` does, if it could be done where its tensors lie."""
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if func == Tensor.device.__get__:
            return self.device if _is_there(args[0]) else _CPU
        if func == Tensor.is_cuda.__get__:
            return _is_there(args[0]) and self.device.type == "cuda"
        looked_at = args[0] if name == "__deepcopy__" else (args, kwargs)  # not at what else was copied
        given = [leaf for leaf in tree_leaves(looked_at) if isinstance(leaf, Tensor)]
        there = any(map(_is_there, given))
        to = _wanted(name, args, kwargs)
        if there:
            self._refuse(name, args, given)
        if kwargs.get("generator") is not None and (there if to is None else to):
            raise RuntimeError("Expected a generator on the device but found one on the CPU")
        if to is not None:
            args, kwargs = tree_map(_here, (args, kwargs))
        made = func(*args, **kwargs)
        if to is not None and any(made is tensor for tensor in given) and _is_there(made) != to:
            made = made.clone()
        if name == "__set__" and isinstance(args[1], Tensor):
            self._place(args[0], there=_is_there(args[1]))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and not any(leaf is tensor for tensor in given):
                self._place(leaf, there=there if to is None else to)
        return made

    def _place(self, tensor: Tensor, *, there: bool) -> None:
        if there and tensor.dtype == torch.float64 and self.device.type == "mps":
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        tensor.is_there = there

    @staticmethod
    def _refuse(name: str, args: tuple[Any, ...], given: list[Tensor]) -> None:
        if name in _HOST_ONLY:
            raise TypeError("can't convert a tensor on a device to numpy")
        stray = any(tensor.ndim and not _is_there(tensor) for tensor in given)
        if stray and name not in _ACROSS and not (name in _INDEXING and _is_there(args[0])):
            raise RuntimeError(f"Expected all tensors of '{name}' on one device, but found two")


def _is_there(tensor: Tensor) -> bool:
    return bool(getattr(tensor, "is_there", False))


def _here(value: Any) -> Any:
    named = isinstance(value, str) and value.partition(":")[0] in {"cuda", "mps"}
    return _CPU if named or isinstance(value, torch.device) else value


def _wanted(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool | None:
    """Return whether a call puts its result on the device; None where it says nothing of devices."""
    if name in {"cuda", "cpu"}:
        return name == "cuda"
    if name == "_parse_to":  # only reads what `torch.nn.Module.to` was told
        return None
    named = [kwargs.get("device"), *(args[1:2] if name in {"to", "type_as"} else ())]
    for value in named:
        if isinstance(value, Tensor):
            return _is_there(value)
        if isinstance(value, torch.device | str):
            return torch.device(value).type != "cpu"
    return None


@pytest.fixture(params=["cuda", "mps"])
def pretend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PretendDevice:
    """A device that is used within ``with pretend:``; what PyTorch asks of its driver is answered."""
    state = torch.zeros(16, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda _device: state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda new, _device: state.copy_(new))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    new = torch.nn.Parameter.__new__

    def placed(cls: type, data: Tensor | None = None, requires_grad: bool = True) -> Tensor:
        """Return a parameter that lies where its values do; PyTorch tells no mode of its making."""
        made: Tensor = new(cls, data, requires_grad)
        if data is not None:
            made.is_there = _is_there(data)
        return made

    monkeypatch.setattr(torch.nn.Parameter, "__new__", placed)
    return PretendDevice(request.param)
