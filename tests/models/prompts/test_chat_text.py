"""The text of a conversation is the stock template's, and has no special token of a user."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.prompts.chat import text_ids
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
