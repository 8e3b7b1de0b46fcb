"""Tiny random models of the stock classes of each family, with their stock processors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import pytest
import torch

from dycoke_cli.models.unsupported import needed_release
from tests.exactness import in_float64
from tests.families import unlisted
from tests.families.grids import cohere_compass, cosmos3_edge, glm4v, glm4v_moe, glm46v
from tests.families.masks import gemma4, gemma4_large, gemma4_unified, molmo2
from tests.families.pictures import (
    internvl,
    llava_next_video,
    llava_onevision,
    perception_lm,
    smolvlm,
    video_llama_3,
    video_llava,
)
from tests.families.qwen import (
    cosmos3_omni,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_5,
    qwen3_5_moe,
    qwen3_vl,
    qwen3_vl_moe,
)

Maker = Callable[[], tuple[Any, Any]]

EVERY_MAKER: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        llava_onevision, llava_next_video, video_llava, perception_lm, qwen2_vl, qwen2_5_vl,
        qwen3_vl, qwen3_vl_moe, qwen3_5, qwen3_5_moe, cosmos3_omni, cosmos3_edge, cohere_compass,
        glm4v, glm46v, glm4v_moe, gemma4,
        gemma4_large, gemma4_unified, molmo2, video_llama_3, internvl, smolvlm,
    )
}  # fmt: skip


def _where_it_runs(name: str, maker: Maker) -> Maker:
    """Skip in place of making a model that the installed transformers can't run."""

    @wraps(maker)
    def make_or_skip() -> tuple[Any, Any]:
        if release := needed_release(kind(name)):
            pytest.skip(f"{name} needs transformers {release} or later")
        return maker()

    return make_or_skip


UNLISTED_MAKERS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        unlisted.qwen2_5_omni, unlisted.qwen3_omni_moe, unlisted.qwen4_exp, unlisted.minicpmv4_6,
        unlisted.minicpmv4_7, unlisted.minicpm_ocr, unlisted.minimax_m3_vl,
        unlisted.nemotron_h_omni, unlisted.kimi_k25, unlisted.muse_spark, unlisted.muse_glimmer,
        unlisted.ernie4_5_vl_moe, unlisted.exaone4_5, unlisted.glm5_next, unlisted.lfm3_vl,
        unlisted.hyperclovax_vision_v2, unlisted.hy_v4_vl, unlisted.dots3_note, unlisted.glmga,
        unlisted.instructblipvideo,
    )
}  # fmt: skip
"""Those that the table doesn't know."""

MAKERS = {name: _where_it_runs(name, maker) for name, maker in EVERY_MAKER.items()}


def kind(family: str) -> str:
    """The `model_type` of a family of the matrix, which has Gemma 4 twice."""
    return family.removesuffix("_large")


@cache  # some 20 MB in all, and tests that take families in turns build none twice
def make(family: str, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    """A model with random weights, sharpened so that choices matter, and its processor.

    Args:
        dtype: float64, throughout (`in_float64`), or that of a model as it is stock.
    """
    torch.manual_seed(0)
    model, processor = (MAKERS | UNLISTED_MAKERS)[family]()
    return sharpened(model, dtype), processor


def sharpened(model: Any, dtype: torch.dtype) -> Any:
    """A model with random weights whose choices matter; see `make`."""
    model = model.eval().float()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    with torch.no_grad():
        for layer in getattr(model.get_decoder(), "layers", ()):
            if not hasattr(layer, "self_attn"):
                continue
            for name, factor in (("q_proj", 20), ("k_proj", 20), ("v_proj", 6)):
                if getattr(layer.self_attn, name, None) is not None:
                    getattr(layer.self_attn, name).weight *= factor
    return in_float64(model) if dtype == torch.float64 else model.to(dtype)
