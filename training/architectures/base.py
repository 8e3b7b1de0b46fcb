"""What the architectures that are trained here share, and what each of them can do."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast

from dycoke_cli.models.families import CHECKPOINT_KEY, DOMAIN
from training.tokenizer import CLOSE, CONTEXT, OPEN, PAD, Codec

SIDE = 64  # of the frames that the bundled model takes, in pixels
PATCH = 8
VISION_WIDTH = 128
TEXT_WIDTH, TEXT_LAYERS = 256, 10
MEAN = STD = [0.5, 0.5, 0.5]
METHOD_DEFAULTS = {"prune_layer": 9, "positions": "kept"}
"""What suits these models, by the validation split (docs/results.md): they look their answers up in
their last layers, and never saw contiguous positions behind dropped tokens."""


class Architecture(ABC):
    """How frames become tokens of a language model, and where those stand."""

    name: ClassVar[str]  # what it is called on the command line and in a run's state
    together: ClassVar[int] = 1  # frames whose tokens are one step of the video
    # the tokens of a prompt before the first visual one
    opening: ClassVar[tuple[str, ...]] = (OPEN, "user")
    inner: ClassVar[tuple[str, ...]]  # parts of the names of layers whose matrices Muon trains

    @abstractmethod
    def tokenizer(self, side: int = SIDE) -> PreTrainedTokenizerFast:
        """The word-level tokenizer."""

    def codec(self, tokenizer: PreTrainedTokenizerFast) -> Codec:
        """Ids of questions and answers."""
        return Codec(tokenizer, self.opening)

    @abstractmethod
    def model(self, tokenizer: PreTrainedTokenizerFast, side: int = SIDE) -> Any:
        """A model with fresh weights in float32; draws from torch's global generator."""

    @abstractmethod
    def processor(self, tokenizer: PreTrainedTokenizerFast, side: int = SIDE) -> Any:
        """The stock processor: any frame to side x side, -1 to 1."""

    @abstractmethod
    def speed_up(self, model: Any) -> None:
        """Puts in layers that train faster on CPUs."""

    @abstractmethod
    def pixels(self, clips: list[np.ndarray], video_processor: Any) -> Tensor:
        """Clips [F, height, width, 3] uint8 as the stock video processor gives them: [B, ...]."""

    @abstractmethod
    def frames(self, pixels: Tensor, count: int) -> Tensor:
        """The same clips as pictures again: [B, count, 3, side, side]."""

    @abstractmethod
    def visual(self, model: Any, pixels: Tensor, steps: int) -> Tensor:
        """The visual tokens, and the one that ends the video: [B, steps * N + 1, D]."""

    @abstractmethod
    def positions(self, shown: np.ndarray, steps: int, grid: int, seconds: float) -> Tensor:
        """Where the opening, the steps shown and the end of the video stand; text comes behind.

        Args:
            shown: [S] int, which of the video's steps are shown.
            steps: how many it has.
            grid: tokens a side of a frame.
            seconds: between two steps.

        Returns:
            [1, P] or [3, P] int64, P = opening + S * grid * grid + 1.
        """

    def steps(self, frames: int) -> int:
        """Steps of a video of so many frames."""
        return -(-frames // self.together)


def grid_of(side: int) -> int:
    """Tokens a side of a frame of `side` pixels: patches in twos, in each direction."""
    return math.ceil(side / PATCH / 2)


def context_of(side: int) -> int:
    """Most tokens of a prompt: as many frames as the bundled model takes."""
    return CONTEXT * grid_of(side) ** 2 // grid_of(SIDE) ** 2


def text_config(
    tokenizer: PreTrainedTokenizerFast, side: int, rope: dict[str, Any]
) -> dict[str, Any]:
    """The language model of all: Qwen2, 10 layers x 256 with 4 heads."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 640,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": context_of(side),
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **rope},
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids(CLOSE),
        "pad_token_id": tokenizer.convert_tokens_to_ids(PAD),
    }


def finished(model: Any, tokenizer: PreTrainedTokenizerFast) -> Any:
    """The model with what its checkpoint tells of how to generate, and of what suits it."""
    setattr(model.config, CHECKPOINT_KEY, {**METHOD_DEFAULTS, DOMAIN: "moving shapes"})
    model.generation_config = GenerationConfig(
        max_new_tokens=128,
        do_sample=False,
        eos_token_id=tokenizer.convert_tokens_to_ids(CLOSE),
        pad_token_id=tokenizer.pad_token_id,
    )
    return model
