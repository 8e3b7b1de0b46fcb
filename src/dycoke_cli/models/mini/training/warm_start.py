"""A run that begins with the weights of a checkpoint, also of a smaller model of the same kind."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from dycoke_cli.errors import ModelError

WORDS = ("embed_tokens.weight", "lm_head.weight")
TEXT_LAYERS = "language_model.layers."


def start_from(
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path,
) -> int:
    """Copies what a checkpoint has into a model with fresh weights.

    Words are matched by what they say. Of a text model with fewer layers, the lower two thirds
    become the lowest layers, the others the highest; those between stay fresh.

    Returns:
        How many parameters were copied.

    Raises:
        ModelError: it isn't a checkpoint of such a model.
    """
    try:
        return _copy(model, tokenizer, checkpoint)
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, SafetensorError) as error:
        raise ModelError(
            f"{checkpoint} can't be begun with: it is damaged, or no checkpoint of such a model; "
            "name one that `export` wrote (--begin)."
        ) from error


def _copy(
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path,
) -> int:
    if not checkpoint.is_dir():
        raise OSError("no folder")
    old = LlavaOnevisionForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    ids = PreTrainedTokenizerFast.from_pretrained(checkpoint).get_vocab()
    moved = layers(len(old.get_decoder().layers), len(model.get_decoder().layers))
    state, copied = model.state_dict(), 0
    for name, weight in old.state_dict().items():
        if name.endswith(WORDS):
            for word, i in tokenizer.get_vocab().items():
                if word in ids:
                    state[name][i] = weight[ids[word]]
                    copied += weight[0].numel()
            continue
        target = _renamed(name, moved)
        state[target] = weight
        copied += weight.numel()
    model.load_state_dict(state)
    return copied


def layers(old: int, new: int) -> list[int]:
    """Where each of the old layers goes among the new ones."""
    lower = -(-old * 2 // 3)
    return [i if i < lower else i + new - old for i in range(old)]


def _renamed(name: str, moved: list[int]) -> str:
    before, found, rest = name.partition(TEXT_LAYERS)
    if not found:
        return name
    number, dot, rest = rest.partition(".")
    return f"{before}{found}{moved[int(number)]}{dot}{rest}"
