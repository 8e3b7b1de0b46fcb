"""Sizes of a model, read from a configuration under any of their names; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

_CHANNELS = 3


@dataclass(frozen=True)
class VisionSizes:
    """Sizes of a vision tower; 0 if the configuration doesn't have them."""

    layers: int  # number of transformer layers
    hidden: int  # hidden size
    mlp: int  # intermediate size of the MLPs
    patch: int  # numbers (channels times pixels) in a patch
    frame_patches: int  # patches per frame; 0 with dynamic resolution
    merged: int  # patches per visual token, with dynamic resolution
    # additional embeddings per visual token, added inside the language model (DeepStack)
    stacked: int = 0

    @classmethod
    def of(cls, config: Any) -> VisionSizes:
        """Read the sizes from a configuration.

        Args:
            config: of the tower, or None.
        """
        # `embed_dim` first: Qwen2-VL's `hidden_size` is that of its language model.
        hidden = _first(config, "embed_dim", "hidden_size", default=0)
        patch = _sides(_first(config, "patch_size", default=0))
        frame = _sides(_first(config, "image_size", default=0))
        side = _first(config, "spatial_merge_size", default=0)
        fixed = all(patch) and not side
        return cls(
            layers=_first(config, "num_hidden_layers", "depth", default=0),
            hidden=hidden,
            mlp=_first(config, "intermediate_size", default=4 * hidden),
            patch=_CHANNELS * (prod(patch) or 14 * 14),
            frame_patches=prod(a // b for a, b in zip(frame, patch, strict=True)) if fixed else 0,
            merged=prod(_sides(side or 2)),
            stacked=len(_first(config, "deepstack_visual_indexes", default=())),
        )

    def patches_of_frame(self, tokens: int) -> int:
        """Patches of a frame."""
        return self.frame_patches or tokens * self.merged


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model's language model and vision tower."""

    layers: int  # number of language model layers
    hidden: int  # hidden size
    mlp: int  # intermediate size of the widest MLP
    kv: int  # numbers in the keys and values of one token, summed over all layers
    vocabulary: int  # vocabulary size
    context: int | None  # context length in tokens; None if unknown
    vision: VisionSizes  # sizes of the vision tower

    @property
    def weights(self) -> int:
        """Weights of the language model that a token is multiplied by, its MLPs gated."""
        layer = 2 * self.hidden**2 + 3 * self.hidden * self.mlp
        return self.layers * layer + self.hidden * (self.kv + self.vocabulary)

    @classmethod
    def of(cls, config: Any) -> Sizes:
        """Read the sizes from a configuration."""
        text = config.get_text_config()
        layers, hidden = text.num_hidden_layers, text.hidden_size
        # Layers of Gemma 4 differ; its configuration raises an error if a single value is read.
        each = [*text.per_layer_config] if text.is_heterogeneous else [text] * layers
        heads = [_kv_heads(one) for one in each]
        return cls(
            layers=layers,
            hidden=hidden,
            mlp=max(_first(one, "intermediate_size", default=4 * hidden) for one in each),
            kv=sum(2 * number * width for number, width in heads),
            vocabulary=text.vocab_size,
            context=getattr(text, "max_position_embeddings", None),
            vision=VisionSizes.of(getattr(config, "vision_config", None)),
        )


def _kv_heads(layer: Any) -> tuple[int, int]:
    """Number of key and value heads of a layer, and the head size."""
    heads = layer.num_attention_heads
    return (
        _first(layer, "num_key_value_heads", default=heads),
        _first(layer, "head_dim", default=layer.hidden_size // heads),
    )


def _sides(side: int | Sequence[int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else (side[0], side[1])


def _first(config: Any, *names: str, default: Any) -> Any:
    """Value of the first of these attributes that a configuration has."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if value is not None), default)
