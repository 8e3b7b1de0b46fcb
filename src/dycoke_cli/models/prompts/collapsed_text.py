"""Tokenizes a text whose runs of placeholders are very long, in the memory of a short one.

The prompt of an hour has hundreds of thousands of placeholders. A tokenizer takes a kilobyte for
each: far more than their ids. So a run of them is given to it as one, and its id is repeated. A
special token has one id whatever stands beside it, so the ids are those of the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import BatchEncoding


class CollapsedTokenizer:
    """A stock tokenizer that takes a run of placeholders as one, and returns the ids of all."""

    def __init__(self, tokenizer: Any, token: str) -> None:
        self._tokenizer, self._token = tokenizer, token
        self._id = tokenizer.convert_tokens_to_ids(token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(
        self, text: str | list[str], *, return_tensors: str | None = None, **options: Any
    ) -> BatchEncoding:
        """Token ids of one text, and its mask; see the stock tokenizer."""
        [whole] = [text] if isinstance(text, str) else text
        lengths = list[int]()

        def collapse(run: re.Match[str]) -> str:
            lengths.append(len(run[0]) // len(self._token))
            return self._token

        # Possessive: to go back, `re` would remember 64 bytes for each placeholder.
        collapsed = re.sub(f"(?:{re.escape(self._token)})++", collapse, whole)
        found = self._tokenizer([collapsed], **options)
        runs, ids = iter(lengths), list[int]()
        for one in found["input_ids"][0]:
            ids += [one] * next(runs) if one == self._id else [one]
        assert next(runs, None) is None, "each run has its id"
        made = {"input_ids": [ids], "attention_mask": [[1] * len(ids)]}
        if return_tensors == "pt":
            return BatchEncoding({name: torch.tensor(rows) for name, rows in made.items()})
        return BatchEncoding(made)


@contextmanager
def collapsing(processor: Any, token: str) -> Iterator[None]:
    """Within the block, a stock processor tokenizes runs of a placeholder as one."""
    tokenizer = processor.tokenizer
    processor.tokenizer = CollapsedTokenizer(tokenizer, token)
    try:
        yield
    finally:
        processor.tokenizer = tokenizer
