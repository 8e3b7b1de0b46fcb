"""The prompts of one video: made by the stock processor once, then one tail a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dycoke_cli.errors import UsageError

Turns = Sequence[tuple[str, str]]
"""Questions with their answers, in the order in which they were asked."""


@dataclass(frozen=True)
class VideoPrompt:
    """What all prompts about one video share.

    Args:
        processor: the stock processor of the model.
        head: `[H]`, int64: the token ids up to and with the last placeholder.
        inputs: what the processor made of the video: the tensors that the model takes beside
            token ids, such as `pixel_values_videos` [1, F, 3, height, width], float32.
    """

    processor: Any
    head: torch.Tensor
    inputs: dict[str, torch.Tensor]

    def input_ids(self, question: str, history: Turns = ()) -> torch.Tensor:
        """The token ids `[1, S]`, int64, of the prompt with this question.

        A tokenizer splits at special tokens before anything else, so the ids behind the last
        placeholder are those of the text behind it.

        Args:
            question: plain text.
            history: what was asked about the video before, and what was answered.

        Raises:
            UsageError: a text contains a special token of the model.
        """
        _check_plain(self.processor, question, history)
        chat = _chat(self.processor, question, history)
        tail = chat.rpartition(self.processor.video_token)[2]
        ids = self.processor.tokenizer(tail, add_special_tokens=False, return_tensors="pt")
        return torch.cat([self.head, ids["input_ids"][0]])[None]


def make_prompt(processor: Any, frames: np.ndarray) -> VideoPrompt:
    """Run the stock processor on a video.

    Args:
        processor: of the model.
        frames: `[F, H, W, 3]`, uint8, RGB.
    """
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    inputs = dict(processor(text=[_chat(processor, "")], videos=[video], return_tensors="pt"))
    ids = inputs.pop("input_ids")[0]
    inputs.pop("attention_mask", None)
    last = int((ids == processor.video_token_id).nonzero()[-1])
    return VideoPrompt(processor, ids[: last + 1], inputs)


def text_ids(processor: Any, question: str, history: Turns = ()) -> torch.Tensor:
    """The token ids `[1, S]`, int64, of a prompt without any video.

    Args:
        processor: of the model.
        question: plain text.
        history: what was asked before, and what was answered.

    Raises:
        UsageError: a text contains a special token of the model.
    """
    _check_plain(processor, question, history)
    chat = _chat(processor, question, history, video=False)
    return processor(text=[chat], return_tensors="pt")["input_ids"]


def _check_plain(processor: Any, question: str, history: Turns) -> None:
    texts = [question, *(text for turn in history for text in turn)]
    special = next(
        (
            token
            for token in processor.tokenizer.all_special_tokens
            if any(token in text for text in texts)
        ),
        None,
    )
    if special is not None:
        raise UsageError(
            f"the question contains {special!r}, which has a meaning of its own to the model; "
            "leave it out"
        )


def _chat(processor: Any, question: str, history: Turns = (), *, video: bool = True) -> str:
    """The conversation as the stock template writes it; the video stands in the first turn."""
    conversation: list[dict[str, Any]] = []
    for earlier, answer in history:
        conversation += [_turn("user", earlier), _turn("assistant", answer)]
    conversation.append(_turn("user", question))
    if video:
        conversation[0]["content"].insert(0, {"type": "video"})
    return processor.apply_chat_template(conversation, add_generation_prompt=True)


def _turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}
