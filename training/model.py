"""The model that is trained: LLaVA-OneVision of stock classes, at a tiny size.

SigLIP 4 x 128 in patches of 8 px, which are pooled in fours; Qwen2, 10 layers x 256 with 4 heads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from dycoke_cli.models.families import CHECKPOINT_KEY, DOMAIN
from training.cpu_layers import PatchProduct
from training.tokenizer import CLOSE, CONTEXT, IMAGE, PAD, VIDEO

SIDE = 64  # of the frames that the bundled model takes, in pixels
PATCH = 8
GRID = SIDE // PATCH // 2  # tokens a side of a frame: patches in twos, in each direction
FRAME_TOKENS = GRID**2
VISION_WIDTH = 128
MEAN = STD = [0.5, 0.5, 0.5]
METHOD_DEFAULTS = {"prune_layer": 9, "positions": "kept"}
"""What suits these models, by the validation split (docs/results.md): they look their answers up in
their last layers, and never saw contiguous positions behind dropped tokens."""


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionForConditionalGeneration:
    """A model with fresh weights in float32; draws from torch's global generator.

    Its tower has places that are told apart.
    """
    model = LlavaOnevisionForConditionalGeneration(_config(tokenizer))
    embeddings = model.model.vision_tower.embeddings
    with torch.no_grad():
        # From random positions the tower takes long to find out where is where.
        positions = _sinusoids_2d(SIDE // PATCH, VISION_WIDTH)
        embeddings.position_embedding.weight.copy_(positions)
        nn.init.orthogonal_(embeddings.patch_embedding.weight.view(VISION_WIDTH, -1), gain=0.5)
    setattr(model.config, CHECKPOINT_KEY, {**METHOD_DEFAULTS, DOMAIN: "moving shapes"})
    model.generation_config = GenerationConfig(
        max_new_tokens=128,
        do_sample=False,
        eos_token_id=tokenizer.convert_tokens_to_ids(CLOSE),
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def new_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionProcessor:
    """The stock processor: any frame to SIDE x SIDE, -1 to 1."""
    size = {"height": SIDE, "width": SIDE}
    return LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(
            size=size, image_mean=MEAN, image_std=STD, image_grid_pinpoints=[[SIDE, SIDE]]
        ),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(size=size, image_mean=MEAN, image_std=STD),
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
        image_token=IMAGE,
        video_token=VIDEO,
    )


def speed_up(model: LlavaOnevisionForConditionalGeneration) -> None:
    """Puts in a patch embedding that trains faster on CPUs."""
    embeddings = model.model.vision_tower.embeddings
    embeddings.patch_embedding = PatchProduct.of(embeddings.patch_embedding)


def pixels_of(clips: list[np.ndarray], video_processor: Any) -> Tensor:
    """Clips [F, height, width, 3] uint8 as the stock video processor gives them.

    Returns:
        [B, F, 3, SIDE, SIDE] float32.
    """
    frames = torch.from_numpy(np.concatenate(clips)).permute(0, 3, 1, 2)
    pixels = video_processor([frames], return_tensors="pt")["pixel_values_videos"][0]
    found: Tensor = pixels.view(len(clips), -1, *pixels.shape[1:])
    return found


def _config(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionConfig:
    ids = tokenizer.get_vocab()
    vision = SiglipVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
        hidden_act="relu",
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=10,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=ids[CLOSE],
        pad_token_id=ids[PAD],
    )
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids[IMAGE],
        video_token_index=ids[VIDEO],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_grid_pinpoints=[[SIDE, SIDE]],
        tie_word_embeddings=False,
    )


def _sinusoids_2d(side: int, width: int) -> Tensor:
    """A position table [side * side, width]: half sinusoids of the row, half of the column."""
    quarter = width // 4
    rates = torch.pi * torch.logspace(math.log10(0.5 / side), math.log10(0.5), quarter)
    angles = torch.arange(side)[:, None] * rates * 2
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = line[:, None].expand(side, side, -1)
    columns = line[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, -1)
