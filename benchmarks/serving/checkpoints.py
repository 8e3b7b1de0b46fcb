"""Folders of models that vLLM serves: the bundled one, and published shapes without weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT, published
from dycoke_cli.models.load import byte_processor

BUNDLED = "mini"
ARCHITECTURE = "LlavaOnevisionForConditionalGeneration"
_TOWER = "vision_tower."


def export(folder: Path) -> Path:
    """The bundled checkpoint with weights named as in published ones, which vLLM reads."""
    shutil.copytree(BUNDLED_CHECKPOINT, folder)
    weights = load_file(BUNDLED_CHECKPOINT / "model.safetensors")
    renamed = {
        name.replace(_TOWER, f"{_TOWER}vision_model."): each for name, each in weights.items()
    }
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def shape_of(name: str, folder: Path) -> Path:
    """A published configuration, and a processor whose tokenizer knows bytes.

    Its weights are drawn by vLLM as it starts (`--load-format dummy`).
    """
    model = published(name)
    words = model.config["text_config"]["vocab_size"]
    byte_processor(model, words).save_pretrained(folder)
    config = model.config | {"architectures": [ARCHITECTURE]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def features_of(name: str, frames: int) -> tuple[int, int, int]:
    """Shape of the features that a method gets of a video: frames, tokens per frame, width."""
    mini = json.loads((BUNDLED_CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    config = mini if name == BUNDLED else published(name).config
    vision = config["vision_config"]
    side = -(-(vision["image_size"] // vision["patch_size"]) // 2)  # pooled, two by two
    return frames, side**2, config["text_config"]["hidden_size"]


def checkpoint(name: str, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Write a model's folder, and return it with the options with which it is served."""
    if name == BUNDLED:
        return export(folder), ()
    return shape_of(name, folder), ("--load-format", "dummy")
