"""Vision towers that can encode part of a frame, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Tower:
    """A vision tower with frames along an axis of their own, which can encode part of a frame.

    Each patch is one token to all its layers, and has its position before the first of them.

    Args:
        name: of the tower in `model.model`.
        layers: of its transformer layers, by their name in the tower.
        pooled: called with `model.model` and one row per token of the tower's layers, `[1, P, D]`;
            returns, for each of the N visual tokens of a frame, the sum or the mean of the rows it
            is pooled from: `[1, N, D]`.
    """

    name: str
    layers: str
    pooled: Callable[[Any, torch.Tensor], torch.Tensor]

    def pooling(self, model: Any, patches: int, device: torch.device) -> torch.Tensor:
        """`[N, P]`, float32: how much of each of P patches is in each visual token of a frame."""
        import torch

        return self.pooled(model.model, torch.eye(patches, device=device)[None])[0]

    def last_used(self, model: Any) -> torch.nn.Module:
        """The last transformer layer whose output reaches the language model."""
        return self.transformer_layers(model)[self.depth(model.config) - 1]

    def transformer_layers(self, model: Any) -> Any:
        """All of its transformer layers."""
        return model.model.get_submodule(self.name).get_submodule(self.layers)

    def depth(self, config: Any) -> int:
        """How many of its transformer layers there are up to `last_used`.

        Args:
            config: of the whole model.
        """
        layers = config.vision_config.num_hidden_layers
        used = getattr(config, "vision_feature_layer", -1)
        # Of the states that towers hand out, the first is what goes into layer 0.
        states = [used] if isinstance(used, int) else used
        return max(state % (layers + 1) for state in states)


def in_reading_order(config: Any, rows: int, columns: int) -> torch.Tensor:
    """The visual tokens `[N]`, int64, of a frame of so many rows and columns, one after another."""
    import torch

    return torch.arange(rows * columns)


@dataclass(frozen=True)
class PackedTower:
    """A vision tower that has the patches of all frames in one sequence, and can encode part of it.

    The patches of a visual token follow each other, and a token is made of no others. What belongs
    to a patch (its position, which turns queries and keys) and which patches attend to each other
    are arguments of each layer, so they can be cut along with the patches.

    Args:
        name: of the tower in `model.model`.
        layers: of its transformer layers, by their name in the tower.
        outputs: modules of the tower, or lists of them, that work patch by patch, or token by
            token, on what layers put out; code behind them counts on whole frames.
        order: called with the configuration of the tower and the rows and columns of visual tokens
            of a frame; returns `[N]`, int64: the tokens in the order in which layers have them.
    """

    name: str
    layers: str
    outputs: tuple[str, ...]
    order: Callable[[Any, int, int], torch.Tensor] = in_reading_order
