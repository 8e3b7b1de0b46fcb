"""Prompts about one video are those that the stock processor makes, question by question."""

import numpy as np
import pytest
import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.loading import load
from dycoke_cli.models.prompt import make_prompt

QUESTIONS = ["", "What happens?", "What does the red circle do?  ", "Ünï \n cöde 漢字 <b>"]


@pytest.fixture(scope="module")
def loaded():
    return load("mini", device="cpu")


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("question", QUESTIONS)
def test_ids_and_pixels_are_the_stock_processors(loaded, frames, question):
    pixels = np.random.default_rng(0).integers(0, 256, (frames, 48, 80, 3), dtype=np.uint8)
    prompt = make_prompt(loaded.processor, pixels)
    content = [{"type": "video"}, {"type": "text", "text": question}]
    text = loaded.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    stock = loaded.processor(text=[text], videos=[list(pixels)], return_tensors="pt")
    assert torch.equal(prompt.input_ids(question), stock["input_ids"])
    assert torch.equal(prompt.inputs["pixel_values_videos"], stock["pixel_values_videos"])


def test_special_tokens_in_a_question_are_refused(loaded):
    prompt = make_prompt(loaded.processor, np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match=r"question contains '<video>'"):
        prompt.input_ids("What is <video>?")
