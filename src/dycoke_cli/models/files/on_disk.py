"""What a model's small files say, read without torch and downloads: its configuration.

The configuration is read from a folder, the hub client's cache, or the package's copy for a
published model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dycoke_cli.models.catalog import ModelRef, published, published_names
from dycoke_cli.models.devices import Target, weight_dtype
from dycoke_cli.models.families import ModelInfo
from dycoke_cli.models.files.hub import folder_of
from dycoke_cli.models.files.small_files import (
    CONFIG,
    UnreadableError,
    check_settings,
    is_complete,
    read_json,
)
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import download_bytes


def config_in(folder: Path, name: str = "this model") -> ModelInfo | None:
    """What the configuration in a folder says; None if it can't be read."""
    try:
        values = read_json(folder / CONFIG)
        check_settings(CONFIG, values)
    except UnreadableError:
        return None
    parts = [values.get(part) for part in ("text_config", "vision_config")]
    if any(part is not None and not isinstance(part, dict) for part in parts):
        return None
    return ModelInfo.of(values, name, folder=folder)


def stored_config(source: ModelRef) -> ModelInfo | None:
    """The same of a model in a folder, the cache or the package; None if it isn't there."""
    folder = folder_of(source)
    if folder is not None:
        return config_in(folder, source.name)
    if source.name in published_names():
        return ModelInfo.of(published(source.name).config, source.name)
    return None


def dtype_here(source: ModelRef, stored: ModelInfo, options: LoadOptions, target: Target) -> str:
    """Dtype that a model is loaded in; named "auto" if its configuration doesn't have one."""
    return weight_dtype(
        options,
        stored.dtype or "auto",
        partial(download_bytes, source, options.revision),
        quantized=stored.values.get("quantization_config") is not None,
        cpu=target.device == "cpu",
        free=target.free,
    )


def is_here(source: ModelRef) -> bool:
    """Whether a model can be loaded without a download."""
    folder = folder_of(source)
    return folder is not None and is_complete(folder)
