"""A language model that is asked under decode rules, and the prompts of its template."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.decode_rules.contexts import Context
from benchmarks.decode_rules.rules import NAME
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.prompts.chat import render

SLIDING = "sliding_attention"


@dataclass(frozen=True)
class Decoder:
    """A language model, or a video model whose language model is asked."""

    model: Any  # stock, with the attention of `rules`
    layers: int  # of the language model
    kv_heads: int  # KV heads of a layer
    # by layer how many tokens it attends to, of those with a sliding window
    windows: Mapping[int, int]
    ends: frozenset[int]  # tokens that end an answer

    def with_windows(self, mask: torch.Tensor) -> Any:
        """A float mask `[B, 1, S, T]` of S tokens behind T - S others, as the model takes it."""
        if not self.windows:
            return mask
        new, length = mask.shape[-2:]
        (window,) = {*self.windows.values()}
        before = torch.arange(length - new, length)[:, None] - torch.arange(length)
        sliding = mask.masked_fill(before >= window, -torch.inf)
        return {"full_attention": mask, SLIDING: sliding}


@dataclass(frozen=True)
class Prompt:
    """A prompt in tokens."""

    ids: torch.Tensor  # `[1, T]`, int64
    prunable: slice  # which of them are the text


def around_text(tokenizer: Any, question: str) -> tuple[str, str]:
    """What a prompt has before and behind the text that is asked about.

    Args:
        tokenizer: with a chat template; the one of a base model has none, and gets an example of a
            question that is answered in a sentence.
    """
    if not tokenizer.chat_template:
        example = "Question: What colour is the sky?\nAnswer: The colour of the sky is blue.\n"
        return tokenizer.bos_token or "", f"\n\n{example}Question: {question}\nAnswer:"
    text = f"\0\n\n{question}"
    # Templates of processors read parts of a message, most of tokenizers read it as a text.
    for content in (text, [{"type": "text", "text": text}]):
        before, _, after = render(tokenizer, [{"role": "user", "content": content}]).partition("\0")
        if question in after:
            return before, after
    raise ModelError("the model's chat template drops a question without a video; give its decoder")


def prompt_of(tokenizer: Any, asked: Context) -> Prompt:
    """The prompt by the model's template: the text, then the question."""
    before, after = around_text(tokenizer, asked.question)
    parts = [
        tokenizer(part, add_special_tokens=False)["input_ids"]
        for part in (before, asked.text, after)
    ]
    prunable = slice(len(parts[0]), len(parts[0]) + len(parts[1]))
    return Prompt(torch.tensor([[*itertools.chain(*parts)]]), prunable)


def of_model(model: Any, more_ends: Iterable[int] = ()) -> Decoder:
    """A loaded model with the attention of `rules`."""
    text, named = model.config.get_text_config(), type(model).__name__
    windows = _windows(text, named)
    if getattr(text, "num_kv_shared_layers", 0):
        raise UsageError(
            f"{named} has layers that read the KV entries of others, which decode rules don't "
            "support; give a model whose layers each keep their own"
        )
    if len(windows) == text.num_hidden_layers:
        raise UsageError(
            f"every layer of {named} has a sliding window, and no rule prunes such a layer; give a "
            "model that has layers with full attention"
        )
    model.set_attn_implementation(NAME)
    own = model.generation_config.eos_token_id
    return Decoder(
        model,
        text.num_hidden_layers,
        getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
        windows,
        frozenset({*(own if isinstance(own, list) else [own]), *more_ends} - {None}),
    )


def _windows(text: Any, named: str) -> dict[int, int]:
    """By layer how many tokens it attends to, of those with a sliding window."""
    window: Any = getattr(text, "sliding_window", None)
    # Without a kind for each layer, a window is that of all layers (Mistral).
    alike = SLIDING if window else "full_attention"
    kinds = getattr(text, "layer_types", None) or [alike] * text.num_hidden_layers
    if other := {*kinds} - {"full_attention", SLIDING}:
        raise UsageError(
            f"{named} has layers of {', '.join(sorted(other))}, which decode rules don't "
            "support; give a model with full attention"
        )
    return {layer: window for layer, kind in enumerate(kinds) if kind == SLIDING}
