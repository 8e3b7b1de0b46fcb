"""One decoding step of a text decoder as one function: the model's weights and mathematics alone.

Of a small model on a CPU, a third of a step goes into what is around the products: modules that
call modules, a mask that nothing reads, norms of eight operations, rotations of keys and queries
one after the other. Here the layers' own linear layers are called directly, a norm is one operation
and its weight, and queries and keys are rotated together. No result changes, to the last bit.

So it is used only where that is certain: for layers of known classes, without hooks or a replaced
forward, if at the first step of a call the first layer gives exactly what the stock layer gives.
Linear layers and activations may be of any kind (quantized, packed, wrapped): they are called as
modules.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import nn
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dycoke_cli.engine.state import STATE_ARGUMENT, GenerationState, Prefill, Stage
from dycoke_cli.stock.forward import changed_by_others
from dycoke_cli.stock.private_api import (
    CACHE_ARGUMENT,
    CACHE_NAMES,
    attention_implementation,
    cache_of,
    has_stock_forward,
)

# Decoder layers of one structure: a norm before attention and one before the MLP, a gated MLP, and
# rotary positions by halves of whole heads. Qwen 3 normalizes queries and keys before that.
_KNOWN_LAYERS = {
    "LlamaDecoderLayer",
    "Qwen2DecoderLayer",
    "Qwen2VLDecoderLayer",
    "Qwen2_5_VLDecoderLayer",
    "Qwen3DecoderLayer",
    "Qwen3VLTextDecoderLayer",
}
# What a decoder may be called with for a step to be ours; all else has to be None or False.
_ARGUMENTS = {
    "input_ids",
    "inputs_embeds",
    "position_ids",
    "attention_mask",  # `KVStore` makes its own for each layer
    *CACHE_NAMES,
    "use_cache",
    "return_dict",
    "logits_to_keep",  # which some models hand on to a decoder that has no logits
    STATE_ARGUMENT,
}
_MADE_UP_KEYS = 8
# A GPU's fused norm sums in another order than the layers' own.
_ROUNDINGS_ON_GPU = 16
_OURS = "is_of_dycoke"
_lock = threading.Lock()
_users: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""How many attachments there are, by text decoder."""

Attention = Callable[..., Any]


@dataclass(frozen=True)
class _Norm:
    """A root mean square norm, as of the stock classes: computed in float32, rounded, weighted."""

    weight: torch.Tensor
    eps: float

    @classmethod
    def of(cls, module: Any) -> _Norm:
        return cls(module.weight, module.variance_epsilon)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        width = self.weight.shape
        # The stock norm computes in float32 even then; `rms_norm` wouldn't.
        if x.dtype == torch.float64:
            return self.weight * F.rms_norm(x.float(), width, None, self.eps).to(x.dtype)
        # In fewer bits than 32 it computes in float32 by itself, and rounds at the end.
        return self.weight * F.rms_norm(x, width, None, self.eps)


@dataclass(frozen=True)
class _Layer:
    """The parts of a stock decoder layer."""

    attention: Any
    before_attention: _Norm
    before_mlp: _Norm
    query: nn.Module
    key: nn.Module
    value: nn.Module
    output: nn.Module
    norms: tuple[_Norm, _Norm] | None
    gate: nn.Module
    up: nn.Module
    down: nn.Module
    activation: nn.Module
    width: int
    scaling: float

    @classmethod
    def of(cls, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        normed = hasattr(attention, "q_norm")
        return cls(
            attention=attention,
            before_attention=_Norm.of(layer.input_layernorm),
            before_mlp=_Norm.of(layer.post_attention_layernorm),
            query=attention.q_proj,
            key=attention.k_proj,
            value=attention.v_proj,
            output=attention.o_proj,
            norms=(_Norm.of(attention.q_norm), _Norm.of(attention.k_norm)) if normed else None,
            gate=mlp.gate_proj,
            up=mlp.up_proj,
            down=mlp.down_proj,
            activation=mlp.act_fn,
            width=attention.head_dim,
            scaling=attention.scaling,
        )

    def step(
        self,
        hidden: torch.Tensor,
        rotations: tuple[torch.Tensor, torch.Tensor],
        cache: Any,
        attend: Attention,
        **extra_arguments: Any,
    ) -> torch.Tensor:
        """The hidden states `[B, 1, D]` behind the layer.

        Args:
            hidden: before it.
            rotations: cosine, and sine with the sign of its half, `[B, 1, 1, W]`.
            cache: gets the token's key and value.
            attend: an attention function of transformers.
            extra_arguments: more arguments of that function.
        """
        normed = self.before_attention(hidden)
        query, key, value = self.query(normed), self.key(normed), self.value(normed)
        batch, width = len(hidden), self.width
        if self.norms is not None:
            by_head = (batch, 1, -1, width)
            query = self.norms[0](query.view(by_head)).flatten(2)
            key = self.norms[1](key.view(by_head)).flatten(2)
        heads = query.shape[2] // width, key.shape[2] // width
        # Of one token [B, 1, H · W] and [B, H, 1, W] are the same memory, so nothing is transposed.
        both = torch.cat((query, key), 2).view(batch, -1, 1, width)
        cosine, sine = rotations
        # x · cos + rotate_half(x) · sin, where rotate_half([a, b]) is [-b, a]: `roll` by half gives
        # [b, a], and `_signed` has put the minus into the sine.
        both = (both * cosine).add_(both.roll(width // 2, -1).mul_(sine))
        queries, keys = both.split(heads, 1)
        keys, values = cache.update(keys, value.view(batch, -1, 1, width), self.attention.layer_idx)
        attended, _ = attend(
            self.attention, queries, keys, values, None,
            dropout=0.0, scaling=self.scaling, **extra_arguments,
        )  # fmt: skip
        # Sums and products in the order of the stock layer: in another one, rounding differs.
        hidden = hidden + self.output(attended.reshape(batch, 1, -1))
        normed = self.before_mlp(hidden)
        return hidden + self.down(self.activation(self.gate(normed)) * self.up(normed))


class FlatDecoder:
    """The decoding steps of a stock text decoder whose classes are known."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._layers = [_Layer.of(layer) for layer in decoder.layers]
        self._norm = _Norm.of(decoder.norm)
        self._attend = ALL_ATTENTION_FUNCTIONS[attention_implementation(decoder)]

    def step(self, arguments: dict[str, Any]) -> BaseModelOutputWithPast:
        """What the decoder's forward returns for one more token of each sequence."""
        cache = cache_of(arguments)
        state = {STATE_ARGUMENT: arguments[STATE_ARGUMENT]}
        hidden, rotations = self._begin(arguments)
        signed = _signed(*rotations)
        for layer in self._layers:
            hidden = layer.step(hidden, signed, cache, self._attend, **state)
        made = {CACHE_ARGUMENT: cache}
        return BaseModelOutputWithPast(last_hidden_state=self._norm(hidden), **made)

    def agrees(self, arguments: dict[str, Any]) -> bool:
        """Whether the first layer gives what the stock one gives, behind a few made-up keys."""
        hidden, rotations = self._begin(arguments)
        layer, ours = self._decoder.layers[0], self._layers[0]
        heads = self._decoder.config.num_key_value_heads
        shape = (len(hidden), heads, _MADE_UP_KEYS, ours.width)
        count = math.prod(shape)
        # Not drawn: numbers drawn here would change those that words are drawn by.
        made_up = torch.arange(2 * count, device=hidden.device).sin().to(hidden.dtype)
        caches = DynamicCache(), DynamicCache()
        for cache in caches:
            cache.update(made_up[:count].view(shape), made_up[count:].view(shape), 0)
        expected = layer(
            hidden, attention_mask=None, position_ids=None, use_cache=True,
            position_embeddings=rotations, **{CACHE_ARGUMENT: caches[0]},
        )  # fmt: skip
        # A layer of another version may return a tuple: then it isn't the class that is known.
        result = ours.step(hidden, _signed(*rotations), caches[1], self._attend)
        if not torch.is_tensor(expected) or result.shape != expected.shape:
            return False
        roundings = 0 if result.device.type == "cpu" else _ROUNDINGS_ON_GPU
        most = roundings * torch.finfo(result.dtype).eps * expected.abs().max()
        return bool((result - expected).abs().max() <= most)  # false for NaN

    def _begin(
        self, arguments: dict[str, Any]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """The new tokens' embeddings `[B, 1, D]`, and cosine and sine of their positions."""
        hidden, positions = arguments.get("inputs_embeds"), arguments["position_ids"]
        if hidden is None:
            hidden = self._decoder.embed_tokens(arguments["input_ids"])
        rotary = self._decoder.rotary_emb
        if positions.dim() == 3 and len(positions) == 4:
            positions = positions[1:]  # in front is a count of tokens, for masks
        elif positions.dim() == 2 and hasattr(rotary, "mrope_section"):
            # Text alone: the same number in time, height and width.
            positions = positions.expand(3, *positions.shape)
        return hidden, rotary(hidden, positions)


class FlatSteps(Stage):
    """Lets the decoding steps of a call be flat.

    Args:
        decoder: gets a forward that makes them so, unless its own was replaced already.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Attachments of several threads can overlap: the last one restores the stock forward."""
        decoder = self._decoder
        with _lock:
            _users[decoder] = _users.get(decoder, 0) + 1
            if has_stock_forward(decoder):
                decoder.forward = flat_or_stock(decoder)
        try:
            yield
        finally:
            with _lock:
                _users[decoder] -= 1
                if not _users[decoder] and hasattr(decoder.forward, _OURS):
                    del decoder.forward

    def after_selection(self, prefill: Prefill) -> None:
        """Until something else than a token is read."""
        prefill.state.flat = True


def flat_or_stock(decoder: Any) -> Callable[..., Any]:
    """The forward of a text decoder that makes the decoding steps of attached calls flat."""
    stock = decoder.forward
    of_calls: WeakKeyDictionary[Any, FlatDecoder | None] = WeakKeyDictionary()

    # With `wraps`, since stock code may inspect the signature.
    @wraps(stock)
    def forward(*args: Any, **kwargs: Any) -> Any:
        state: GenerationState | None = kwargs.get(STATE_ARGUMENT)
        is_step = state is not None and state.flat and not state.in_prefill
        if not is_step or not _takes(decoder, args, kwargs):
            return stock(*args, **kwargs)
        cache = cache_of(kwargs)
        # Once for each cache, so once for each call: a model may be changed between two.
        if cache not in of_calls:
            flat = FlatDecoder(decoder) if can_be_flat(decoder) else None
            of_calls[cache] = flat if flat is not None and flat.agrees(kwargs) else None
        flat = of_calls[cache]
        return stock(**kwargs) if flat is None else flat.step(kwargs)

    setattr(forward, _OURS, True)
    return forward


def _takes(decoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a flat step returns everything that these arguments request."""
    config = decoder.config
    return (
        not args
        and kwargs.get("use_cache") is True
        and kwargs.get("return_dict", True) is True
        and not (config.output_hidden_states or config.output_attentions)
        and all(name in _ARGUMENTS or not value for name, value in kwargs.items())
    )


def can_be_flat(decoder: Any) -> bool:
    """Whether a decoder consists of stock classes that `_Layer` reproduces, without changes.

    Its rotary positions, embeddings, linear layers and activations are called as they are.
    """
    layers = list(getattr(decoder, "layers", ()))
    if decoder.training or len(layers) != decoder.config.num_hidden_layers:
        return False
    # All parts from one modelling file: a subclass of somebody else's is in another module.
    home = type(decoder).__module__
    if not home.startswith("transformers.models.") or any(
        type(layer).__name__ not in _KNOWN_LAYERS for layer in layers
    ):
        return False
    parts = [decoder.norm]
    for layer in layers:
        attention = layer.self_attn
        norms = [attention.q_norm, attention.k_norm] if hasattr(attention, "q_norm") else []
        parts += [layer, layer.input_layernorm, layer.post_attention_layernorm, layer.mlp]
        parts += [attention, *norms]
    return all(type(part).__module__ == home and not changed_by_others(part) for part in parts)


def _signed(cosine: torch.Tensor, sine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine `[B, 1, W]` as `[B, 1, 1, W]`, the sine with the sign of its half."""
    first, second = sine.chunk(2, -1)
    return cosine[:, None], torch.cat((-first, second), -1)[:, None]
