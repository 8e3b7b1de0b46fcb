"""Structure of vision towers that can encode part of a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Tower:
    """Vision tower with frames along the batch axis, which can encode part of a frame.

    Each patch is one token in all layers, and position embeddings are added before the first one.
    """

    name: str  # submodule of the tower in `model.model`
    layers: str  # submodule of its transformer layers in the tower
    # called with `model.model` and one row per token of the tower's layers, `[1, P, D]`; returns,
    # for each of the N visual tokens of a frame, the sum or the mean of the rows it is pooled from:
    # `[1, N, D]`
    pooled: Callable[[Any, torch.Tensor], torch.Tensor]

    def pooling(self, model: Any, patches: int, device: torch.device) -> torch.Tensor:
        """Pooling matrix `[N, P]`, float32: weight of each patch in each visual token of a frame.

        Pooling is linear, so applying the model's own to the identity matrix yields its weights,
        and no family needs them written down.
        """
        import torch

        return self.pooled(model.model, torch.eye(patches, device=device)[None])[0]

    def last_used(self, model: Any) -> torch.nn.Module:
        """Last transformer layer whose output reaches the language model."""
        return self.transformer_layers(model)[self.depth(model.config) - 1]

    def transformer_layers(self, model: Any) -> Any:
        """Transformer layers of the tower."""
        return model.model.get_submodule(self.name).get_submodule(self.layers)

    def depth(self, config: Any) -> int:
        """Number of transformer layers up to and including `last_used`."""
        layers = config.vision_config.num_hidden_layers
        used = getattr(config, "vision_feature_layer", -1)
        # `vision_feature_layer` indexes the hidden states, of which there is one more than layers:
        # state 0 is the input of layer 0, state i the output of layer i - 1. So -2 of 12 layers is
        # state 11, and 11 layers are used.
        states = [used] if isinstance(used, int) else used
        return max(state % (layers + 1) for state in states)


def in_reading_order(config: Any, rows: int, columns: int) -> torch.Tensor:
    """Visual tokens `[N]`, int64, of a frame in row-major order."""
    import torch

    return torch.arange(rows * columns)


@dataclass(frozen=True)
class PackedTower:
    """Vision tower with the patches of all frames in one sequence, which can encode part of it.

    The patches of a visual token are contiguous, and no other patch contributes to it. Rotary
    position embeddings and sequence lengths (`cu_seqlens`) are arguments of each layer, so they can
    be cut together with the patches.
    """

    name: str  # submodule of the tower in `model.model`
    layers: str  # submodule of its transformer layers in the tower
    # submodules, or lists of them, that process layer outputs per patch or per token. Code after
    # them expects whole frames.
    outputs: tuple[str, ...]
    # called with the configuration of the tower and the rows and columns of visual tokens of a
    # frame; returns `[N]`, int64: the tokens in the order in which layers process them
    order: Callable[[Any, int, int], torch.Tensor] = in_reading_order
