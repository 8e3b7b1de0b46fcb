"""The model and the processor: stock classes of transformers at a tiny size."""

from __future__ import annotations

import math

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
from training.tokenizer import CHAT_TEMPLATE, CLOSE, CONTEXT, IMAGE, PAD, VIDEO

SIDE = 64  # of the frames that the bundled model takes, in pixels
PATCH = 8
VISION_WIDTH = 128
TEXT_WIDTH, TEXT_LAYERS = 256, 10
MEAN = STD = [0.5, 0.5, 0.5]
METHOD_DEFAULTS = {"prune_layer": 9, "positions": "kept"}
"""What suits this model, by the validation split (docs/shapes.md): it looks its answers up in its
last layers, and never saw contiguous positions behind dropped tokens."""


def grid_of(side: int) -> int:
    """Tokens a side of a frame of `side` pixels: what the pooling of LLaVA-OneVision leaves."""
    return math.ceil(side / PATCH / 2)


def context_of(side: int) -> int:
    """Most tokens of a prompt: as many frames as the bundled model takes."""
    return CONTEXT * grid_of(side) ** 2 // grid_of(SIDE) ** 2


def build_config(tokenizer: PreTrainedTokenizerFast, side: int = SIDE) -> LlavaOnevisionConfig:
    """The configuration: SigLIP 4 x 128 in patches of 8 px, Qwen2 10 x 256 with 4 heads.

    Frames of more tokens stretch the positions, so that a frame ago is as far as it was.
    """
    stretch = context_of(side) / CONTEXT
    rope = {"rope_type": "linear", "factor": stretch} if stretch != 1 else {"rope_type": "default"}
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
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=640,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=context_of(side),
        rope_parameters={**rope, "rope_theta": 10000.0},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=ids[CLOSE],
        pad_token_id=ids[PAD],
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids[IMAGE],
        video_token_index=ids[VIDEO],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_grid_pinpoints=[[side, side]],
        tie_word_embeddings=False,
    )
    setattr(config, CHECKPOINT_KEY, {**METHOD_DEFAULTS, DOMAIN: "moving shapes"})
    return config


def build_model(
    tokenizer: PreTrainedTokenizerFast, side: int = SIDE
) -> LlavaOnevisionForConditionalGeneration:
    """A model with fresh weights in float32; draws from torch's global generator."""
    config = build_config(tokenizer, side)
    model = LlavaOnevisionForConditionalGeneration(config)
    embeddings = model.model.vision_tower.embeddings
    with torch.no_grad():
        # From random positions the tower takes long to find out where is where.
        positions = sinusoids_2d(side // PATCH, VISION_WIDTH)
        embeddings.position_embedding.weight.copy_(positions)
        nn.init.orthogonal_(embeddings.patch_embedding.weight.view(VISION_WIDTH, -1), gain=0.5)
    model.generation_config = GenerationConfig(
        max_new_tokens=128,
        do_sample=False,
        eos_token_id=tokenizer.convert_tokens_to_ids(CLOSE),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )
    return model


def sinusoids_2d(side: int, width: int) -> Tensor:
    """A position table [side * side, width]: half sinusoids of the row, half of the column."""
    quarter = width // 4
    rates = torch.pi * torch.logspace(math.log10(0.5 / side), math.log10(0.5), quarter)
    angles = torch.arange(side)[:, None] * rates * 2
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = line[:, None].expand(side, side, -1)
    columns = line[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, -1)


def build_processor(
    tokenizer: PreTrainedTokenizerFast, side: int = SIDE
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
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
        video_token=VIDEO,
    )
