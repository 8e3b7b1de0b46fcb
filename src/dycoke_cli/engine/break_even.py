"""From how many visual tokens on decode pruning is faster than attention to all, on this machine.

It depends on the processor, the heads of the model and the share that is pruned: with the small
heads of a 0.5B model a selection can cost twice what it saves at 6,000 visual tokens, and with
those of a 7B model it pays from 1,000 on. So both are timed at two numbers of tokens, through the
KV cache and the attention that answers use, and a line through both differences gives the
break-even. Times are cached beside those of kernels (`kernels/choice.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dycoke_cli.compression.base import settled
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.kv_cache.indexed import IndexedStore
from dycoke_cli.engine.scoring_attention import attention_to_keys
from dycoke_cli.kernels.choice import measured
from dycoke_cli.kernels.processor import STOCK_KERNEL
from dycoke_cli.kernels.timing import Kernels
from dycoke_cli.models.traits import DecodeAttention

FEW, MANY = 512, 8192
"""Visual tokens at which steps are timed."""
NEVER = 1_000_000
"""Break-even where pruning gains nothing however many tokens there are: more than a context has."""
PRUNED = "pruned"
"""Name of the pruned step among the cached times; `STOCK_KERNEL` attends to all tokens."""
MOST_BYTES = 128 * 2**20
"""Keys and values that are timed: more than a CPU cache holds, as in a long answer."""
LIMIT_S = 4.0
"""Time limit, after which no further size is timed."""
_TEXT = 64


@dataclass(frozen=True)
class TimedStep:
    """The attention of a decoding step, to all of its visual tokens and to a selection.

    Args:
        attention: of the model.
        method: whose decode pruning is timed, whatever the number of tokens.
        visual: V, the visual tokens.
    """

    attention: DecodeAttention
    method: BoundMethod
    visual: int

    def __str__(self) -> str:
        sizes, pruning = self.attention, settled(self.method.decode_pruning)
        selection = "a layer" if pruning.own is None else repr(pruning.own)
        on_gpu = sizes.device.startswith("cuda")
        where = torch.cuda.get_device_name(sizes.device) if on_gpu else sizes.device
        return (
            f"decode pruning, {self.method.attended_tokens(self.visual)} of {self.visual} tokens, "
            f"by {selection} from layer {pruning.layer} of {sizes.layers}, {sizes.heads}/"
            f"{sizes.kv_heads} heads of {sizes.width}, {sizes.dtype}, {where}"
        )

    @property
    def layers(self) -> int:
        """Layers that are timed: of the model, or fewer of one whose keys would fill memory."""
        sizes = self.attention
        numbers = 2 * sizes.kv_heads * (self.visual + _TEXT) * sizes.width
        of_a_layer = numbers * getattr(torch, sizes.dtype).itemsize
        return min(sizes.layers, max(2, MOST_BYTES // of_a_layer))

    def kernels(self, quantized: bool) -> Kernels:
        """Callables that run a step each, on caches of their own with random keys.

        Args:
            quantized: ignored.
        """
        every, selected = _Step(self, pruned=False), _Step(self, pruned=True)
        return {STOCK_KERNEL: every.run, PRUNED: selected.run}


class _Step:
    """A KV cache behind a prompt, and steps of one token on it."""

    def __init__(self, timed: TimedStep, *, pruned: bool) -> None:
        sizes, visual = timed.attention, timed.visual
        self._sizes, self._visual = sizes, torch.arange(_TEXT // 2, _TEXT // 2 + visual)
        self._scorer: int | None = None
        length = visual + _TEXT
        tensor = partial(
            torch.randn, dtype=getattr(torch, sizes.dtype), device=torch.device(sizes.device)
        )
        prompt = tensor(1, sizes.kv_heads, length, sizes.width)
        self._layers = timed.layers
        shape: dict[str, Any] = {
            "layers": self._layers,
            "paddings": [0],
            "visual": [self._visual],
            "length": length,
            "uncompressed_length": length,
        }
        pruning = timed.method.pruning() if pruned else None
        if pruning is None:
            self._store = KVStore(**shape)
        else:
            shape["first_pruned"] = round(pruning.layer * self._layers / sizes.layers)
            if pruning.own is not None:
                counts = [timed.method.attended_tokens(visual)]
                self._store = IndexedStore(selector=pruning.own, counts=counts, **shape)
            else:
                shape["first_pruned"] = max(1, shape["first_pruned"])
                self._store = KVStore(dp_cache=pruning.dp_cache, **shape)
                self._scorer = shape["first_pruned"] - 1
                self._selector = settled(pruning.selector)
        for layer in range(self._layers):
            self._store.update(prompt, prompt, layer)
        self._query = partial(tensor, 1, sizes.heads, 1, sizes.width)
        self._new = tensor(1, sizes.kv_heads, 1, sizes.width)
        self._module = SimpleNamespace(
            is_causal=True, num_key_value_groups=sizes.heads // sizes.kv_heads
        )

    def run(self) -> None:
        """The attention of all layers in one step, as `engine/scoring_attention.py` runs it.

        A query is random, so that a layer that scores selects anew at nearly every step: that is
        the most that selecting costs.
        """
        store, scaling, query = self._store, self._sizes.width**-0.5, self._query()
        compute = ALL_ATTENTION_FUNCTIONS[self._sizes.implementation]
        store.begin_step()
        for layer in range(self._layers):
            keys, values = store.update(self._new, self._new, layer)
            keys, values, mask = store.attended(layer, query, keys, values, scaling)
            mask = None if mask is None else mask[:, None, None]
            compute(self._module, query, keys, values, mask, scaling=scaling)
            if layer == self._scorer:
                weights = attention_to_keys(query, keys, scaling=scaling)
                store.arrange([self._selector.step(weights[self._visual.to(weights.device)])])
        if query.device.type == "cuda":
            torch.cuda.synchronize(query.device)


def settle_break_even(method: BoundMethod, attention: DecodeAttention | None) -> BoundMethod:
    """Give `prune_from` a number where it is auto (None).

    Args:
        method: with or without decode pruning.
        attention: of the model; None leaves auto, for a model whose attention isn't known yet.

    Returns:
        The measured break-even; where it can't be measured (`DecodeAttention.measuring`, a machine
        that is overloaded), what is usual for the method.
    """
    pruning = method.decode_pruning
    is_auto = pruning is not None and method.parameters().get("prune_from", 0) is None
    if attention is None or pruning is None or not is_auto:
        return method
    if not attention.measuring:
        return method.changed(prune_from=pruning.least)
    always = method.changed(prune_from=0)
    steps = [TimedStep(attention, always, visual) for visual in (FEW, MANY)]
    times = measured(steps, quantized=False, limit_s=LIMIT_S)
    found = [times[str(step)] for step in steps if str(step) in times]
    if len(found) < len(steps):
        return method.changed(prune_from=pruning.least)
    saved = [of_step[STOCK_KERNEL] - of_step[PRUNED] for of_step in found]
    return method.changed(prune_from=break_even(*saved))


def break_even(at_few: float, at_many: float) -> int:
    """Visual tokens from which on pruning saves time.

    Args:
        at_few: milliseconds saved at `FEW` tokens; negative where pruning costs time.
        at_many: the same at `MANY`.

    Returns:
        Where a line through both crosses 0: 0 where pruning always saves, else a multiple of 64;
        `NEVER` where it saves nothing.
    """
    slope = (at_many - at_few) / (MANY - FEW)
    if slope <= 0:  # only noise makes a longer selection save less
        return 0 if min(at_few, at_many) > 0 else NEVER
    return min(NEVER, max(0, 64 * math.ceil((FEW - at_few / slope) / 64)))
