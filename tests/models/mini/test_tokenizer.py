"""The tokenizer: whole words, no case, capitals and marks back in the answers."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import AutoTokenizer

from dycoke_cli.models.mini.questions import ask
from dycoke_cli.models.mini.tokenizer import CLOSE, SPECIAL, UNKNOWN, Codec, build_tokenizer
from dycoke_cli.models.mini.world import draw_script


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_answers_come_back_to_the_letter(tokenizer):
    codec = Codec(tokenizer)
    for i in range(30):
        for question in ask(draw_script(i, "train"), np.random.default_rng(i)):
            ids = codec.answer(question.answer)
            assert tokenizer.decode(ids, skip_special_tokens=True) == question.answer
            assert ids[-1] == tokenizer.convert_tokens_to_ids(CLOSE)


def test_questions_hold_no_unknown_word_and_ignore_case(tokenizer):
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    for i in range(30):
        for question in ask(draw_script(i, "train"), np.random.default_rng(i)):
            ids = tokenizer(question.text)["input_ids"]
            assert unknown not in ids
            assert ids == tokenizer(question.text.upper())["input_ids"]
            assert ids == tokenizer("  " + question.text + " ")["input_ids"]


def test_unknown_words_are_one_token_each(tokenizer):
    ids = tokenizer("What does the zebra do, 42?")["input_ids"]
    words = tokenizer.convert_ids_to_tokens(ids)
    assert words == ["what", "does", "the", UNKNOWN, "do", ",", UNKNOWN, "?"]


def test_the_user_cannot_write_an_answer_opener(tokenizer):
    it = tokenizer.convert_tokens_to_ids("It")
    assert it not in tokenizer("It is It")["input_ids"]


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded.video_token == "<video>"
    text = "Where is the red circle at the end?"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert [loaded.convert_tokens_to_ids(t) for t in SPECIAL] == list(range(len(SPECIAL)))


def test_chat_template(tokenizer):
    content = [{"type": "video"}, {"type": "text", "text": "What happens?"}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user <video>\nWhat happens?<|im_end|>\n<|im_start|>assistant\n"
