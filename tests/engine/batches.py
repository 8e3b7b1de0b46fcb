"""Batches of prompts, each of which is answered as alone; logits that are spoilt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tests.engine.tiny import make_inputs
from tests.exactness import assert_same, generated

NEW_TOKENS = 4


def batch_of(rows):
    """Prompts of unequal lengths as one batch, padded left; the videos in the order of the rows."""
    longest = max(row["input_ids"].shape[1] for row in rows)

    def padded(name, value):
        return torch.cat(
            [
                torch.nn.functional.pad(row[name], (longest - row[name].shape[1], 0), value=value)
                for row in rows
            ]
        )

    return {
        "input_ids": padded("input_ids", 1),
        "attention_mask": padded("attention_mask", 0),
        "pixel_values_videos": torch.cat([r["pixel_values_videos"] for r in rows]),
    }


def prompts(shape, frames, texts):
    """Videos of equally many frames, for the stock class stacks them, and texts of some lengths."""
    found = []
    for seed, text in enumerate(texts):
        row = make_inputs(shape, frames, seed=seed)
        more = torch.arange(20, 20 + text)[None]
        row["input_ids"] = torch.cat([row["input_ids"], more], dim=1)
        row["attention_mask"] = torch.ones_like(row["input_ids"])
        found.append(row)
    return found


def answer(model, method, inputs):
    with method(model) as attachment:
        output = generated(model, inputs, NEW_TOKENS)
    return output, attachment.stats


def same_rows(model, method, rows, inputs):
    """The counts of a batch, whose rows are as each is alone."""
    together, stats = answer(model, method, inputs)
    for number, row in enumerate(rows):
        alone, [counts] = answer(model, method, row)
        ours, theirs = together.sequences[number], alone.sequences[0]
        assert ours[-NEW_TOKENS:].tolist() == theirs[-NEW_TOKENS:].tolist()
        for one, other in zip(together.logits, alone.logits, strict=True):
            assert_same(one[number], other[0])
        assert stats[number] == counts
    return stats


@contextmanager
def spoilt(model: Any, spoil: Callable[[torch.Tensor], None], step: int) -> Iterator[None]:
    """Within the block, the logits `[B, V]` of one step (from 0) are spoilt."""
    calls = iter(range(10**6))

    def hook(module: Any, args: Any, logits: torch.Tensor) -> None:
        if next(calls) == step:
            spoil(logits[:, -1])

    handle = model.lm_head.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
