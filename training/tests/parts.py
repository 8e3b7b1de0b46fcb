"""What the tests of training share: the parts of the model, made once, and prompts."""

from __future__ import annotations

from functools import lru_cache

import torch

from training.architecture import SIDE, build_model, build_processor
from training.batches import Batch, Shape, make_batch
from training.tokenizer import Codec, build_tokenizer

Turns = tuple[tuple[str, str], ...]


@lru_cache(maxsize=2)
def parts(side: int = SIDE):
    """Codec, stock processor, and a stock model with fresh weights, for frames of a side."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    return Codec(tokenizer), build_processor(tokenizer, side), build_model(tokenizer, side).eval()


def batch_of(seed: int, shape: Shape) -> Batch:
    codec, processor, _ = parts(shape.side)
    return make_batch([seed], shape, "train", codec, processor.video_processor)


def prompt(question: str, earlier: Turns = ()) -> str:
    """A conversation about one video, through the stock chat template."""
    texts = [*(text for turn in earlier for text in turn), question]
    messages = [
        {"role": ("user", "assistant")[i % 2], "content": [{"type": "text", "text": text}]}
        for i, text in enumerate(texts)
    ]
    messages[0]["content"].insert(0, {"type": "video"})
    return parts()[1].apply_chat_template(messages, add_generation_prompt=True)
