"""Model families: layouts (listed in `table.py`, or discovered) and defaults of methods."""

from __future__ import annotations

import weakref
from typing import Any

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.families.family import UNLISTED, Discovered, Family
from dycoke_cli.models.families.layout import Layout, PackedTower, Tower
from dycoke_cli.models.families.table import FAMILIES

PRUNE_LAYER = 3
"""L, the paper's (section 4.1)."""

METHOD_DEFAULTS = ("prune_layer", "positions")
"""Method parameters whose default depends on the model."""

CHECKPOINT_KEY = "dycoke"
"""Key of a config.json with the checkpoint's own method defaults and its `DOMAIN`."""

DOMAIN = "domain"
"""Key under `CHECKPOINT_KEY`: the only domain the checkpoint knows, such as "moving shapes"."""

_discovered: dict[int, Family] = {}
"""Families outside the table, by `id` of the configuration."""


def remember(config: Any, family: Family) -> None:
    """Register a discovered family for a configuration, for as long as that object lives.

    The stock model keeps its configuration, and code that has only the model must find the family.
    Configurations can't be dictionary keys, so their `id` is; it is freed with the object, because
    Python may give the same `id` to a later one.
    """
    if id(config) not in _discovered:
        weakref.finalize(config, _discovered.pop, id(config), None)
    _discovered[id(config)] = family


def family_of(config: Any) -> Family:
    """Family of a model's configuration: listed, or discovered when the model was loaded."""
    family = FAMILIES.get(config.model_type) or _discovered.get(id(config))
    if family is None:
        raise UsageError(
            f"models of the family {config.model_type!r} have no layout yet; "
            "`dycoke models` lists models that have one"
        )
    return family


def method_defaults(config: Any) -> dict[str, Any]:
    """Defaults of method parameters for a model."""
    layers = config.get_text_config().num_hidden_layers
    return defaults_of(family_of(config), getattr(config, CHECKPOINT_KEY, None), layers)


def domain(config: Any) -> str | None:
    """Domain that a checkpoint declares; None for a general model."""
    return (getattr(config, CHECKPOINT_KEY, None) or {}).get(DOMAIN)


def defaults_of(family: Family, own: Any = None, layers: int | None = None) -> dict[str, Any]:
    """Defaults of method parameters, without a loaded configuration; see `method_defaults`.

    Args:
        layers: number of language model layers; None if unknown.
    """
    # The paper's layer doesn't exist in a model with fewer layers; its last one stands in.
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
    "Discovered",
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
