"""The language model whose cache is pruned: loaded from a GGUF file or a folder."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

from benchmarks.decode_rules.rules import NAME


@dataclass(frozen=True)
class Decoder:
    """A language model, or a video model whose language model is asked.

    Args:
        model: stock, with the attention of `rules`.
        layers: of the language model.
        kv_heads: KV heads of a layer.
        windows: by layer how many tokens it attends to, of those with a sliding window.
        ends: tokens that end an answer.
    """

    model: Any
    layers: int
    kv_heads: int
    windows: Mapping[int, int]
    ends: frozenset[int]

    def with_windows(self, mask: torch.Tensor) -> Any:
        """A float mask `[B, 1, S, T]` of S tokens behind T - S others, as the model takes it."""
        if not self.windows:
            return mask
        new, length = mask.shape[-2:]
        (window,) = {*self.windows.values()}
        before = torch.arange(length - new, length)[:, None] - torch.arange(length)
        sliding = mask.masked_fill(before >= window, -torch.inf)
        return {"full_attention": mask, "sliding_attention": sliding}


def around_text(tokenizer: Any, question: str) -> tuple[str, str]:
    """What a prompt has before and behind the text that is asked about.

    Args:
        tokenizer: with a chat template; the one of a base model has none, and gets an example of a
            question that is answered in a sentence.
        question: about the text.
    """
    if not tokenizer.chat_template:
        example = "Question: What colour is the sky?\nAnswer: The colour of the sky is blue.\n"
        return tokenizer.bos_token or "", f"\n\n{example}Question: {question}\nAnswer:"
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": f"\0\n\n{question}"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    before, _, after = prompt.partition("\0")
    return before, after


def of_model(model: Any, more_ends: Iterable[int] = ()) -> Decoder:
    """A loaded model with the attention of `rules`.

    Args:
        model: stock.
        more_ends: tokens that end an answer, beside the model's own.

    Raises:
        SystemExit: it has layers that are neither full nor sliding attention.
    """
    text = model.config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    if other := {*kinds} - {"full_attention", "sliding_attention"}:
        sys.exit(f"{type(model).__name__} has layers of {', '.join(sorted(other))}: not supported")
    windows = {i: text.sliding_window for i, kind in enumerate(kinds) if kind != "full_attention"}
    model.set_attn_implementation(NAME)
    own = model.generation_config.eos_token_id
    ends = {*(own if isinstance(own, list) else [own]), *more_ends} - {None}
    return Decoder(
        model, text.num_hidden_layers, text.num_key_value_heads, windows, frozenset(ends)
    )


def load(path: Path) -> tuple[Decoder, Any]:
    """The model in float32 and its tokenizer.

    Args:
        path: a GGUF file, or a folder.

    Raises:
        SystemExit: see `of_model`.
    """
    where = {"pretrained_model_name_or_path": str(path)}
    if path.is_file():
        where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    config = AutoConfig.from_pretrained(**where)
    video = config.get_text_config() is not config
    kind = AutoModelForImageTextToText if video else AutoModelForCausalLM
    model = kind.from_pretrained(**where, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(**where)
    if tokenizer.chat_template:
        return of_model(model), tokenizer
    lines = (tokenizer(end, add_special_tokens=False)["input_ids"] for end in ("\n", "\n\n"))
    return of_model(model, (line[0] for line in lines if len(line) == 1)), tokenizer


def digest(path: Path) -> str:
    """SHA-256 of a GGUF file, or of a folder's weights, one after the other."""
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    found = hashlib.sha256()
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest()
