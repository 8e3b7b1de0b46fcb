"""The checkpoint that all are given: Qwen3-VL's shape with random weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from dycoke_cli.models.catalog import published
from dycoke_cli.models.load import byte_processor, random_model

MODEL = "qwen3-vl-2b"
TEXT = {"hidden_size": 1024, "intermediate_size": 3072}
"""Of Qwen3 0.6B: with the vision tower of Qwen3-VL 2B that is 1 billion parameters."""


def configuration(layers: int | None = None) -> Any:
    """The stock configuration."""
    described = copy.deepcopy(published(MODEL).config)
    described["text_config"] |= TEXT
    described["vision_config"]["out_hidden_size"] = TEXT["hidden_size"]
    if layers is not None:
        described["text_config"]["num_hidden_layers"] = layers
        described["vision_config"] |= {"depth": layers, "deepstack_visual_indexes": [0]}
    return AutoConfig.for_model(**described)


def write_checkpoint(folder: Path, layers: int | None = None) -> None:
    """A folder that `from_pretrained` reads, float32."""
    config = configuration(layers)
    model = random_model(config, torch.device("cpu"), torch.float32)
    model.save_pretrained(folder)
    words = config.get_text_config().vocab_size
    byte_processor(published(MODEL), words).save_pretrained(folder)


def described(folder: Path) -> str:
    """The shape of a written checkpoint, which may be one for a trial."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text, vision = config["text_config"], config["vision_config"]
    return (
        f"Qwen3-VL's shape with random weights: {text['num_hidden_layers']} layers of "
        f"{text['hidden_size']:,}, a vision tower of {vision['depth']} of {vision['hidden_size']:,}"
    )
