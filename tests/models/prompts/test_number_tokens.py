"""Numbers that texts begin with, and the tokens of vocabularies that they are written with."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from dycoke_cli.errors import UsageError
from dycoke_cli.models.prompts.vocabulary import NumberTokens, number_of


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", "3"), ("3 stars", "3"), ("3.", "3"), ("3.50", "3.5"), ("-0.25", "-0.25"),
        ("1,250.75", "1250.75"), ("1,25", "1"), ("12,000", "12000"), ("2024-05-01", "2024"),
        ("007", "7"), ("-0", "0"), ("1000", "1000"), ("50%", "50"), ("1.5.2", "1.5"),
        ("three", None), ("-", None), (".5", None), ("", None), ("٣", None),
    ],
)  # fmt: skip
def test_the_number_that_a_text_begins_with(text: str, number: str | None) -> None:
    assert number_of(text) == number


def tokenizer(pieces: list[str], decoder: Any) -> Any:
    vocabulary = {piece: number for number, piece in enumerate(["<unk>", *pieces])}
    core = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    core.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


def next_of(found: NumberTokens, words: Any, *pieces: str) -> set[str]:
    ids = words.convert_tokens_to_ids([*pieces])
    return {*words.convert_ids_to_tokens(found.next(ids))}


def test_digits_in_threes_and_spaces() -> None:
    words = tokenizer(["1", "250", "Ġ", "Ġ3", ".", ",", "-", "a", "1a", "Ġa"], decoders.ByteLevel())
    found = NumberTokens(words)
    assert next_of(found, words) == {"1", "250", "Ġ", "Ġ3", "-"}
    assert next_of(found, words, "1") == {"1", "250", ".", ","}
    assert next_of(found, words, "1", ",") == {"1", "250"}
    assert next_of(found, words, "1", ",", "250", ".") == {"1", "250"}
    assert next_of(found, words, "1", ".", "250") == {"1", "250"}
    assert next_of(found, words, "-") == {"1", "250"}


def test_a_space_of_its_own_before_a_number() -> None:
    words = tokenizer(["▁", "1", "2", "▁1", "."], decoders.Metaspace())
    found = NumberTokens(words)
    assert next_of(found, words) == {"▁", "1", "2", "▁1"}
    assert next_of(found, words, "▁") >= {"1", "2"}
    assert "▁" not in next_of(found, words, "▁")
    assert next_of(found, words, "▁", "1") == {"1", "2", "."}


def test_tokens_that_are_words_don_t_go_on() -> None:
    words = tokenizer(["1", "2", "10", "star", "##0"], decoders.WordPiece())
    found = NumberTokens(words)
    assert next_of(found, words) == {"1", "2", "10"}
    assert next_of(found, words, "1") == {"##0"}


def test_a_vocabulary_without_digits_is_refused() -> None:
    with pytest.raises(UsageError, match="has no digits"):
        NumberTokens(tokenizer(["one", "-", "."], decoders.ByteLevel()))
