"""Sizes of a model, read off its configuration, which has several names for some of them.

Importing this doesn't import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

_CHANNELS = 3


@dataclass(frozen=True)
class VisionSizes:
    """Sizes of a vision tower; 0 where the configuration doesn't have them.

    Args:
        layers: of its blocks.
        heads: of its attention.
        hidden: width of its hidden states.
        mlp: width of the middle of its MLPs.
        patch: numbers of pixels in a patch.
        frame_patches: of a frame; 0 where frames are of any size.
        merged: patches that become a visual token, where frames are of any size.
        stacked: more embeddings per visual token, added inside the language model (DeepStack).
    """

    layers: int
    heads: int
    hidden: int
    mlp: int
    patch: int
    frame_patches: int
    merged: int
    stacked: int = 0

    @classmethod
    def of(cls, config: Any) -> VisionSizes:
        """Those of a tower.

        Args:
            config: of the tower, or None.
        """
        # Qwen2-VL's "hidden_size" is that of its language model.
        hidden = _first(config, "embed_dim", "hidden_size", default=0)
        patch = _sides(_first(config, "patch_size", default=0))
        frame = _sides(_first(config, "image_size", default=0))
        side = _first(config, "spatial_merge_size", default=0)
        fixed = all(patch) and not side
        return cls(
            layers=_first(config, "num_hidden_layers", "depth", default=0),
            heads=_first(config, "num_attention_heads", "num_heads", default=0),
            hidden=hidden,
            mlp=_first(config, "intermediate_size", default=4 * hidden),
            patch=_CHANNELS * (prod(patch) or 14 * 14),
            frame_patches=prod(a // b for a, b in zip(frame, patch, strict=True)) if fixed else 0,
            merged=prod(_sides(side or 2)),
            stacked=len(_first(config, "deepstack_visual_indexes", default=())),
        )

    def patches_of_frame(self, tokens: int) -> int:
        """Patches that the tower makes of a frame.

        Args:
            tokens: visual tokens of a frame.
        """
        return self.frame_patches or tokens * self.merged


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model: of its language model, and of its vision tower.

    Args:
        layers: of the language model, like the next ones.
        hidden: width of hidden states.
        mlp: width of the middle of MLPs, of the widest.
        heads: of queries, in the first layer, like the next two.
        kv_heads: of keys and values.
        head_width: of each.
        kv: numbers in the keys and values of one token, in all layers.
        vocabulary: tokens it knows.
        context: positions that it was trained for; None where that isn't known.
        vision: of the vision tower.
    """

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    head_width: int
    kv: int
    vocabulary: int
    context: int | None
    vision: VisionSizes

    @classmethod
    def of(cls, config: Any) -> Sizes:
        """Those of a model.

        Args:
            config: stock, of the whole model.
        """
        text = config.get_text_config()
        layers, hidden = text.num_hidden_layers, text.hidden_size
        # Those of Gemma 4 differ, and their configuration raises where one value is asked for.
        each = [*text.per_layer_config] if text.is_heterogeneous else [text] * layers
        heads = [_kv_heads(one) for one in each]
        return cls(
            layers=layers,
            hidden=hidden,
            mlp=max(_first(one, "intermediate_size", default=4 * hidden) for one in each),
            heads=each[0].num_attention_heads,
            kv_heads=heads[0][0],
            head_width=heads[0][1],
            kv=sum(2 * number * width for number, width in heads),
            vocabulary=text.vocab_size,
            context=getattr(text, "max_position_embeddings", None),
            vision=VisionSizes.of(getattr(config, "vision_config", None)),
        )


def _kv_heads(layer: Any) -> tuple[int, int]:
    """How many heads of keys and values a layer has, and the width of each."""
    heads = layer.num_attention_heads
    return (
        _first(layer, "num_key_value_heads", default=heads),
        _first(layer, "head_dim", default=layer.hidden_size // heads),
    )


def _sides(side: int | Sequence[int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else (side[0], side[1])


def _first(config: Any, *names: str, default: Any) -> Any:
    """The first of these attributes that a configuration has."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if value is not None), default)
