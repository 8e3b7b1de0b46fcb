"""Words that a tokenizer knows: of questions, numbers and options."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dycoke_cli import VideoSession
from dycoke_cli.engine.vocabulary import (
    MOST_TOKENS,
    OptionTokens,
    _encoded,
    option_tokens,
    unknown_words,
)
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets.shapes import FILE
from tests.families.sessions import bundled
from tests.families.stock import clip
from tests.families.tiny import make


@pytest.fixture(scope="module")
def mini():
    return bundled()


@pytest.mark.parametrize(
    ("question", "unknown"),
    [
        ("Is there a dog?", ["dog"]),
        ("IS THERE A STAR?!", []),
        ("What colour is the dog’s ball, the dog's, or the star’s?", ["dog", "ball", "or"]),
        ("Zeigt das Video 🐕?", ["Zeigt", "das", "🐕"]),
        ("", []),
        ("?!", []),
    ],
)
def test_words_outside_the_vocabulary_are_found_by_the_tokenizer(mini, question, unknown):
    assert unknown_words(mini.processor.tokenizer, question) == unknown


def test_any_tokenizer_with_an_unknown_token_tells():
    pieces = [("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in "abcdefgh")]
    core = Tokenizer(models.Unigram(pieces, unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    assert unknown_words(tokenizer, "a bad cafe, bez") == ["bez"]
    assert unknown_words(PreTrainedTokenizerFast(tokenizer_object=core), "bez") == []


def test_the_benchmark_asks_nothing_that_is_unknown(mini):
    with gzip.open(FILE, "rt", encoding="utf-8") as lines:
        videos = [json.loads(line) for line in lines]
    asked = {question["text"] for video in videos for question in video["questions"]}
    assert len(asked) > 1000
    assert unknown_words(mini.processor.tokenizer, " ".join(asked)) == []


def test_a_single_odd_word_is_named_and_the_model_is_asked(mini):
    answer = VideoSession(mini, clip(4)).ask("What happens in the clip?", max_tokens=1)
    assert answer.tokens.generated > 0
    assert "not in the model's vocabulary, read as unknown words: clip" in answer.warnings


def test_one_frame_is_warned_of(mini):
    [one], more = (
        VideoSession(mini, clip(frames)).ask("What happens?").warnings for frames in (1, 2)
    )
    assert "only one frame" in one
    assert not more


@pytest.mark.parametrize("family", ["llava_onevision", "smolvlm", "video_llava", "qwen2_5_vl"])
def test_they_are_those_of_the_template_s_own_answer(family: str) -> None:
    _, processor = make(family)
    question = {"role": "user", "content": [{"type": "text", "text": "Why?"}]}
    for option in ("a dog", "10"):
        answer = {"role": "assistant", "content": [{"type": "text", "text": option}]}
        whole = processor.apply_chat_template([question, answer])
        prompt = processor.apply_chat_template([question], add_generation_prompt=True)
        given, *_ = option_tokens(processor, (option, "cat"))
        before = processor.tokenizer(prompt)["input_ids"]
        text = whole[: whole.index(option, len(prompt)) + len(option)]
        assert [*before, *given.ids[0]] == processor.tokenizer(text)["input_ids"]


def test_tokens_are_those_behind_the_prompt_and_not_those_of_the_option_alone() -> None:
    class Marking:
        """A tokenizer that marks the blank before a word, and puts a token before each text."""

        pieces = ("<s>", "Q:", "yes", "▁yes", "no", "▁no", "Yes", "▁Yes", "No", "▁No")
        unk_token_id = None

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            found = re.findall(r" ?[^ ]+", text)
            ids = [self.pieces.index(piece.replace(" ", "▁")) for piece in found]
            return {"input_ids": [0] * add_special_tokens + ids}

        def convert_ids_to_tokens(self, token: int) -> str:
            return self.pieces[token]

        def convert_tokens_to_ids(self, piece: str) -> int:
            return self.pieces.index(piece)

        def decode(self, ids: list[int]) -> str:
            return "".join(self.pieces[token] for token in ids).replace("▁", " ")

    assert _encoded(Marking(), "Q:", " ", ("yes", "No")).ids == ((3,), (9,))


def test_capital_first_letters_are_another_spelling() -> None:
    _, processor = make("llava_onevision")
    given, capital = option_tokens(processor, ("a dog", "10"))
    assert (given.texts, capital.texts) == (("a dog", "10"), ("A dog", "10"))
    assert given.ids[0] != capital.ids[0]
    assert given.ids[1] == capital.ids[1]
    assert len(option_tokens(processor, ("1", "2"))) == 1
    # Whose capital is two letters stays as it is.
    given, capital = option_tokens(processor, ("ßa", "b"))
    assert (given.texts, capital.texts) == (("ßa", "b"), ("ßa", "B"))
    # Those that differ in this letter alone have one spelling.
    assert len(option_tokens(processor, ("a", "A"))) == 1


def test_the_bundled_model_has_capitals_of_its_own(mini) -> None:
    given, capital = option_tokens(mini.processor, ("yes", "no"))
    tokenizer = mini.processor.tokenizer
    assert [tokenizer.convert_ids_to_tokens([*ids]) for ids in given.ids] == [["▁yes"], ["▁no"]]
    assert [tokenizer.convert_ids_to_tokens([*ids]) for ids in capital.ids] == [["▁Yes"], ["▁No"]]


def test_an_option_that_begins_with_another_is_nested() -> None:
    def nested(*ids: tuple[int, ...]) -> bool:
        return OptionTokens(("",) * len(ids), ids).nested

    assert nested((1,), (2, 3), (1, 0))
    assert nested((2, 3), (1, 0, 5), (1, 0), (1, 4))
    assert not nested((1, 0), (1, 1), (0, 1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("red", "Red"), "'red' and 'Red' are the same tokens"),
        (("red", "mauve"), "not in the model's vocabulary: mauve"),
        (("red", "<|im_end|>"), "contains '<|im_end|>'"),
        (tuple("red " * length for length in range(20, 40)), f"at most {MOST_TOKENS} can be"),
    ],
)
def test_options_that_the_model_cannot_tell_apart_are_refused(
    options: tuple[str, ...], sentence: str, mini
) -> None:
    with pytest.raises(UsageError, match=sentence.replace("|", r"\|")):
        option_tokens(mini.processor, options)
