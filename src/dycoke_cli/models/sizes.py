"""The sizes in a model's configuration, read from its file as plain JSON: nothing is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dycoke_cli.models.families import CHECKPOINT_KEY

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


def own_method_defaults(folder: Path) -> Any:
    """What the `config.json` in a folder says that suits its checkpoint; None where silent."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get(CHECKPOINT_KEY)
    except (OSError, ValueError, AttributeError):
        return None


def configured_sizes(folder: Path) -> dict[str, Any] | None:
    """What the `config.json` in a folder says of a model's size; None where it can't be read.

    Returns:
        `family`, `dtype`, and the sizes of `text` and `vision`; only what the file has, for its
        other values are defaults of the stock class.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text, vision = config.get("text_config") or config, config.get("vision_config") or {}
        stored = config.get("dtype", config.get("torch_dtype", text.get("dtype")))
        return {
            "family": config.get("model_type"),
            "dtype": stored or text.get("torch_dtype"),
            "text": {name: text[name] for name in _OF_TEXT if name in text},
            "vision": {name: vision[name] for name in _OF_VISION if name in vision},
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return None
