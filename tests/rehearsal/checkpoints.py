"""The repositories that are rehearsed: their files as published, but for the numbers.

`published/NAME/` has the small files with the published values; templates are written anew and
behave as the published ones.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from dycoke_cli.models.catalog import CATALOG
from tests.hub import Content
from tests.rehearsal.vocabulary import Vocabulary, added_tokens, files_of, tokenizer_of, trained
from tests.rehearsal.weights import Tensor, WeightFile

PUBLISHED = Path(__file__).with_name("published")
STORED = (".safetensors", "tokenizer.json")
"""How the names of files end that lie in the hub's storage."""
README = b"---\nlicense: apache-2.0\n---\nWords about the model.\n"

_QWEN2_5 = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
    *("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>"),
    *("</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
)
_SMOL = (
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    *("<fake_token_around_image>", "<image>"),
    *(f"<|reserved_special_token_{number}|>" for number in range(88)),
    "<end_of_utterance>",
)


@dataclass(frozen=True)
class Recipe:
    """What isn't in the small files of a repository."""

    words: int  # tokens that aren't special, or stand before those
    special: tuple[str, ...]  # the tokens behind them
    first: tuple[str, ...] = ()  # special tokens among the `words`
    qwen: bool = True  # the vocabulary is Qwen's
    # beginnings of tensors' names in transformers, and as published
    renamed: Sequence[tuple[str, str]] = ()
    shards: int = 1  # weight files
    others: tuple[str, ...] = ("README.md", ".gitattributes")  # files that loading doesn't read
    few: dict[str, Any] | None = None  # of config.json, what makes a small model of it


_TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
_TOWER = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
_QWEN_TOWER = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
}  # fmt: skip
RECIPES = {
    "llava-onevision-0.5b": Recipe(
        151643,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
        renamed=(
            ("model.language_model.", "language_model.model."),
            ("model.vision_tower.", "vision_tower.vision_model."),
            ("model.", ""),
        ),
        others=("README.md", ".gitattributes", "onnx/model.onnx", "onnx/model.safetensors"),
        few={"text_config": _TEXT, "vision_config": _TOWER},
    ),
    "smolvlm2-500m": Recipe(
        49152,
        _SMOL,
        first=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        qwen=False,
        few={"text_config": {**_TEXT, "head_dim": 16}, "vision_config": _TOWER},
    ),
    "qwen2.5-vl-3b": Recipe(
        151643,
        _QWEN2_5,
        renamed=(("model.visual.", "visual."), ("model.language_model.", "model.")),
        shards=2,
        few={
            **_TEXT,
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
            "vision_config": {**_QWEN_TOWER, "fullatt_block_indexes": [1]},
        },
    ),
    "qwen3-vl-2b": Recipe(
        151643,
        (*_QWEN2_5, "<tool_response>", "</tool_response>", "<think>", "</think>"),
        few={
            "text_config": {
                **_TEXT,
                "head_dim": 16,
                "rope_scaling": {
                    "mrope_interleaved": True,
                    "mrope_section": [4, 2, 2],
                    "rope_type": "default",
                },
            },
            "vision_config": {**_QWEN_TOWER, "depth": 3, "deepstack_visual_indexes": [0, 1]},
        },
    ),
}

FEW_WORDS = 384
"""Tokens of a small model that aren't special."""


def files(name: str, vocabulary: Vocabulary, small: bool = False) -> dict[str, Content]:
    """All files of a repository."""
    recipe = RECIPES[name]
    folder = PUBLISHED / name
    documents = {
        str(path.relative_to(folder)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.json"))
    }
    begin = FEW_WORDS if small else recipe.words
    special = {token: begin + number for number, token in enumerate(recipe.special)}
    special |= {token: vocabulary.ids[token] for token in recipe.first}
    if small:
        rows = begin + len(recipe.special)
        documents = _renumbered(documents, recipe.words, rows)
        documents["config.json"] = _merged(documents["config.json"], recipe.few or {})
    config = documents["config.json"]
    documents["tokenizer_config.json"]["added_tokens_decoder"] = added_tokens(special)
    made: dict[str, Content] = dict.fromkeys(recipe.others, README)
    tokenizer = tokenizer_of(vocabulary, special, recipe.qwen)
    made["tokenizer.json"] = tokenizer.to_str(pretty=True).encode()
    if recipe.qwen:
        made |= files_of(vocabulary)
    for file, document in documents.items():
        made[file] = (json.dumps(document, indent=2) + "\n").encode()
    return made | _weight_files(config, recipe)


def few_words(name: str) -> Vocabulary:
    """The vocabulary of the small model of a repository."""
    recipe = RECIPES[name]
    return _few_words(recipe.first, recipe.qwen)


@cache
def _few_words(first: tuple[str, ...], qwen: bool) -> Vocabulary:
    text = Path(__file__).read_text(encoding="utf-8")
    return trained([text], FEW_WORDS, first, qwen)


def repository(name: str) -> str:
    """The hub id of a model of the catalog."""
    repo = CATALOG[name].repo
    assert repo is not None
    return repo


def parameters(config: dict[str, Any]) -> Iterable[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors that transformers stores for a configuration, without those
    that are tied to another."""
    given = copy.deepcopy(config)
    with torch.device("meta"):
        parsed = AutoConfig.for_model(**given)
        model = AutoModelForImageTextToText.from_config(parsed, dtype=torch.bfloat16)
    return [(name, tuple(value.shape)) for name, value in model.named_parameters()]


def _weight_files(config: dict[str, Any], recipe: Recipe) -> dict[str, Content]:
    names = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
    own = config.get("torch_dtype") or config["text_config"]["dtype"]
    tensors = [
        Tensor(_published_name(name, recipe.renamed), shape, names[own])
        for name, shape in parameters(config)
    ]
    if recipe.shards == 1:
        return {"model.safetensors": WeightFile(tensors)}
    total = sum(tensor.size for tensor in tensors)
    shards: list[list[Tensor]] = [[] for _ in range(recipe.shards)]
    done = 0
    for tensor in tensors:
        shards[done * recipe.shards // total].append(tensor)
        done += tensor.size
    named = {
        f"model-{number:05}-of-{recipe.shards:05}.safetensors": shard
        for number, shard in enumerate(shards, 1)
    }
    weight_map = {tensor.name: file for file, shard in named.items() for tensor in shard}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    return {
        "model.safetensors.index.json": json.dumps(index, indent=2).encode(),
        **{file: WeightFile(shard) for file, shard in named.items()},
    }


def _published_name(name: str, renamed: Sequence[tuple[str, str]]) -> str:
    for own, published in renamed:
        if name.startswith(own):
            return published + name.removeprefix(own)
    return name


def _merged(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Values with those of a small model in their place."""
    return values | {
        key: _merged(values[key], value) if key.endswith("_config") else value
        for key, value in others.items()
    }


def _renumbered(document: Any, words: int, rows: int) -> Any:
    """A document whose ids of special tokens begin where those of the small vocabulary do."""
    if isinstance(document, dict):
        return {
            key: rows
            if key == "vocab_size"
            else _new_id(value, words)
            if key.endswith(("_token_id", "_token_index"))
            else _renumbered(value, words, rows)
            for key, value in document.items()
        }
    return document


def _new_id(value: Any, words: int) -> Any:
    if isinstance(value, list):
        return [_new_id(one, words) for one in value]
    return value - words + FEW_WORDS if value >= words else value
