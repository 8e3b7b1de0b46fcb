"""Sessions with the tiny models of families, and the methods that they are asked with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, VideoSession, load
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.memory import flops
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.models.families import Family, family_of
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_prompt import VideoPrompt, extra_inputs, make_prompt
from tests.exactness import in_float64
from tests.families.stock import MERGING_ONLY, NONE_ONLY, at_decoder, clip
from tests.families.tiny import make
from tests.natural import Pictures

NEW_TOKENS = 4

# Ratios, and the method that has them.
METHODS: dict[str, tuple[float | None, float | None]] = {
    "ttm": (0.5, None),
    "kv": (None, 0.5),
    "dycoke": (0.5, 0.5),
}


def method_of(name: str, positions: str) -> DyCoke:
    merge_ratio, prune_ratio = METHODS[name]
    return DyCoke(
        merge_ratio=0.0 if merge_ratio is None else merge_ratio,
        prune_ratio=0.0 if prune_ratio is None else prune_ratio,
        ttm=merge_ratio is not None,
        kv_prune=prune_ratio is not None,
        prune_layer=2,
        positions=positions,
    )


def positions_of(family: str) -> tuple[str, ...]:
    known = family_of(make(family)[0].config)
    return ("kept", "renumbered") if known.counts_tokens else ("kept",)


def runs(family: str) -> list[str]:
    """The methods of the matrix that a family can serve."""
    if family in NONE_ONLY:
        return []
    return ["ttm"] if family in MERGING_ONLY else list(METHODS)


QUESTIONS = ("What is it?", "Is there a dog, and what does it do there?", "Why?")


def as_loaded(name: str, model: Any, processor: Any, layout: Family | None = None) -> LoadedModel:
    """A model as if it had been loaded; with the layout of its family, unless another is given."""
    layout = layout or family_of(model.config)
    return LoadedModel(name, None, None, model, processor, layout, 0.0)


def loaded_of(family: str) -> LoadedModel:
    return as_loaded(family, *make(family))


@cache
def bundled(*, wide: bool = False) -> LoadedModel:
    """The bundled model on a CPU, in float32 or float64, for all tests that leave it as it is."""
    loaded = load("mini", device="cpu", dtype="float32")
    if wide:
        in_float64(loaded.model)
    return loaded


def said_by_stock(
    loaded: LoadedModel, texts: Sequence[str], frames: Sequence[Any], new_tokens: int
) -> str:
    """What stock `generate()` says behind a conversation that is written down by hand.

    Args:
        texts: questions and answers in turn.
        frames: of the video that the first question is about, if any.
    """
    turns: list[dict[str, Any]] = [
        {"role": "assistant" if n % 2 else "user", "content": [{"type": "text", "text": text}]}
        for n, text in enumerate(texts)
    ]
    videos = {"videos": [[*frames]]} if len(frames) else {}
    if videos:
        turns[0]["content"].insert(0, {"type": "video"})
    text = loaded.processor.apply_chat_template(turns, add_generation_prompt=True)
    inputs = loaded.processor(text=[text], return_tensors="pt", **videos)
    with torch.inference_mode():
        output = loaded.model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)
    written = output[0, inputs["input_ids"].shape[1] :]
    said: str = loaded.processor.tokenizer.decode(written, skip_special_tokens=True)
    return said.strip()


def prompt_about(model: Any, processor: Any, shown: Pictures) -> VideoPrompt:
    """What a video becomes for a model."""
    return make_prompt(processor, family_of(model.config), model.config, shown)


def rows_of_stock(model: Any, prompt: VideoPrompt, stock: Any) -> tuple[Any, Sequence[Any]]:
    """What the stock model gives its decoder for a video, and what DeepStack adds."""
    known, given = family_of(model.config), at_decoder(model, stock)
    beside = extra_inputs([prompt], stock["input_ids"], known.rope)
    shown_at = known.placeholders(model.config, stock["input_ids"], beside)
    return given["inputs_embeds"][shown_at], given.get("deepstack_visual_embeds") or ()


def questions_of(loaded: LoadedModel, frames: Sequence[int] = (1, 9, 5)) -> list[Question]:
    """Questions of unequal length, each about a video of so many frames."""
    sessions = [VideoSession(loaded, clip(count, seed)) for seed, count in enumerate(frames)]
    return [Question(s, q) for s, q in zip(sessions, QUESTIONS, strict=True)]


def assert_as_alone(questions: Sequence[Question], method: Method, **options: Any) -> None:
    """Check that each of some questions gets the answer together that it gets alone."""
    together = ask_together(questions, method, GenerationOptions(**options))
    for item, answer in zip(questions, together, strict=True):
        alone = item.session.ask(item.question, method, history=item.history, **options)
        assert same(answer, alone)


@contextmanager
def logits_of(model: Any) -> Iterator[list[torch.Tensor]]:
    """Within the block, the logits of each forward."""
    found: list[torch.Tensor] = []
    hook = model.get_output_embeddings().register_forward_hook(
        lambda module, args, logits: found.append(logits.clone())
    )
    try:
        yield found
    finally:
        hook.remove()


def read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have even the prompts of tiny models read in chunks, of `CHUNK` tokens."""
    monkeypatch.setattr(flops, "LONGEST_WHOLE", CHUNK + 1)
    monkeypatch.setattr(flops, "CHUNK", CHUNK)


def same(ours, theirs) -> bool:
    keys = ("answer", "tokens", "decode", "finish_reason", "question", "flops", "frames")
    return all(getattr(ours, key) == getattr(theirs, key) for key in keys)


# Positions that count tokens, with a run of placeholders and with a run a frame; in three
# dimensions; in four with DeepStack; without a mask of the decoder's own.
FAMILIES = ("llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl", "cosmos3_omni", "glm4v")

CHUNK = 7


class Read:
    """Notes how many tokens each forward reads in an MLP."""

    def __init__(self, model) -> None:
        self.tokens: list[int] = []
        layer = model.get_decoder().layers[0]
        self._hook = layer.mlp.register_forward_hook(
            lambda module, args, output: self.tokens.append(args[0].shape[-2])
        )

    def __enter__(self) -> Read:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    @property
    def longest(self) -> int:
        return max(self.tokens)

    @property
    def prefilled(self) -> int:
        """Tokens of the prompt, over all its chunks: a decoding step reads one."""
        return sum(tokens for tokens in self.tokens if tokens > 1)
