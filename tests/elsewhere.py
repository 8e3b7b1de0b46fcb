"""A second device that every machine has: what lies there can't be had without being moved.

Each operation checks that its tensors lie on one device, as an accelerator does, and is then
carried out on the CPU. What a program does there is what it does here, or an error: a tensor that
was forgotten on the other device shows without a GPU. What is named after CUDA (pinned memory,
streams, events) isn't tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

# The one device beside the CPU that torch has everywhere. It holds no numbers: ours do.
DEVICE = torch.device("meta")
aten = torch.ops.aten
MOVES = (aten._to_copy.default, aten.copy_.default)
# Their indices, the second argument, may lie on the CPU.
INDEXING = (aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default)
# Made of others, and as good as one: of tensors on one device they make one tensor there.
WHOLE = (
    aten.linear.default,
    aten.matmul.default,
    aten.scaled_dot_product_attention.default,
)


class Elsewhere(torch.Tensor):
    """A tensor on the second device; `here` has its numbers."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Elsewhere:
        # One made for inference could be no view of a model's weights.
        with torch.inference_mode(False):
            made: Elsewhere = torch.Tensor._make_wrapper_subclass(
                cls,
                here.size(),
                strides=here.stride(),
                storage_offset=here.storage_offset(),
                dtype=here.dtype,
                device=DEVICE,
            )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Nothing outside `second_device`."""
        return NotImplemented


@contextmanager
def second_device() -> Iterator[None]:
    """Within the block there is `DEVICE`."""
    with _Calls(), _Operations():
        yield


def moved(model: Any) -> Any:
    """The model itself, its weights and buffers on the device."""
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            setattr(module, name, torch.nn.Parameter(Elsewhere(weight.data), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, Elsewhere(buffer))
    return model


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in WHOLE:
            with self:
                found = func.decompose(*args, **(kwargs or {}))
            if found is not NotImplemented:
                return found
        return _carried_out(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What torch does with Python's own values, before there is an operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and _named(kwargs) == DEVICE.type:
            return func(*_here(args), **(kwargs | {"device": "cpu"})).to(DEVICE)
        if func is torch.Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].here.tolist()
        if func is torch.Tensor.__setitem__ and isinstance(args[1], list):
            args = args[0], torch.tensor(args[1]), args[2]
        return func(*args, **kwargs)


def _named(kwargs: Any) -> str | None:
    device = kwargs.get("device")
    return None if device is None else torch.device(device).type


def _carried_out(func: Any, args: Any, kwargs: Any) -> Any:
    given = [*_tensors((args, kwargs))]
    if any(one.device == DEVICE and not isinstance(one, Elsewhere) for one in given):
        raise RuntimeError(
            f"{func}: a tensor without numbers; `_Calls` doesn't know how it is made"
        )
    _check(func, args, given)
    goes_there = any(isinstance(one, Elsewhere) for one in given)
    if named := _named(kwargs):
        goes_there = named == DEVICE.type
        kwargs = kwargs | {"device": torch.device("cpu")}
    here_args, here_kwargs = _here(args), _here(kwargs)
    if func is aten.histc.default:  # of integers, the CPU has none
        found = func(here_args[0].float(), *here_args[1:], **here_kwargs).to(here_args[0].dtype)
    else:
        found = func(*here_args, **here_kwargs)
    if not goes_there:
        return found
    # What was written in place is what was given.
    same = {id(_here(one)): one for one in given}

    def as_given(one: torch.Tensor) -> torch.Tensor:
        return same[id(one)] if id(one) in same else Elsewhere(one)

    if isinstance(found, torch.Tensor):
        return as_given(found)
    return tree_map_only(torch.Tensor, as_given, found)


def _tensors(of: Any) -> Iterator[torch.Tensor]:
    """As torch's own `tree_leaves`, which takes longer than the operation."""
    if isinstance(of, torch.Tensor):
        yield of
    elif isinstance(of, (tuple, list)):
        for one in of:
            yield from _tensors(one)
    elif isinstance(of, dict):
        yield from _tensors([*of.values()])


def _here(of: Any) -> Any:
    """The same with the numbers of what lies on the device."""
    if isinstance(of, Elsewhere):
        return of.here
    if type(of) in (tuple, list):
        return type(of)(map(_here, of))
    if type(of) is dict:
        return dict(zip(of, map(_here, of.values()), strict=True))
    return of


def _check(func: Any, args: Any, given: list[torch.Tensor]) -> None:
    """Whether all lie on one device; single numbers of the CPU go anywhere."""
    if func in MOVES:
        return
    checked = given
    if func in INDEXING and isinstance(args[0], Elsewhere):
        checked = [args[0], *args[2:3]]
    there = [isinstance(one, Elsewhere) for one in checked]
    if any(there) and any(one.dim() and not on for one, on in zip(checked, there, strict=True)):
        raise RuntimeError(f"{func}: expected all tensors on one device, found them on two")
