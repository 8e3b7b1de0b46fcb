"""The prompts of one video: made by the stock processor once, then one tail a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dycoke_cli.errors import UsageError


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

    def input_ids(self, question: str) -> torch.Tensor:
        """The token ids `[1, S]`, int64, of the prompt with this question.

        A tokenizer splits at special tokens before anything else, so the ids behind the last
        placeholder are those of the text behind it.

        Raises:
            UsageError: the question contains a special token of the model.
        """
        special = next(
            (token for token in self.processor.tokenizer.all_special_tokens if token in question),
            None,
        )
        if special is not None:
            raise UsageError(
                f"the question contains {special!r}, which has a meaning of its own to the model; "
                "leave it out"
            )
        tail = _chat(self.processor, question).rpartition(self.processor.video_token)[2]
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


def _chat(processor: Any, question: str) -> str:
    content = [{"type": "video"}, {"type": "text", "text": question}]
    conversation = [{"role": "user", "content": content}]
    return processor.apply_chat_template(conversation, add_generation_prompt=True)
