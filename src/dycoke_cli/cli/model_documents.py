"""What is known of models, as objects for `--json` and for the tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from dycoke_cli import __version__
from dycoke_cli.models import settings
from dycoke_cli.models.catalog import (
    BUNDLED_CHECKPOINT,
    CATALOG,
    STATES,
    Entry,
    configured_sizes,
    own_method_defaults,
)
from dycoke_cli.models.families import FAMILIES, METHOD_DEFAULTS, defaults_of
from dycoke_cli.models.hub import CachedModel, cached_models
from dycoke_cli.models.memory import Machine, this_machine
from dycoke_cli.models.resolve import ModelRef
from dycoke_cli.models.weight_files import missing_parts

SCHEMA = "dycoke.models/1"


def all_models() -> dict[str, Any]:
    """The catalog, what this machine holds of it, and what would fit."""
    machine, cached = this_machine(), cached_models()
    models = [_of_entry(entry, machine, cached) for entry in CATALOG.values()]
    return _document(machine, models)


def one_model(source: ModelRef) -> dict[str, Any]:
    """Everything that is known of one model.

    Args:
        source: of the catalog, a folder, or a hub id.
    """
    machine, cached = this_machine(), cached_models()
    if source.entry is not None:
        model = _of_entry(source.entry, machine, cached)
    else:
        model = {name.name: None for name in dataclasses.fields(Entry)}
        model |= {"name": source.name, "repo": None if source.local else source.location}
        model |= {"fits": None, "on_disk": _on_disk(cached.get(source.location))}
        if source.local:
            model["on_disk"] = _folder(Path(source.location))
    model["configuration"] = _configuration(model)
    if source.entry is None:
        model |= _method_defaults(model)
    return _document(machine, [model])


def default_name() -> str:
    """The model that answers where none is named."""
    return settings.default_model() or settings.BUNDLED


def _document(machine: Machine, models: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": __version__,
        "default": default_name(),
        "machine": {"ram_bytes": machine.ram_bytes, "gpu_bytes": list(machine.gpu_bytes)},
        "states": STATES,
        "models": models,
    }


def _of_entry(entry: Entry, machine: Machine, cached: dict[str, CachedModel]) -> dict[str, Any]:
    on_disk = (
        _folder(BUNDLED_CHECKPOINT) if entry.repo is None else _on_disk(cached.get(entry.repo))
    )
    model = dataclasses.asdict(entry) | {"fits": machine.holds(entry), "on_disk": on_disk}
    return model | _method_defaults(model)


def _configuration(model: dict[str, Any]) -> dict[str, Any] | None:
    folder = _any_folder(model)
    return None if folder is None else configured_sizes(folder)


def _method_defaults(model: dict[str, Any]) -> dict[str, Any]:
    """`METHOD_DEFAULTS`; None of a model of which nothing is known."""
    folder, configuration = _any_folder(model), _configuration(model) or {}
    family = FAMILIES.get(model["family"] or configuration.get("family", ""))
    if family is None:
        return dict.fromkeys(METHOD_DEFAULTS)
    own = None if folder is None else own_method_defaults(folder)
    return defaults_of(family, own, configuration.get("text", {}).get("num_hidden_layers"))


def _any_folder(model: dict[str, Any]) -> Path | None:
    """Where its files are, in its newest revision."""
    on_disk = model["on_disk"]
    return None if on_disk is None else Path(on_disk["revisions"][0]["folder"])


def _on_disk(cached: CachedModel | None) -> dict[str, Any] | None:
    if cached is None:
        return None
    return {
        "bytes": cached.bytes,
        "complete": cached.complete,
        "revisions": [
            {
                "commit": revision.commit,
                "names": list(revision.names),
                "folder": str(revision.folder),
                "complete": revision.complete,
            }
            for revision in cached.revisions
        ],
    }


def _folder(folder: Path) -> dict[str, Any]:
    """The same of a folder that isn't the hub client's."""
    complete = not missing_parts(folder)
    return {
        "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        "complete": complete,
        "revisions": [
            {"commit": None, "names": [], "folder": str(folder), "complete": complete},
        ],
    }
