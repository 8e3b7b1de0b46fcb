"""Prompts about one video are those that the stock processor makes, question by question."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.families.pixels import normalised
from dycoke_cli.models.load import load
from dycoke_cli.models.prompts.chat_text import text_ids
from dycoke_cli.models.prompts.video_prompt import make_prompt
from dycoke_cli.video.subtitles import Line, Subtitles
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


@pytest.fixture(scope="module")
def loaded():
    return load("mini", device="cpu")


SPOKEN = Subtitles("a.srt", (Line(0, 1, "Hello <b>you</b>"), Line(1, 2, "Ünï 漢字")))


@pytest.mark.parametrize("history", HISTORIES)
def test_subtitles_stand_between_the_video_and_the_first_question(loaded, history):
    """In a follow-up, too: they are told once."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8)
    clip = replace(Pictures.of(pixels), subtitles=SPOKEN)
    prompt = make_prompt(loaded.processor, loaded.family, loaded.model.config, clip)
    said = "This video's subtitles are listed below:\nHello <b>you</b>\nÜnï 漢字\n"
    content = [{"type": "video"}, {"type": "text", "text": said}]
    turns = conversation("What happens?", history, content)
    turns[0]["content"] = [
        {"type": "video"},
        {"type": "text", "text": "".join(part["text"] for part in turns[0]["content"][1:])},
    ]
    text = loaded.processor.apply_chat_template(turns, add_generation_prompt=True)
    stock = loaded.processor(text=[text], videos=[list(pixels)], return_tensors="pt")
    assert torch.equal(prompt.input_ids("What happens?", history), stock["input_ids"])


def test_special_tokens_in_subtitles_are_refused(loaded):
    lines = (Line(0, 1, "and <video>"),)
    clip = replace(Pictures.of(np.zeros((1, 8, 8, 3), np.uint8)), subtitles=Subtitles("a", lines))
    prompt = make_prompt(loaded.processor, loaded.family, loaded.model.config, clip)
    with pytest.raises(UsageError, match=r"the subtitles contain '<video>'.*leave out --subtitles"):
        prompt.input_ids("What?")


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("question", QUESTIONS)
def test_ids_and_pixels_are_the_stock_processors(loaded, frames, question):
    pixels = np.random.default_rng(0).integers(0, 256, (frames, 48, 80, 3), dtype=np.uint8)
    prompt = prompt_of(loaded, pixels)
    content = [{"type": "video"}, {"type": "text", "text": question}]
    text = loaded.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    stock = loaded.processor(text=[text], videos=[list(pixels)], return_tensors="pt")
    assert torch.equal(prompt.input_ids(question), stock["input_ids"])
    given = prompt.inputs["pixel_values_videos"]
    assert given.dtype == torch.uint8
    made = normalised(given, loaded.processor.video_processor, loaded.family.pixels)
    assert torch.equal(made, stock["pixel_values_videos"])


def test_special_tokens_in_a_question_are_refused(loaded):
    prompt = prompt_of(loaded, np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match=r"question contains '<video>'"):
        prompt.input_ids("What is <video>?")


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_follow_up_is_the_stock_rendering_of_the_whole_conversation(loaded, question, history):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8)
    turns = conversation(question, history, [{"type": "video"}])
    text = loaded.processor.apply_chat_template(turns, add_generation_prompt=True)
    stock = loaded.processor(text=[text], videos=[list(pixels)], return_tensors="pt")
    prompt = prompt_of(loaded, pixels)
    assert torch.equal(prompt.input_ids(question, history), stock["input_ids"])


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


@pytest.mark.parametrize("turn", [("What is <video>?", "A."), ("What?", "<|im_end|>")])
def test_special_tokens_in_earlier_turns_are_refused(loaded, turn):
    prompt = prompt_of(loaded, np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="has a meaning of its own"):
        prompt.input_ids("And?", [turn])
    with pytest.raises(UsageError, match="has a meaning of its own"):
        text_ids(loaded.processor, "And?", [turn])


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
