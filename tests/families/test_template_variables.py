"""Variables of a chat template: prompts are stock ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dycoke_cli import VideoSession
from dycoke_cli.models.prompts.chat import QuestionWithVariables
from tests.families.sessions import loaded_of
from tests.families.stock import clip

VIDEO: dict[str, Any] = {"type": "video"}


def test_a_variable_of_the_template_changes_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the stock template has it, and not as an equal question without the variable."""
    loaded = loaded_of("qwen2_5_vl")
    thinks = "{% if enable_thinking is false %}<think>\n\n</think>{% endif %}"
    monkeypatch.setattr(loaded.processor, "chat_template", loaded.processor.chat_template + thinks)
    session = VideoSession(loaded, clip(4))
    user = {"role": "user", "content": [VIDEO, {"type": "text", "text": "What?"}]}
    prompts = []
    for variables in ({}, {"enable_thinking": False}, {"enable_thinking": True}):
        found = session.video.input_ids(QuestionWithVariables("What?", variables))
        text = loaded.processor.apply_chat_template(
            [user], add_generation_prompt=True, tokenize=False, **variables
        )
        shown, expanded = session.video.shown, session.video.expanded
        text = text.replace(shown, expanded)
        stock = loaded.processor.tokenizer(text, return_tensors="pt")["input_ids"]
        assert torch.equal(found, stock)
        prompts.append(found.shape[1])
    assert prompts[0] == prompts[2] < prompts[1]
    assert session.video.input_ids("What?").shape[1] == prompts[0]
