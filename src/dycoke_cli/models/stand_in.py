"""A processor for models with random weights: stock but for its tokenizer, which stands in.

The true vocabulary isn't in the package. A token of the stand-in is a byte, so a question is about
four times as long as it would be; special tokens have their true ids.
"""

from __future__ import annotations

from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from dycoke_cli.models.catalog import Published


def stand_in_processor(model: Published, vocabulary: int) -> Any:
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
        tokenizer=stand_in_tokenizer(described["tokenizer"], vocabulary),
        chat_template="".join(described["chat_template"]),
    )


def stand_in_tokenizer(described: dict[str, Any], vocabulary: int) -> Any:
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


def _part(described: dict[str, Any]) -> Any:
    settings = {name: value for name, value in described.items() if name != "class"}
    return getattr(transformers, described["class"])(**settings)
