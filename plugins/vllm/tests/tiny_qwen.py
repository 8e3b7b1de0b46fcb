"""Qwen-VL models that are tiny and random, with heads of a size that vLLM has kernels for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as tf

from tests.families.listed import LISTED

_TEXT = {
    "hidden_size": 256,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]}


def save(family: str, folder: Path) -> Any:
    """Write a model with its processor to a folder."""
    small, processor = LISTED[family]()
    config = small.config.to_dict()
    interleaved = {"mrope_interleaved": True} if "qwen3" in family else {}
    config["text_config"] |= _TEXT | {"rope_parameters": _ROPE | interleaved}
    config["text_config"].pop("layer_types", None)
    config["vision_config"]["out_hidden_size"] = _TEXT["hidden_size"]
    # Larger weights than usual: each token of a video then changes what is generated.
    config["text_config"]["initializer_range"] = config["vision_config"]["initializer_range"] = 0.2
    torch.manual_seed(5)
    model = type(small)(type(small.config).from_dict(config))
    assert isinstance(model, tf.PreTrainedModel)
    model.save_pretrained(folder)
    # As published: vLLM normalizes the frames of videos as it does pictures.
    for name in ("image_mean", "image_std"):
        setattr(processor.image_processor, name, getattr(processor.video_processor, name))
    processor.save_pretrained(folder)
    return processor
