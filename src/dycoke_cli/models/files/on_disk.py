"""A model's stored configuration, read without torch.

A folder and the hub client's cache are looked into; for a published model that isn't here there is
its configuration in the package. Nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycoke_cli.models.catalog import published, published_names
from dycoke_cli.models.families import CHECKPOINT_KEY, DOMAIN, FAMILIES, Family, defaults_of
from dycoke_cli.models.files.small_files import (
    CONFIG,
    UnreadableError,
    check_settings,
    read_json,
)
from dycoke_cli.models.files.weight_files import loaded_files
from dycoke_cli.models.resolve import ModelRef

# The sizes in a configuration that are told of a model.
_OF_TEXT = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
_OF_VISION = (
    "hidden_size",
    "embed_dim",
    "num_hidden_layers",
    "depth",
    "num_attention_heads",
    "num_heads",
    "intermediate_size",
    "image_size",
    "patch_size",
)


@dataclass(frozen=True)
class StoredConfig:
    """A `config.json` as it is; absent values are defaults of the stock class.

    Args:
        values: of the file.
        folder: where it is; None where it is the package's copy.
    """

    values: dict[str, Any]
    folder: Path | None = None

    @property
    def family(self) -> Family | None:
        """The model's family, where it is supported."""
        return FAMILIES.get(str(self.values.get("model_type")))

    @property
    def text(self) -> dict[str, Any]:
        """Of the language model."""
        return self.values.get("text_config") or self.values

    @property
    def vision(self) -> dict[str, Any]:
        """Of the vision tower; empty where there is none."""
        return self.values.get("vision_config") or {}

    @property
    def dtype(self) -> str | None:
        """Of the stored weights."""
        for values in (self.values, self.text):
            for name in ("dtype", "torch_dtype"):
                if isinstance(values.get(name), str):
                    return values[name]
        return None

    @property
    def layers(self) -> int | None:
        """Of the language model."""
        layers = self.text.get("num_hidden_layers")
        return layers if isinstance(layers, int) else None

    @property
    def method_defaults(self) -> dict[str, Any] | None:
        """As of `families.method_defaults`; None of a family that isn't supported.

        Raises:
            ModelError: what the checkpoint says of itself doesn't fit it.
        """
        family = self.family
        if family is None:
            return None
        return defaults_of(family, self.values.get(CHECKPOINT_KEY), self.layers)

    @property
    def domain(self) -> str | None:
        """As of `families.domain`, of a configuration whose defaults were read."""
        return (self.values.get(CHECKPOINT_KEY) or {}).get(DOMAIN)

    @property
    def sizes(self) -> dict[str, Any]:
        """`family`, `dtype`, and the sizes of `text` and `vision`; only what the file has."""
        return {
            "family": self.values.get("model_type"),
            "dtype": self.dtype,
            "text": {name: self.text[name] for name in _OF_TEXT if name in self.text},
            "vision": {name: self.vision[name] for name in _OF_VISION if name in self.vision},
        }


def config_in(folder: Path) -> StoredConfig | None:
    """The configuration in a folder; None where it can't be read."""
    try:
        values = read_json(folder / CONFIG)
        check_settings(CONFIG, values)
    except UnreadableError:
        return None
    parts = [values.get(name) for name in ("text_config", "vision_config")]
    if any(part is not None and not isinstance(part, dict) for part in parts):
        return None
    return StoredConfig(values, folder)


def stored_config(source: ModelRef) -> StoredConfig | None:
    """The configuration of a model, from wherever it is on this machine; None where it isn't."""
    folder = folder_of(source)
    if folder is not None:
        return config_in(folder)
    if source.name in published_names():
        return StoredConfig(published(source.name).config)
    return None


def folder_of(source: ModelRef) -> Path | None:
    """Where the files of a model are on this machine; None where none are."""
    if source.local:
        return Path(source.location)
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(source.location, "config.json")
    return Path(path).parent if isinstance(path, str) else None


def is_here(source: ModelRef) -> bool:
    """Whether a model can be loaded without a download.

    Raises:
        ModelError: its configuration names weight files outside its folder.
    """
    folder = folder_of(source)
    if folder is None:
        return False
    files = loaded_files(folder)
    return bool(files) and all(path.exists() for path in files)
