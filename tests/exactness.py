"""Models in float64, so that right answers are told from wrong ones whatever the processor rounds.

In float32 two right ways of adding up a logit are up to 2e-4 apart, by how a processor orders its
sums; which of two words is likelier, or which of two tokens gets more attention, is now and then
left to that. In float64 they are a billion times nearer, and a mistake is as large as ever. So what
compares logits, hidden states or words runs on models of `in_float64`, and what is left between
them is bounded by `assert_same`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

# By how much rounding may grow: sums of up to 2^8 numbers in each product, and layers with
# sharpened attention (`make_model`, `make`), each of which hands on what the one before it lost:
# 2^8. The largest difference found is a hundredth of that.
GROWTH = 2.0**16
EPS = torch.finfo(torch.float64).eps * GROWTH
# `generate()` hands out logits, and compares them, as numbers of float32.
HANDED_OUT = torch.finfo(torch.float32).eps / 2


def in_float64(model: Any) -> Any:
    """A stock model in float64, also where transformers asks for float32: norms, turns, softmax.

    Whoever writes with it may compare words: each comes with a lead that no rounding makes up for,
    or the test fails and says so.
    """
    model.double()
    model.set_experts_implementation("eager")  # the products of groups don't know float64
    for part in model.modules():
        if _asks(part):
            part.forward = MethodType(_wide, part)
    head = model.get_output_embeddings()
    head.forward = MethodType(_decided, head)
    return model


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Two ways of computing one thing in float64 give the same but for rounding.

    Args:
        ours: float64, or float32 where `generate()` handed them out.
        theirs: of the same shape.
    """
    handed_out = torch.float32 in (ours.dtype, theirs.dtype)
    ours, theirs = ours.double(), theirs.double()
    # What nearly cancels is as far off as what it is made of: the largest says how far.
    most = EPS * float(theirs.abs().max()) if theirs.numel() else 0.0
    torch.testing.assert_close(ours, theirs, atol=most, rtol=2 * HANDED_OUT if handed_out else 0.0)


def assert_same_steps(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> None:
    """The same of the logits of each step; of one prompt with or without that dimension."""
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one.squeeze(0), other.squeeze(0))


def _asks(part: nn.Module) -> bool:
    """Whether it computes in float32 by itself: its own forward says so, or its attention does."""
    kind = type(part)
    if kind.__module__.startswith("torch.") or any(
        isinstance(p, nn.ModuleList) for p in part.modules()
    ):
        return False
    return "Attention" in kind.__name__ or _speaks_of_floats(kind)


@cache
def _speaks_of_floats(kind: type[nn.Module]) -> bool:
    return "float" in inspect.getsource(kind.forward)


class _Wide(TorchFunctionMode):
    """What asks for float32 gets float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        for value in args:  # written out: half a million calls in the tests of the families
            if value is torch.float32:
                args = [torch.float64 if value is torch.float32 else value for value in args]
        if not kwargs:
            return func(*args)
        if kwargs.get("dtype") is torch.float32:
            kwargs = kwargs | {"dtype": torch.float64}
        return func(*args, **kwargs)


def _wide(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    with _Wide():
        return type(self).forward(self, *args, **kwargs)


def _decided(self: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """The logits of words; the likeliest of each last row leads by more than rounding can be."""
    logits = type(self).forward(self, rows)
    last = logits[:, -1] if logits.dim() > 1 else logits
    first, second = last.topk(2, dim=-1).values.unbind(-1)
    least = 2 * (EPS + HANDED_OUT) * last.abs().amax(-1)
    assert (first - second > least).all(), "two words are as likely but for rounding: another seed"
    return logits


def generated(model: Any, inputs: Any, new_tokens: int) -> Any:
    """What `generate()` writes greedily, with its logits."""
    return model.generate(
        **inputs,
        max_new_tokens=new_tokens,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )


def assert_generated(output: Any, tokens: list[int], logits: Sequence[torch.Tensor]) -> None:
    """Of one prompt, what `generate()` gave out is these tokens, by these logits."""
    assert output.sequences[0, -len(tokens) :].tolist() == tokens
    assert_same_steps(output.logits, logits)
