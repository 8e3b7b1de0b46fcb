"""A true configuration with random weights: for its speed and its memory, without a download."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from dycoke_cli.models.catalog import published
from dycoke_cli.models.private_api import without_initialisation
from dycoke_cli.models.resolve import ChosenModel
from dycoke_cli.models.stand_in import stand_in_processor

MEANINGLESS = "the weights are random, so the answer means nothing; only speed and memory are real"

SPREAD = 0.02
"""Standard deviation of the weights, that of most families."""

# A prime, so that no two rows of a matrix are the same.
_BLOCK = 1_000_003


def unlearned_model(chosen: ChosenModel) -> tuple[Any, Any]:
    """A model that never learned anything, and a processor that fits it.

    Args:
        chosen: whose source is a published configuration.
    """
    model = random_model(chosen.config, chosen.device, chosen.dtype)
    words = chosen.config.get_text_config().vocab_size
    return model, stand_in_processor(published(chosen.name), words)


def random_model(config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The stock model of a configuration, built in place: never more memory than its weights.

    The same numbers each time. It never ends an answer by itself, so that all have the length that
    was asked for.

    Args:
        config: of the model.
        device: where it is built.
        dtype: of its weights.
    """
    with torch.device(device), without_initialisation():
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    model.tie_weights()  # part of the initialisation that was left out
    _fill(model)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.eval()


@torch.no_grad()
def _fill(model: Any) -> None:
    """Normal numbers in matrices, norms 1, biases 0; a block repeats, for drawing is slow."""
    parameters = dict(model.named_parameters())
    first = next(iter(parameters.values()))
    generator = torch.Generator().manual_seed(0)
    block = torch.empty(_BLOCK).normal_(0, SPREAD, generator=generator).to(first)
    used = 0
    for name, parameter in parameters.items():
        if parameter.dim() == 1 and name.endswith("bias"):
            parameter.zero_()
        elif parameter.dim() == 1 and name.endswith("weight"):
            parameter.fill_(1)
        else:
            used = _tile(parameter.view(-1), block, used)


def _tile(numbers: torch.Tensor, block: torch.Tensor, used: int) -> int:
    """Go on through the block, over and over, until all `numbers` are written.

    Returns:
        How much of the block is used, for the next matrix.
    """
    done = 0
    while done < len(numbers):
        part = block[used : used + len(numbers) - done]
        numbers[done : done + len(part)].copy_(part)
        done += len(part)
        used = (used + len(part)) % len(block)
    return used
