"""`--random-weights`: a published configuration without its weights, for its speed and memory.

Nothing is downloaded. The true vocabulary isn't in the package, so the tokenizer is a byte
tokenizer: a token is a byte, a question about four times as long as it would be; special tokens
have their true ids.
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

SPREAD = 0.02
"""Standard deviation of the weights, that of most families."""

# A prime, so that no two rows of a matrix are the same.
_BLOCK = 1_000_003


def with_random_weights(resolved: ResolvedModel) -> tuple[Any, Any]:
    """A published model with random weights, and a processor that fits it.

    Args:
        resolved: whose source is a published configuration.
    """
    model = random_model(resolved.config, resolved.device, resolved.dtype)
    words = resolved.config.get_text_config().vocab_size
    return model, byte_processor(published(resolved.name), words)


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
        model = auto_class(config).from_config(config, dtype=dtype)
    model.tie_weights()  # part of the initialisation that was left out
    _fill(model)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.eval()


def byte_processor(model: Published, vocabulary: int) -> Any:
    """The stock processor of a model's class, with the published settings.

    Args:
        model: as published.
        vocabulary: tokens that the model knows.
    """
    described = model.processor
    parts = {name: _part(described[name]) for name in ("image_processor", "video_processor")}
    return getattr(transformers, described["class"])(
        **parts,
        **described["settings"],
        tokenizer=byte_tokenizer(described["tokenizer"], vocabulary),
        chat_template="".join(described["chat_template"]),
    )


def byte_tokenizer(described: dict[str, Any], vocabulary: int) -> Any:
    """A stock tokenizer that knows bytes, the special tokens, and names for all other ids.

    Args:
        described: `special` tokens with their ids, `named` (attribute of the tokenizer: token), and
            the token that is the `pad`.
        vocabulary: how many tokens there are.
    """
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


def _part(described: dict[str, Any]) -> Any:
    settings = {name: value for name, value in described.items() if name != "class"}
    return getattr(transformers, described["class"])(**settings)
