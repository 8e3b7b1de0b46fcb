"""Traits of a model that a compression method is bound by, whether the model is loaded or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """Traits of a model that a method is bound by; two models with equal ones bind alike.

    Args:
        model_type: of its configuration.
        family: its layout; `UNLISTED` where that is found only when the model is loaded.
        defaults: parameters of methods that suit it.
        layers: of its language model; None where its stored configuration doesn't say.
        name: of the model, for errors.
        tower_depth: layers of its vision tower; None where the tower or the stock configuration
            isn't known.
    """

    model_type: str
    family: Family
    defaults: Mapping[str, Any]
    layers: int | None
    name: str = field(default="this model", compare=False)
    tower_depth: int | None = field(default=None, compare=False)

    @property
    def listed(self) -> bool:
        """Whether the layout is known, so that a method can be bound."""
        return self.family is not UNLISTED


def traits_of(config: Any, name: str = "this model", family: Family | None = None) -> ModelTraits:
    """The traits of a model with a stock configuration.

    Args:
        config: of the whole model.
        name: of the model, for errors.
        family: its layout; None for that of its configuration.

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
    )
