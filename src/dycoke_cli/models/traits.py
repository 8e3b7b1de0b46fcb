"""Traits of a model for which a compression method is settled, whether it is loaded or not."""

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


@dataclass(frozen=True)
class ModelTraits:
    """Traits for which a method is settled: for two models with equal ones it is the same."""

    model_type: str  # of its configuration
    family: Family  # its layout; `UNLISTED` where that is found only when the model is loaded
    defaults: Mapping[str, Any]  # parameters of methods that suit it
    layers: int | None  # of its language model; None where its stored configuration doesn't say
    name: str = field(default="this model", compare=False)  # of the model, for errors
    # layers of its vision tower; None where the tower or the stock configuration isn't known
    tower_depth: int | None = field(default=None, compare=False)

    @property
    def listed(self) -> bool:
        """Whether the layout is known, so that a method can be settled."""
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

        Without a default of positions, which a method that is settled for these therefore lacks.
        """
        others = {name: value for name, value in self.defaults.items() if name != "positions"}
        return replace(self, defaults=others)


def traits_of(
    config: Any,
    name: str = "this model",
    family: Family | None = None,
) -> ModelTraits:
    """The traits of a model with a stock configuration.

    Args:
        family: its layout; None for that of its configuration.
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
    )
