"""LLaVA-OneVision at a tiny size, as the bundled model is: pooled patches, positions in a line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from training.architectures.base import (
    MEAN,
    PATCH,
    SIDE,
    STD,
    VISION_WIDTH,
    Architecture,
    context_of,
    finished,
    text_config,
)
from training.cpu_layers import PatchProduct
from training.tokenizer import IMAGE, VIDEO, build_tokenizer

# A turn of less than a fourth of these tokens is fast, one of more than them slow.
STRETCHED = {
    "original_max_position_embeddings": 128,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
}


class LlavaOnevision(Architecture):
    """SigLIP 4 x 128 in patches of 8 px, which are pooled in fours."""

    name = "llava-onevision"
    inner = ("layers", "multi_modal_projector")

    def tokenizer(self, side: int = SIDE) -> PreTrainedTokenizerFast:
        """The word-level tokenizer."""
        return build_tokenizer(context_of(side))

    def model(
        self, tokenizer: PreTrainedTokenizerFast, side: int = SIDE
    ) -> LlavaOnevisionForConditionalGeneration:
        """A model with fresh weights in float32; draws from torch's global generator."""
        text = Qwen2Config(**text_config(tokenizer, side, _rope(side)))
        return finished(fresh(config_of(tokenizer, side, text), side), tokenizer)

    def processor(
        self, tokenizer: PreTrainedTokenizerFast, side: int = SIDE
    ) -> LlavaOnevisionProcessor:
        """The stock processor: any frame to side x side, -1 to 1."""
        size = {"height": side, "width": side}
        return LlavaOnevisionProcessor(
            image_processor=LlavaOnevisionImageProcessor(
                size=size, image_mean=MEAN, image_std=STD, image_grid_pinpoints=[[side, side]]
            ),
            tokenizer=tokenizer,
            video_processor=LlavaOnevisionVideoProcessor(size=size, image_mean=MEAN, image_std=STD),
            num_image_tokens=(side // PATCH) ** 2,
            vision_feature_select_strategy="full",
            chat_template=tokenizer.chat_template,
            image_token=IMAGE,
            video_token=VIDEO,
        )

    def speed_up(self, model: Any) -> None:
        """A product of matrices as patch embedding."""
        embeddings = model.model.vision_tower.embeddings
        embeddings.patch_embedding = PatchProduct.of(embeddings.patch_embedding)

    def pixels(self, clips: list[np.ndarray], video_processor: Any) -> Tensor:
        """[B, F, 3, side, side] float32."""
        frames = torch.from_numpy(np.concatenate(clips)).permute(0, 3, 1, 2)
        pixels = video_processor([frames], return_tensors="pt")["pixel_values_videos"][0]
        found: Tensor = pixels.view(len(clips), -1, *pixels.shape[1:])
        return found

    def frames(self, pixels: Tensor, count: int) -> Tensor:
        """[B, F, 3, side, side], as they are."""
        return pixels

    def visual(self, model: Any, pixels: Tensor, steps: int) -> Tensor:
        """The visual tokens and the newline behind them."""
        found: Tensor = model.model.get_video_features(pixels).pooler_output
        return found

    def positions(self, shown: np.ndarray, steps: int, grid: int, seconds: float) -> Tensor:
        """One behind the other; those of steps that aren't shown are skipped."""
        frame = grid**2
        before = len(self.opening)
        frames = before + torch.from_numpy(shown)[:, None] * frame + torch.arange(frame)
        ends = torch.tensor([before + steps * frame])
        return torch.cat([torch.arange(before), frames.flatten(), ends])[None]


def _rope(side: int) -> dict[str, Any]:
    """Frames of more tokens stretch the positions, so that a frame ago is as far as it was.

    But only in slow channels: the fast ones, which tell a word from the next, stay.
    """
    stretch = context_of(side) / context_of(SIDE)
    stretched = {"rope_type": "llama3", "factor": stretch, **STRETCHED}
    return {} if stretch == 1 else stretched


def fresh(config: LlavaOnevisionConfig, side: int) -> LlavaOnevisionForConditionalGeneration:
    """A model with fresh weights, its tower with places that are told apart."""
    model = LlavaOnevisionForConditionalGeneration(config)
    embeddings = model.model.vision_tower.embeddings
    with torch.no_grad():
        # From random positions the tower takes long to find out where is where.
        positions = sinusoids_2d(side // PATCH, VISION_WIDTH)
        embeddings.position_embedding.weight.copy_(positions)
        nn.init.orthogonal_(embeddings.patch_embedding.weight.view(VISION_WIDTH, -1), gain=0.5)
    return model


def config_of(
    tokenizer: PreTrainedTokenizerFast, side: int, text: PreTrainedConfig
) -> LlavaOnevisionConfig:
    """The bundled model's tower before a language model."""
    ids = tokenizer.get_vocab()
    vision = SiglipVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=side,
        patch_size=PATCH,
        vision_use_head=False,
        hidden_act="relu",
    )
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids[IMAGE],
        video_token_index=ids[VIDEO],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_grid_pinpoints=[[side, side]],
        tie_word_embeddings=text.tie_word_embeddings,
    )


def sinusoids_2d(side: int, width: int) -> Tensor:
    """A position table [side * side, width]: half sinusoids of the row, half of the column."""
    quarter = width // 4
    rates = torch.pi * torch.logspace(math.log10(0.5 / side), math.log10(0.5), quarter)
    angles = torch.arange(side)[:, None] * rates * 2
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = line[:, None].expand(side, side, -1)
    columns = line[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, -1)
