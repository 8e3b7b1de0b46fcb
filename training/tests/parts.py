"""What the tests of training share: the parts of the model, made once, and prompts."""

from __future__ import annotations

from functools import cache

import torch

from training.batches import Batch, Shape, make_batch
from training.model import new_model, new_processor
from training.tokenizer import Codec, build_tokenizer

Turns = tuple[tuple[str, str], ...]


@cache
def parts():
    """Codec, stock processor, and a stock model with fresh weights."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    return Codec(tokenizer), new_processor(tokenizer), new_model(tokenizer).eval()


@cache
def batch_of(seed: int, shape: Shape) -> Batch:
    """The batch of a seed, made once: no test changes it."""
    codec, processor, _ = parts()
    return make_batch([seed], shape, "train", codec, processor.video_processor)


def words(ids: list[int]) -> list[str]:
    """The tokens of ids, as the vocabulary has them."""
    return parts()[1].tokenizer.convert_ids_to_tokens(ids)


def prompt(question: str, earlier: Turns = ()) -> str:
    """A conversation about one video, through the stock chat template."""
    texts = [*(text for turn in earlier for text in turn), question]
    messages = [
        {"role": ("user", "assistant")[i % 2], "content": [{"type": "text", "text": text}]}
        for i, text in enumerate(texts)
    ]
    messages[0]["content"].insert(0, {"type": "video"})
    return parts()[1].apply_chat_template(messages, add_generation_prompt=True)
