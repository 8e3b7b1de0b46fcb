"""Tiny random LLaVA-OneVision models of the stock class, and prompts for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from tests.exactness import in_float64

VIDEO_TOKEN = 7
VOCABULARY = 96


@dataclass(frozen=True)
class Shape:
    """The sizes of a tiny model: what differs between checkpoints of the family."""

    side: int  # patches a side; tokens a frame are ceil(side / 2) squared
    layers: int
    heads: int
    kv_heads: int
    head_width: int = 8

    @property
    def tokens_per_frame(self) -> int:
        return (-(-self.side // 2)) ** 2


SHAPES = (
    Shape(side=4, layers=5, heads=4, kv_heads=2),
    Shape(side=5, layers=4, heads=6, kv_heads=1),
    Shape(side=3, layers=6, heads=2, kv_heads=2, head_width=16),
)


def make_model(shape: Shape, seed: int = 0, text: Any = Qwen2Config, **config: Any) -> Any:
    """A float64 model with random weights; attention is sharpened so that choices matter.

    text: the class of its language model's configuration.
    """
    torch.manual_seed(seed)
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=shape.side * 4,
        patch_size=4,
    )
    language = text(
        vocab_size=VOCABULARY,
        hidden_size=shape.heads * shape.head_width,
        intermediate_size=48,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **config,
    )
    model = LlavaOnevisionForConditionalGeneration(
        LlavaOnevisionConfig(
            vision_config=vision,
            text_config=language,
            video_token_id=VIDEO_TOKEN,
            image_token_id=8,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        )
    ).eval()
    with torch.no_grad():
        for layer in model.get_decoder().layers:
            layer.self_attn.q_proj.weight *= 40
            layer.self_attn.k_proj.weight *= 40
            layer.self_attn.v_proj.weight *= 10
            layer.mlp.down_proj.weight *= 10
        model.model.multi_modal_projector.linear_2.weight *= 20
    # The turns of the rotary positions, too: stock tables of them are float32.
    table = in_float64(model).get_decoder().rotary_emb.inv_freq
    table.copy_(10_000.0 ** (-torch.arange(len(table)).double() / len(table)))
    return model


def make_inputs(
    shape: Shape, frames: int, seed: int = 0, clip: np.ndarray | None = None
) -> dict[str, torch.Tensor]:
    """A prompt of text, a video (noise, or a clip [F, H, W, 3] scaled to the model), and text."""
    generator = torch.Generator().manual_seed(seed)
    side = shape.side * 4
    if clip is None:
        pixels = torch.randn(1, frames, 3, side, side, generator=generator)
    else:
        video = torch.from_numpy(clip).permute(0, 3, 1, 2).float() / 127.5 - 1
        pixels = torch.nn.functional.interpolate(video, (side, side), mode="area")[None]
    before = torch.randint(10, VOCABULARY, (3,), generator=generator)
    behind = torch.randint(10, VOCABULARY, (5,), generator=generator)
    run = torch.full((frames * shape.tokens_per_frame + 1,), VIDEO_TOKEN)
    input_ids = torch.cat([before, run, behind])[None]
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "pixel_values_videos": pixels,
    }


def padded_left(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same prompt behind four tokens that don't count."""
    pad = torch.nn.functional.pad
    return inputs | {
        "input_ids": pad(inputs["input_ids"], (4, 0), value=1),
        "attention_mask": pad(inputs["attention_mask"], (4, 0), value=0),
    }


def prompt_rows(
    model: Any, shape: Shape, inputs: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, range]:
    """What the language model reads [S, D], and which of the rows are visual tokens."""
    seen = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"][0]), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    placeholders = (inputs["input_ids"][0] == VIDEO_TOKEN).nonzero().flatten()
    first = int(placeholders[0])
    return seen[0], range(first, first + len(placeholders) - 1)  # the last is the newline
