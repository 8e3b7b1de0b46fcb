"""`--random-weights`: published configurations with random weights, to measure speed and memory.

Nothing is downloaded. The package doesn't contain the vocabularies, so a byte tokenizer replaces
the model's: one token per byte makes questions about four times as long. Special tokens have their
published ids.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from dycoke_cli.models.catalog import Published, published
from dycoke_cli.models.resolve import ResolvedModel
from dycoke_cli.stock.model_class import auto_class
from dycoke_cli.stock.private_api import without_initialisation

MEANINGLESS = "the weights are random, so the answer means nothing; only speed and memory are real"

WEIGHT_STD = 0.02
"""Standard deviation of the weights: `initializer_range` of most families."""

# Random numbers that are repeated to fill all matrices. The length is prime, so rows of a matrix
# begin at different places in it and no two rows are equal.
_BLOCK = 1_000_003


def with_random_weights(resolved: ResolvedModel) -> tuple[Any, Any]:
    """Build a published model with random weights, and a processor for it."""
    model = random_model(resolved.config, resolved.device, resolved.dtype)
    vocabulary = resolved.config.get_text_config().vocab_size
    return model, byte_processor(published(resolved.name), vocabulary)


def random_model(config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Build the stock model of a configuration in place, without memory beyond its weights.

    The weights are the same each time. The model has no end token, so every answer has the
    requested length.
    """
    with torch.device(device), without_initialisation():
        model = auto_class(config).from_config(config, dtype=dtype)
    model.tie_weights()  # normally part of the initialisation, which is skipped here
    _fill(model)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.eval()


def byte_processor(model: Published, vocabulary: int) -> Any:
    """Build the stock processor of a model, with its published settings and a byte tokenizer."""
    described = model.processor
    parts = {name: _part(described[name]) for name in ("image_processor", "video_processor")}
    return getattr(transformers, described["class"])(
        **parts,
        **described["settings"],
        tokenizer=byte_tokenizer(described["tokenizer"], vocabulary),
        chat_template="".join(described["chat_template"]),
    )


def byte_tokenizer(described: dict[str, Any], vocabulary: int) -> Any:
    """Build a stock tokenizer of bytes and special tokens, with a placeholder for each other id."""
    special: dict[str, int] = described["special"]
    ids = dict(special)
    taken = set(special.values())
    free = (number for number in range(vocabulary) if number not in taken)
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        ids[byte] = next(free)
    ids |= {f"<unused{number}>": number for number in free}
    core = Tokenizer(models.BPE(vocab=ids, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(special))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=described["pad"],
        padding_side="left",
        extra_special_tokens=described["named"],
    )


@torch.no_grad()
def _fill(model: Any) -> None:
    """Set matrices to normal numbers, norms to 1 and biases to 0.

    Sampling billions of numbers takes minutes, so one block of them is repeated.
    """
    parameters = dict(model.named_parameters())
    first = next(iter(parameters.values()))
    generator = torch.Generator().manual_seed(0)
    block = torch.empty(_BLOCK).normal_(0, WEIGHT_STD, generator=generator).to(first)
    used = 0
    for name, parameter in parameters.items():
        if parameter.dim() == 1 and name.endswith("bias"):
            parameter.zero_()
        elif parameter.dim() == 1 and name.endswith("weight"):
            parameter.fill_(1)
        else:
            used = _tile(parameter.view(-1), block, used)


def _tile(numbers: torch.Tensor, block: torch.Tensor, used: int) -> int:
    """Fill `numbers` from the block, which repeats.

    Args:
        numbers: `[n]`, filled in place.
        block: `[b]`.
        used: offset in the block of the first number to use.

    Returns:
        Offset in the block for the next matrix.
    """
    done = 0
    while done < len(numbers):
        part = block[used : used + len(numbers) - done]
        numbers[done : done + len(part)].copy_(part)
        done += len(part)
        used = (used + len(part)) % len(block)
    return used


def _part(described: dict[str, Any]) -> Any:
    settings = {name: value for name, value in described.items() if name != "class"}
    return getattr(transformers, described["class"])(**settings)
