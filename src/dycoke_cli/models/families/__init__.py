"""Model families: layouts (listed in `table.py`, or discovered), and a model's method defaults."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.families.family import UNLISTED as UNLISTED
from dycoke_cli.models.families.family import Family as Family
from dycoke_cli.models.families.layout import Layout as Layout
from dycoke_cli.models.families.layout import PackedTower as PackedTower
from dycoke_cli.models.families.layout import Tower as Tower
from dycoke_cli.models.families.table import FAMILIES as FAMILIES

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


@dataclass(frozen=True)
class ModelInfo:
    """What a model's configuration says: for two models with equal ones a method is the same."""

    model_type: str
    family: Family  # its layout; `UNLISTED` where that is found only when the model is loaded
    defaults: Mapping[str, Any]  # parameters of methods that suit it
    layers: int | None  # of its language model; None where its stored configuration doesn't say
    name: str = field(default="this model", compare=False)  # of the model, for errors
    domain: str | None = None  # the only one it knows, as its checkpoint declares; None of others
    dtype: str | None = field(default=None, compare=False)  # of its stored weights, likewise
    context: int | None = field(default=None, compare=False)  # of its language model, in tokens
    # content of its config.json, and the folder of that; nothing of a stock configuration
    values: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls,
        config: Any,
        name: str = "this model",
        family: Family | None = None,
        folder: Path | None = None,
    ) -> ModelInfo:
        """Read a configuration.

        Args:
            config: stock configuration, or the content of a config.json, which lacks what the stock
                class has defaults for.
            family: its layout; None for that of its `model_type`, or that found when it was loaded.

        Raises:
            ModelError: its own defaults of methods are invalid.
        """
        stored = isinstance(config, Mapping)
        text = (config.get("text_config") or config) if stored else config.get_text_config()
        kind = str(_value(config, "model_type"))
        if family is None:
            family = FAMILIES.get(kind, UNLISTED) if stored else family_of(config)
        layers, own = _value(text, "num_hidden_layers"), _value(config, CHECKPOINT_KEY)
        layers = layers if isinstance(layers, int) else None
        names = ("dtype", "torch_dtype") if stored else ("dtype",)  # the second one in older files
        dtypes = (_value(part, name) for part in (config, text) for name in names)
        dtype = next((one for one in dtypes if one is not None), None)
        return cls(
            kind,
            family,
            defaults_of(family, own, layers),
            layers,
            name,
            domain=None if own is None else own.get(DOMAIN),
            dtype=None if isinstance(dtype, Mapping | None) else str(dtype).removeprefix("torch."),
            context=_value(text, "max_position_embeddings"),
            values=config if stored else {},
            folder=folder,
        )

    @property
    def listed(self) -> bool:
        """Whether the layout is known, so that a method can be settled."""
        return self.family is not UNLISTED

    @property
    def in_windows(self) -> ModelInfo:
        """The same for a video of several windows, whose tokens form a pool.

        Its positions are the family's default, contiguous where positions count tokens, whatever
        the checkpoint asks for: gaps of an hour are longer than any that it was trained with
        (docs/long-video.md has the measurement). Positions in time, height and width stay: they
        are places of the video, which have no contiguous numbering.
        """
        return replace(self, defaults={**self.defaults, "positions": self.family.positions})

    @property
    def before_windows(self) -> ModelInfo:
        """The same for videos of unknown lengths: `in_windows` or not, each decides by its own.

        Without a default of positions, which a method that is settled for these therefore lacks.
        """
        others = {name: value for name, value in self.defaults.items() if name != "positions"}
        return replace(self, defaults=others)


def _value(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def defaults_of(family: Family, own: Any = None, layers: int | None = None) -> dict[str, Any]:
    """Defaults of method parameters, with those of its checkpoint, if it has any.

    Args:
        own: content of `CHECKPOINT_KEY` in its configuration, or None.
        layers: number of language model layers; None if unknown.
    """
    # The paper's layer doesn't exist in a model with fewer layers; its last one stands in.
    layer = PRUNE_LAYER if layers is None else min(PRUNE_LAYER, layers - 1)
    defaults: dict[str, Any] = {"prune_layer": layer, "positions": family.positions}
    if own is None:
        return defaults
    known = isinstance(own, dict) and own.keys() <= {*defaults, DOMAIN}
    given = own if known else {"prune_layer": None}
    merged = defaults | {name: value for name, value in given.items() if name != DOMAIN}
    layer = merged["prune_layer"]
    allowed = ("kept", "renumbered") if family.counts_tokens else ("kept",)
    if (
        type(layer) is not int
        or not 1 <= layer < (layers or layer + 1)
        or merged["positions"] not in allowed
        or not isinstance(given.get(DOMAIN, ""), str)
    ):
        last = "" if layers is None else f" to {layers - 1}"
        raise ModelError(
            f"{CHECKPOINT_KEY!r} in the model's config.json may have prune_layer (1{last}), "
            f"positions ({' or '.join(allowed)}) and {DOMAIN} (a text), not {own!r}"
        )
    return merged
