"""Long runs of placeholders: the ids of the whole text, in the memory of a few bytes each."""

from __future__ import annotations

import tracemalloc
from typing import Any

from dycoke_cli.models.prompts.stock_processor import CollapsedTokenizer

TOKEN = "<video>"


class Tokenizer:
    """Writes 7 for a placeholder, and 1 for any other word."""

    def convert_tokens_to_ids(self, token: str) -> int:
        assert token == TOKEN
        return 7

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        words = texts[0].replace(TOKEN, f" {TOKEN} ").split()
        return {"input_ids": [[7 if word == TOKEN else 1 for word in words]]}


def test_each_run_is_repeated() -> None:
    found = CollapsedTokenizer(Tokenizer(), TOKEN)(f"a {TOKEN * 3} b {TOKEN} c")
    assert found["input_ids"] == [[1, 7, 7, 7, 1, 7, 1]]
    assert found["attention_mask"] == [[1] * 7]


def test_a_placeholder_takes_no_more_than_its_text_and_its_numbers() -> None:
    """Seven characters, and two numbers in lists: a matcher that goes back would take 64 bytes."""
    count, tokenizer = 200_000, CollapsedTokenizer(Tokenizer(), TOKEN)
    text = f"a {TOKEN * count} b"
    tracemalloc.start()
    try:
        tokenizer(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / count < 40
