"""What the tests of training share: the parts of the model, made once, and prompts."""

from __future__ import annotations

from functools import cache

import torch

from training.architectures import BUNDLED, SIDE, Architecture
from training.batches import Batch, Shape, make_batch

Turns = tuple[tuple[str, str], ...]


@cache
def parts(side: int = SIDE, architecture: Architecture = BUNDLED):
    """Codec, stock processor, and a stock model with fresh weights, for frames of a side."""
    tokenizer = architecture.tokenizer(side)
    torch.manual_seed(0)
    codec = architecture.codec(tokenizer)
    model = architecture.model(tokenizer, side).eval()
    return codec, architecture.processor(tokenizer, side), model


@cache
def batch_of(seed: int, shape: Shape) -> Batch:
    """The batch of a seed, made once: no test changes it."""
    codec, processor, _ = parts(shape.side, shape.architecture)
    return make_batch([seed], shape, "train", codec, processor.video_processor)


def prompt(question: str, earlier: Turns = (), architecture: Architecture = BUNDLED) -> str:
    """A conversation about one video, through the stock chat template."""
    texts = [*(text for turn in earlier for text in turn), question]
    messages = [
        {"role": ("user", "assistant")[i % 2], "content": [{"type": "text", "text": text}]}
        for i, text in enumerate(texts)
    ]
    messages[0]["content"].insert(0, {"type": "video"})
    return parts(SIDE, architecture)[1].apply_chat_template(messages, add_generation_prompt=True)
