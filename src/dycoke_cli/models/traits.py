"""Traits of a model that a compression method is bound by, whether the model is loaded or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dycoke_cli.models.families import (
    CHECKPOINT_KEY,
    UNLISTED,
    Family,
    defaults_of,
    family_of,
)
from dycoke_cli.stock.sizes import Sizes


@dataclass(frozen=True)
class DecodeAttention:
    """The attention of a decoding step: its sizes, and what computes it.

    Args:
        layers: of the language model.
        heads: of queries.
        kv_heads: of keys and values.
        width: of a head.
        dtype: of keys and values, such as "bfloat16".
        device: such as "cpu" or "cuda:0".
        implementation: name in transformers' registry of attention functions.
        measuring: whether steps are timed: in a small model that takes longer than it can save.
    """

    layers: int
    heads: int
    kv_heads: int
    width: int
    dtype: str
    device: str
    implementation: str = "sdpa"
    measuring: bool = False

    @classmethod
    def of(cls, model: Any) -> DecodeAttention:
        """Read them from a stock model; its attention is known only once it is loaded."""
        # These import torch, which a stored configuration doesn't need.
        from dycoke_cli.kernels.choice import MIN_TIMED_WEIGHTS
        from dycoke_cli.stock.private_api import attention_implementation

        sizes, decoder = Sizes.of(model.config), model.get_decoder()
        is_large = 3 * sizes.layers * sizes.hidden * sizes.mlp >= MIN_TIMED_WEIGHTS
        stock = attention_implementation(decoder)
        return cls(
            layers=sizes.layers,
            heads=sizes.heads,
            kv_heads=sizes.kv_heads,
            width=sizes.head_width,
            dtype=str(model.dtype).removeprefix("torch."),
            device=str(decoder.device),
            # Eager attention isn't in the registry, except for that of a paged cache.
            implementation="paged|eager" if stock == "eager" else stock,
            measuring=is_large and decoder.device.type in ("cpu", "cuda"),
        )


@dataclass(frozen=True)
class ModelTraits:
    """Traits of a model that a method is bound by; two models with equal ones bind alike.

    Args:
        model_type: of its configuration.
        family: its layout; `UNLISTED` where that is found only when the model is loaded.
        defaults: parameters of methods that suit it.
        layers: of its language model; None where its stored configuration doesn't say.
        name: of the model, for errors.
        tower_depth: layers of its vision tower; None where the tower or the stock configuration
            isn't known.
        decode: attention of its decoding steps; None where its dtype and device aren't known yet.
    """

    model_type: str
    family: Family
    defaults: Mapping[str, Any]
    layers: int | None
    name: str = field(default="this model", compare=False)
    tower_depth: int | None = field(default=None, compare=False)
    decode: DecodeAttention | None = field(default=None, compare=False)

    @property
    def listed(self) -> bool:
        """Whether the layout is known, so that a method can be bound."""
        return self.family is not UNLISTED

    @property
    def in_windows(self) -> ModelTraits:
        """The traits for a video of several windows, whose tokens form a pool.

        Its positions are the family's default, contiguous where positions count tokens, whatever
        the checkpoint asks for: gaps of an hour are longer than any that it was trained with
        (docs/long-video.md has the measurement). Positions in time, height and width stay: they
        are places of the video, which have no contiguous numbering.
        """
        return replace(self, defaults={**self.defaults, "positions": self.family.positions})

    @property
    def before_windows(self) -> ModelTraits:
        """The traits for videos of unknown lengths: `in_windows` or not, each decides by its own.

        Without a default of positions, which a method that is bound by these therefore lacks.
        """
        others = {name: value for name, value in self.defaults.items() if name != "positions"}
        return replace(self, defaults=others)


def traits_of(
    config: Any,
    name: str = "this model",
    family: Family | None = None,
    decode: DecodeAttention | None = None,
) -> ModelTraits:
    """The traits of a model with a stock configuration.

    Args:
        config: of the whole model.
        name: of the model, for errors.
        family: its layout; None for that of its configuration.
        decode: attention of its decoding steps, once it is loaded.

    Raises:
        UsageError: a family without a layout.
        ModelError: what the checkpoint says of itself doesn't fit it.
    """
    family = family or family_of(config)
    layers = config.get_text_config().num_hidden_layers
    return ModelTraits(
        model_type=config.model_type,
        family=family,
        defaults=defaults_of(family, getattr(config, CHECKPOINT_KEY, None), layers),
        layers=layers,
        name=name,
        tower_depth=None if family.tower is None else family.tower.depth(config),
        decode=decode,
    )
