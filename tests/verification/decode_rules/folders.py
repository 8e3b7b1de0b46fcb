"""Stored tiny models that are asked under decode rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.families.parts import tokenizer
from tests.families.tiny import make

CONTEXT_LENGTH = 512


def llama(**shape: Any) -> Any:
    """A tiny random Llama, of bytes."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **{
            "vocab_size": len(tokenizer()), "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
            "initializer_range": 0.3, "max_position_embeddings": CONTEXT_LENGTH,
        }
        | shape
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def text_folder(folder: Path, model: Any = None, template: str | None = None) -> Path:
    """A folder of a text decoder in bfloat16, with a tokenizer.

    Args:
        folder: where.
        model: in place of `llama()`.
        template: the tokenizer's chat template, if it has one.
    """
    (model or llama()).bfloat16().save_pretrained(folder)
    words = tokenizer()
    words.chat_template = template
    words.save_pretrained(folder)
    return folder


def video_folder(folder: Path) -> Path:
    """A folder of a tiny LLaVA-OneVision with its stock processor."""
    model, processor = make("llava_onevision", torch.float32)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
