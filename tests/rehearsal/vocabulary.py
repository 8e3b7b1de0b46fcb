"""Tokenizers of the rehearsed models: as published, of a small vocabulary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer
from tokenizers.trainers import BpeTrainer

# How Qwen2 splits text into words.
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by their ids, and which of them are merged."""

    ids: dict[str, int]  # of all tokens but the special ones behind them
    merges: list[tuple[str, str]]  # in their order


def trained(texts: Iterable[str], size: int, first: Sequence[str], qwen: bool) -> Vocabulary:
    """A vocabulary of exactly that size.

    Args:
        qwen: words are split as by Qwen2; else as by SmolLM2.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = _words(qwen)
    alphabet = sorted(ByteLevel.alphabet())
    core.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=size,
            special_tokens=list(first),
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    model = json.loads(core.to_str())["model"]
    ids, merges = model["vocab"], [(left, right) for left, right in model["merges"]]
    if len(ids) != size:
        raise ValueError(f"{len(ids)} tokens were learned, not {size}: more text is needed")
    return Vocabulary(ids, merges)


def tokenizer_of(vocabulary: Vocabulary, special: dict[str, int], qwen: bool) -> Tokenizer:
    """The tokenizer, as its tokenizer.json stores it."""
    core = Tokenizer(models.BPE(vocab=vocabulary.ids, merges=vocabulary.merges))
    core.normalizer = normalizers.NFC() if qwen else None
    core.pre_tokenizer = _words(qwen)
    core.decoder = decoders.ByteLevel()
    in_order = sorted(special, key=lambda token: special[token])
    core.add_special_tokens([AddedToken(token, normalized=False) for token in in_order])
    assert all(core.token_to_id(token) == number for token, number in special.items())
    return core


def files_of(vocabulary: Vocabulary) -> dict[str, bytes]:
    """The older files that Qwen publishes beside tokenizer.json."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in vocabulary.merges), ""]
    ids = json.dumps(vocabulary.ids, ensure_ascii=False)
    return {"vocab.json": ids.encode(), "merges.txt": "\n".join(lines).encode()}


def added_tokens(special: dict[str, int]) -> dict[str, Any]:
    """`added_tokens_decoder` of a tokenizer_config.json."""
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        str(number): {"content": token, **flags, "special": True}
        for token, number in special.items()
    }


def _words(qwen: bool) -> PreTokenizer:
    if qwen:
        split = pre_tokenizers.Split(Regex(_QWEN_WORDS), behavior="isolated")
        return pre_tokenizers.Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, ByteLevel(add_prefix_space=False, use_regex=True)])
