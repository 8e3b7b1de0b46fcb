"""The byte tokenizer of random weights: special tokens at their true ids, a full vocabulary."""

from __future__ import annotations

import pytest

from dycoke_cli.models.load import byte_tokenizer

SPECIAL = {"<pad>": 0, "<s>": 7, "<video>": 500}
DESCRIBED = {"special": SPECIAL, "named": {"video_token": "<video>"}, "pad": "<pad>"}


@pytest.fixture(scope="module")
def words():
    return byte_tokenizer(DESCRIBED, 600)


def test_special_tokens_have_their_true_ids(words):
    assert words.convert_tokens_to_ids(list(SPECIAL)) == [0, 7, 500]
    assert words("<s><video><video>")["input_ids"] == [7, 500, 500]
    assert (words.video_token, words.video_token_id) == ("<video>", 500)
    assert (words.pad_token_id, words.padding_side) == (0, "left")


def test_every_id_of_the_model_is_a_word(words):
    assert len(words) == 600
    assert len(set(words.convert_ids_to_tokens(list(range(600))))) == 600
    assert None not in words.convert_ids_to_tokens(list(range(600)))


@pytest.mark.parametrize("text", ["What happens?", "Ünï \n 漢字", " two  spaces "])
def test_text_is_its_bytes(words, text):
    ids = words(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert words.decode(ids) == text
    assert not set(ids) & set(SPECIAL.values())
