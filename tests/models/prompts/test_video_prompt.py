"""Prompts about one video are those that the stock processor makes, question by question."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dycoke_cli.models.families.layout import normalised
from dycoke_cli.models.load import load
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from dycoke_cli.video.subtitles import Line, Subtitles
from tests.models.prompts.test_chat_text import HISTORIES, QUESTIONS, conversation, prompt_of
from tests.natural import Pictures


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


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_follow_up_is_the_stock_rendering_of_the_whole_conversation(loaded, question, history):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8)
    turns = conversation(question, history, [{"type": "video"}])
    text = loaded.processor.apply_chat_template(turns, add_generation_prompt=True)
    stock = loaded.processor(text=[text], videos=[list(pixels)], return_tensors="pt")
    prompt = prompt_of(loaded, pixels)
    assert torch.equal(prompt.input_ids(question, history), stock["input_ids"])
