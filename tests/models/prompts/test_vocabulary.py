"""Which words a model can't read, and what becomes of a question that is about them."""

import gzip
import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dycoke_cli import DyCoke, Uncompressed, VideoSession, load
from dycoke_cli.engine.session import Question, ask_together, ask_without_video
from dycoke_cli.evaluation.datasets.shapes import FILE
from dycoke_cli.models.prompts.vocabulary import mostly_unknown, unknown_words
from tests.documents import is_valid, valid
from tests.families.stock import clip
from tests.unlimited import unlimited_model

ONLY = "I only know moving shapes."


@pytest.fixture(scope="module")
def mini():
    return load("mini", device="cpu")


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


@pytest.mark.parametrize(
    ("question", "mostly"),
    [
        ("Is there a dog?", True),
        ("Is there a dog in this video?", True),
        ("How many people can you see?", True),
        ("What colour is the dog?", True),
        ("What is the man in the red hat doing?", True),
        ("What happens in this clip?", False),
        ("Please describe the footage.", False),
        ("Which shape appears?", False),
        ("What colour is the big circle?", False),
        ("And what does it do?", False),
        ("", False),
    ],
)
def test_a_question_about_what_is_unknown_is_told_from_one_with_an_odd_word(mini, question, mostly):
    unknown = unknown_words(mini.processor.tokenizer, question)
    assert mostly_unknown(question, unknown) is mostly


def test_the_benchmark_asks_nothing_that_is_unknown(mini):
    with gzip.open(FILE, "rt", encoding="utf-8") as lines:
        videos = [json.loads(line) for line in lines]
    asked = {question["text"] for video in videos for question in video["questions"]}
    assert len(asked) > 1000
    tokenizer = mini.processor.tokenizer
    assert not {text: words for text in asked if (words := unknown_words(tokenizer, text))}


FIGURES = ("tokens", "decode", "flops", "seconds", "tokens_per_second", "bytes", "seed")


def test_a_question_beyond_the_model_is_refused_and_nothing_is_measured(mini):
    session, parts = VideoSession(mini, clip(4), seconds_video_decode=2.0), []
    answer = session.ask("Is there a dog?", DyCoke(), on_text=parts.append)
    assert parts == [answer.answer] == [ONLY]
    assert answer.warnings == (
        "the model wasn't asked: it only knows moving shapes, and its vocabulary lacks: dog",
    )
    document = answer.to_dict() | {"video": "a.mp4"}
    assert document["finish_reason"] == "refused"
    assert [document[name] for name in FIGURES] == [None] * len(FIGURES)
    assert document["frames"]["count"] == 4
    valid(document, "answer", "refusal")
    valid(document, "answer")
    # Figures are null there alone, and nothing else is refused.
    for wrong in ({"finish_reason": "stop"}, {"tokens": {}}, {"bytes": {"weights": 0}}):
        assert not is_valid(document | wrong, "answer")
    asked = session.ask("What happens?", DyCoke()).to_dict() | {"video": "a.mp4"}
    valid(asked, "answer", "answer")
    assert not is_valid(asked | {"finish_reason": "refused"}, "answer")
    assert not is_valid(asked | {"tokens": None}, "answer")


def test_without_a_video_the_same_questions_are_refused(mini):
    refused, asked = (ask_without_video(mini, text) for text in ("Any dog?", "What happens?"))
    assert (refused.finish_reason, refused.answer, refused.tokens) == ("refused", ONLY, None)
    assert asked.tokens.generated > 0


def test_of_a_batch_only_the_others_are_asked(mini):
    session = VideoSession(mini, clip(4))
    texts = ["Is there a dog?", "What happens?", "Any cats?", "Is there a red star?"]
    answers = ask_together([Question(session, text) for text in texts], Uncompressed())
    alone = [session.ask(text, Uncompressed()).answer for text in texts]
    assert [answer.question for answer in answers] == texts
    assert [answer.answer for answer in answers] == alone
    assert [answer.finish_reason == "refused" for answer in answers] == [True, False, True, False]


def test_a_single_odd_word_is_named_and_the_model_is_asked(mini):
    answer = VideoSession(mini, clip(4)).ask("What happens in the clip?", DyCoke())
    assert answer.tokens.generated > 0
    assert "not in the model's vocabulary, read as unknown words: clip" in answer.warnings


def test_one_frame_is_warned_of(mini):
    [one], more = (
        VideoSession(mini, clip(frames)).ask("What happens?", DyCoke()).warnings
        for frames in (1, 2)
    )
    assert "only one frame" in one
    assert not more


def test_what_a_checkpoint_knows_is_its_own_to_say(tmp_path):
    folder = unlimited_model(tmp_path / "checkpoint")
    answer = VideoSession(load(str(folder), device="cpu"), clip(4)).ask("Any dog?", DyCoke())
    assert answer.tokens.generated > 0
    assert "not in the model's vocabulary, read as unknown words: Any, dog" in answer.warnings
