"""Prompts: their text is the stock template's, without special tokens of a user; their frames."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, pad

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.prompts import stock_processor
from dycoke_cli.models.prompts.chat import text_ids
from dycoke_cli.models.prompts.stock_processor import CollapsedTokenizer, processor_memory_limited
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from dycoke_cli.video.subtitles import Line, Subtitles
from tests.families.sessions import bundled
from tests.natural import Pictures

QUESTIONS = ["", "What happens?", "What does the red circle do?  ", "Ünï \n cöde 漢字 <b>"]
HISTORIES = [
    (),
    (("What is there?", "A red circle."),),
    (("Is there a star?", "No."), ("  And\na circle?", "Ünï: yes, 漢字. "), ("Sure?", "")),
]


def prompt_of(loaded, pixels):
    return make_prompt(loaded.processor, loaded.family, loaded.model.config, Pictures.of(pixels))


def conversation(question, history, content):
    """As a user of the stock template writes it down."""
    texts = [text for turn in history for text in turn]
    turns = [
        {
            "role": "assistant" if number % 2 else "user",
            "content": [{"type": "text", "text": text}],
        }
        for number, text in enumerate([*texts, question])
    ]
    turns[0]["content"] = [*content, *turns[0]["content"]]
    return turns


def pixels(frames=3):
    return np.random.default_rng(0).integers(0, 256, (frames, 48, 80, 3), dtype=np.uint8)


def by_stock(loaded, turns, shown):
    """What the stock processor makes of a conversation about a video."""
    text = loaded.processor.apply_chat_template(turns, add_generation_prompt=True)
    return loaded.processor(text=[text], videos=[list(shown)], return_tensors="pt")


@pytest.fixture(scope="module")
def loaded():
    return bundled()


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_without_a_video_it_is_the_stock_rendering_of_the_text(loaded, question, history):
    turns = conversation(question, history, [])
    stock = loaded.processor.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ids = text_ids(loaded.processor, question, history)
    assert torch.equal(ids, stock["input_ids"])
    assert loaded.processor.video_token_id not in ids


def test_special_tokens_in_subtitles_are_refused(loaded):
    lines = (Line(0, 1, "and <video>"),)
    clip = replace(Pictures.of(np.zeros((1, 8, 8, 3), np.uint8)), subtitles=Subtitles("a", lines))
    prompt = make_prompt(loaded.processor, loaded.family, loaded.model.config, clip)
    with pytest.raises(UsageError, match=r"the subtitles contain '<video>'.*leave out --subtitles"):
        prompt.input_ids("What?")


def test_special_tokens_in_a_question_are_refused(loaded):
    prompt = prompt_of(loaded, np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match=r"question contains '<video>'"):
        prompt.input_ids("What is <video>?")


@pytest.mark.parametrize("turn", [("What is <video>?", "A."), ("What?", "<|im_end|>")])
def test_special_tokens_in_earlier_turns_are_refused(loaded, turn):
    prompt = prompt_of(loaded, np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="has a meaning of its own"):
        prompt.input_ids("And?", [turn])
    with pytest.raises(UsageError, match="has a meaning of its own"):
        text_ids(loaded.processor, "And?", [turn])


SPOKEN = Subtitles("a.srt", (Line(0, 1, "Hello <b>you</b>"), Line(1, 2, "Ünï 漢字")))


@pytest.mark.parametrize("history", HISTORIES)
def test_subtitles_stand_between_the_video_and_the_first_question(loaded, history):
    """In a follow-up, too: they are told once."""
    clip = replace(Pictures.of(pixels()), subtitles=SPOKEN)
    prompt = make_prompt(loaded.processor, loaded.family, loaded.model.config, clip)
    said = "This video's subtitles are listed below:\nHello <b>you</b>\nÜnï 漢字\n"
    turns = conversation("What happens?", history, [{"type": "video"}])
    turns[0]["content"][1]["text"] = said + turns[0]["content"][1]["text"]
    stock = by_stock(loaded, turns, pixels())
    assert torch.equal(prompt.input_ids("What happens?", history), stock["input_ids"])


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_follow_up_is_the_stock_rendering_of_the_whole_conversation(loaded, question, history):
    stock = by_stock(loaded, conversation(question, history, [{"type": "video"}]), pixels())
    prompt = prompt_of(loaded, pixels())
    assert torch.equal(prompt.input_ids(question, history), stock["input_ids"])


class Noting:
    """A processor that notes what it is told of a video."""

    def __init__(self, processor):
        self._processor = processor

    def __getattr__(self, name):
        return getattr(self._processor, name)

    def __call__(self, **given):
        [self.told] = given["videos_kwargs"]["video_metadata"]
        return self._processor(**given)


def test_a_processor_is_told_times_to_the_nearest_millisecond(loaded):
    processor = Noting(loaded.processor)
    clip = replace(
        Pictures.of(np.zeros((3, 8, 8, 3), np.uint8)), timestamps_s=(0.0, 0.0667, 0.1333)
    )
    make_prompt(processor, loaded.family, loaded.model.config, clip)
    indices, fps = processor.told["frames_indices"], processor.told["fps"]
    assert [index / fps for index in indices] == [0.0, 0.067, 0.133]
    assert all(type(index) is int for index in indices)


@pytest.mark.parametrize(
    "make",
    [
        lambda frames, side: interpolate(frames, size=(side, side)),
        lambda frames, side: interpolate(input=frames, size=(side, side), mode="bicubic"),
        lambda frames, side: pad(frames, [0, side - 8, 0, side - 8]),
    ],
)
def test_frames_that_a_processor_makes_too_large_are_refused(make):
    """Before they are allocated."""
    frames = torch.zeros(1, 3, 8, 8)
    with processor_memory_limited(frames.nbytes):
        assert make(frames, 100).shape == (1, 3, 100, 100)
        made = make(frames.to("meta"), 10_000)  # has no data
    assert made.nbytes == 1_200_000_000
    with stock_processor._Bounded(120_000):
        make(frames, 100)
    with pytest.raises(MemoryError), stock_processor._Bounded(119_999):
        make(frames, 100)
    refused = pytest.raises(ModelError, match="more of the frames than this machine should give")
    with refused, processor_memory_limited(frames.nbytes):
        make(frames, 10_000)


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
