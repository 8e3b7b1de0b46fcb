"""The repositories that are rehearsed: their files as published, with few layers and words.

`published/NAME/` has the small files with the published values; templates are written anew and
behave as the published ones. A word is a byte. SPECIAL, which isn't published by itself, has the
ids of special tokens.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForImageTextToText

from tests.families.parts import ALPHABET

PUBLISHED = Path(__file__).with_name("published")
STORED = (".safetensors", "tokenizer.json")
"""How the names of files end that lie in the hub's storage."""
README = b"---\nlicense: apache-2.0\n---\nWords about the model.\n"
SPECIAL = "special_tokens.json"


@dataclass(frozen=True)
class Recipe:
    """What isn't in the small files of a repository."""

    # beginnings of tensors' names in transformers, and as published
    renamed: Sequence[tuple[str, str]] = ()
    shards: int = 1  # weight files
    others: tuple[str, ...] = ("README.md", ".gitattributes")  # files that loading doesn't read
    few: dict[str, Any] = field(default_factory=dict)  # of config.json, what makes it small


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
        renamed=(
            ("model.language_model.", "language_model.model."),
            ("model.vision_tower.", "vision_tower.vision_model."),
            ("model.", ""),
        ),
        others=("README.md", ".gitattributes", "onnx/model.onnx", "onnx/model.safetensors"),
        few={"text_config": _TEXT, "vision_config": _TOWER},
    ),
    "smolvlm2-500m": Recipe(
        few={"text_config": {**_TEXT, "head_dim": 16}, "vision_config": _TOWER}
    ),
    "qwen2.5-vl-3b": Recipe(
        renamed=(("model.visual.", "visual."), ("model.language_model.", "model.")),
        shards=2,
        few={
            **_TEXT,
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
            "vision_config": {**_QWEN_TOWER, "fullatt_block_indexes": [1]},
        },
    ),
    "qwen3-vl-2b": Recipe(
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
        }
    ),
}


def files(name: str) -> dict[str, bytes]:
    """All files of a repository."""
    recipe, folder = RECIPES[name], PUBLISHED / name
    documents = {
        str(path.relative_to(folder)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.json"))
    }
    published: dict[str, int] = documents.pop(SPECIAL)
    # Most stand behind the words, and with some models a few before them.
    first = [token for token, number in published.items() if number < len(ALPHABET)]
    behind = [token for token in published if token not in first]
    vocabulary = {word: number for number, word in enumerate([*first, *ALPHABET])}
    words = len(vocabulary)
    special = {token: number for number, token in enumerate(behind, words)}
    special = {token: vocabulary[token] for token in first} | special
    documents = {
        file: _renumbered(document, published[behind[0]], words, len(behind))
        for file, document in documents.items()
    }
    config = documents["config.json"] = _merged(documents["config.json"], recipe.few)
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    documents["tokenizer_config.json"]["added_tokens_decoder"] = {
        str(number): {"content": token, **flags, "special": True}
        for token, number in special.items()
    }
    made = dict.fromkeys(recipe.others, README)
    made["tokenizer.json"] = _tokenizer(vocabulary, special).to_str(pretty=True).encode()
    if not first:  # the older files that Qwen publishes beside it
        documents["vocab.json"] = vocabulary
        made["merges.txt"] = b"#version: 0.2\n"
    for file, document in documents.items():
        made[file] = (json.dumps(document, indent=2) + "\n").encode()
    return made | _weight_files(config, recipe)


def _tokenizer(vocabulary: dict[str, int], special: dict[str, int]) -> Tokenizer:
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    assert all(core.token_to_id(token) == number for token, number in special.items())
    return core


def model_of(config: dict[str, Any], device: str) -> Any:
    """A model of a configuration, with the weights of a new one."""
    parsed = AutoConfig.for_model(**copy.deepcopy(config))
    with torch.device(device):
        return AutoModelForImageTextToText.from_config(parsed, dtype=torch.bfloat16)


def _weight_files(config: dict[str, Any], recipe: Recipe) -> dict[str, bytes]:
    torch.manual_seed(0)
    own = config.get("torch_dtype") or config["text_config"]["dtype"]
    # Without those that are tied to another.
    tensors = {
        _published_name(name, recipe.renamed): value.data.to(getattr(torch, own))
        for name, value in model_of(config, "cpu").named_parameters()
    }
    if recipe.shards == 1:
        return {"model.safetensors": save(tensors, {"format": "pt"})}
    of_shard = [
        f"model-{number:05}-of-{recipe.shards:05}.safetensors"
        for number in range(1, recipe.shards + 1)
    ]
    weight_map = {
        name: of_shard[number * recipe.shards // len(tensors)]
        for number, name in enumerate(tensors)
    }
    total = sum(value.nbytes for value in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    shards = {
        file: save({n: v for n, v in tensors.items() if weight_map[n] == file}, {"format": "pt"})
        for file in of_shard
    }
    return {"model.safetensors.index.json": json.dumps(index, indent=2).encode(), **shards}


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


def _renumbered(document: Any, published: int, words: int, special: int) -> Any:
    """A document in which ids of special tokens begin behind the words of the small vocabulary."""

    def new_id(value: Any) -> Any:
        if isinstance(value, list):
            return [*map(new_id, value)]
        return value - published + words if value >= published else value

    if isinstance(document, dict):
        return {
            key: words + special
            if key == "vocab_size"
            else new_id(value)
            if key.endswith(("_token_id", "_token_index"))
            else _renumbered(value, published, words, special)
            for key, value in document.items()
        }
    return document
