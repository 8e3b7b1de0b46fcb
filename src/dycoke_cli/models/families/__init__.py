"""Model families: their layouts (`table.py` has them all) and their method defaults."""

from __future__ import annotations

import weakref
from typing import Any

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.families.family import UNLISTED, Family
from dycoke_cli.models.families.layout import Layout
from dycoke_cli.models.families.table import FAMILIES
from dycoke_cli.models.families.tower import PackedTower, Tower

PRUNE_LAYER = 3
"""L, the paper's (section 4.1)."""

METHOD_DEFAULTS = ("prune_layer", "positions")
"""Parameters of methods whose default a model has."""

CHECKPOINT_KEY = "dycoke"
"""Of a config.json: what is known of this checkpoint: parameters that suit it, and its `DOMAIN`."""

DOMAIN = "domain"
"""Under it: all that the checkpoint knows, such as "moving shapes"."""

_found: dict[int, Family] = {}
"""Layouts that the table doesn't have, by the identity of the configuration."""


def remember(config: Any, family: Family) -> None:
    """Take what was found of a model for its family, as long as its configuration lives."""
    if id(config) not in _found:
        weakref.finalize(config, _found.pop, id(config), None)
    _found[id(config)] = family


def family_of(config: Any) -> Family:
    """The family of a model's configuration: as listed, or as it was found when it was loaded.

    Raises:
        UsageError: a family without a layout.
    """
    family = FAMILIES.get(config.model_type) or _found.get(id(config))
    if family is None:
        raise UsageError(
            f"models of the family {config.model_type!r} have no layout yet "
            f"(there is one for {', '.join(FAMILIES)})"
        )
    return family


def method_defaults(config: Any) -> dict[str, Any]:
    """A model's defaults of method parameters.

    Args:
        config: of the whole model.

    Raises:
        ModelError: what the checkpoint says of itself doesn't fit it.
        UsageError: a family without a layout.
    """
    layers = config.get_text_config().num_hidden_layers
    return defaults_of(family_of(config), getattr(config, CHECKPOINT_KEY, None), layers)


def domain(config: Any) -> str | None:
    """The domain that a checkpoint declares; None of a general model.

    Args:
        config: of the whole model, which `method_defaults` has checked.
    """
    return (getattr(config, CHECKPOINT_KEY, None) or {}).get(DOMAIN)


def defaults_of(family: Family, own: Any = None, layers: int | None = None) -> dict[str, Any]:
    """The same, of what is known of a model whose configuration isn't loaded.

    Args:
        family: of the model.
        own: what its config.json has under `CHECKPOINT_KEY`; its parameters replace its family's.
        layers: of its language model, or None where that isn't known.

    Raises:
        ModelError: `own` isn't an object of parameters in their ranges, and a domain.
    """
    # A small model may have no layer of that number.
    layer = PRUNE_LAYER if layers is None else min(PRUNE_LAYER, layers - 1)
    defaults: dict[str, Any] = {"prune_layer": layer, "positions": family.positions}
    if own is None:
        return defaults
    where = f"{CHECKPOINT_KEY!r} in the model's config.json"
    if not isinstance(own, dict) or not own.keys() <= {*defaults, DOMAIN}:
        raise ModelError(f"{where} may have {', '.join(defaults)} and {DOMAIN}, and nothing else")
    if not isinstance(own.get(DOMAIN, ""), str):
        raise ModelError(f"{DOMAIN} under {where} must be a text, not {own[DOMAIN]!r}")
    merged = defaults | {name: value for name, value in own.items() if name != DOMAIN}
    layer, last = merged["prune_layer"], "" if layers is None else f" to {layers - 1}"
    if type(layer) is not int or not 1 <= layer < (layers or layer + 1):
        raise ModelError(f"prune_layer under {where} must be from 1{last}, not {layer!r}")
    allowed = ("kept", "renumbered") if family.counts_tokens else ("kept",)
    if merged["positions"] not in allowed:
        raise ModelError(
            f"positions under {where} must be {' or '.join(allowed)}, not {merged['positions']!r}"
        )
    return merged


__all__ = [
    "FAMILIES",
    "METHOD_DEFAULTS",
    "PRUNE_LAYER",
    "UNLISTED",
    "Family",
    "Layout",
    "PackedTower",
    "Tower",
    "defaults_of",
    "domain",
    "family_of",
    "method_defaults",
    "remember",
]
