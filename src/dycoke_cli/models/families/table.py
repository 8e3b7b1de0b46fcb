"""Model families, by `model_type` of the configuration. To add one: docs/dev/families.md."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dycoke_cli import plugins
from dycoke_cli.models.families.family import Family
from dycoke_cli.models.families.layout import Grid, PackedTower, Patched, Pooled, Stacked, Tower

if TYPE_CHECKING:
    import torch

# On 5.19 to 5.22 only generate() accepts a video: forward() doesn't pass the frame count on, so the
# vision encoder can't run by itself.
_GEMMA = Family(
    pixels=Patched(extra_inputs=("video_position_ids",), counts=("num_frames_per_video",)),
    keeps_every_token=False,
    cannot_run_on=("5.19", "5.23"),
)
_GRID_ROPE = ("video_grid_thw", "second_per_grid_ts")
# Limits of pixels per frame: the defaults of the stock video processor.
_QWEN2_PIXELS = {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}


def _pooled(config: Any) -> int:
    """Tokens per frame of LLaVA-OneVision: the patch grid, halved by bilinear pooling (ceil)."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    return math.ceil(side / 2) ** 2


def _strided(config: Any) -> int:
    """Tokens per frame of LLaVA-NeXT-Video: the patch grid, pooled with stride 2."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    return (side // config.spatial_pool_stride) ** 2


def _pooled_features(config: Any) -> int:
    """Tokens per frame of PerceptionLM: the tower's pooled grid."""
    side = config.vision_config.model_args["ref_feat_shape"][0]
    return (side // config.projector_pooling_ratio) ** 2


def _with_class_token(config: Any) -> int:
    """Tokens per frame of Video-LLaVA: the patch grid and the class token, kept for videos."""
    return (config.vision_config.image_size // config.vision_config.patch_size) ** 2 + 1


def _qwen2_size(config: Any, video_processor: Any) -> dict[str, Any]:
    """Cap the frame size: checkpoints carry only image limits, up to 12.8 megapixels per frame."""
    options = _uncapped(config, video_processor)
    if video_processor.size["longest_edge"] > _QWEN2_PIXELS["longest_edge"]:
        options["size"] = _QWEN2_PIXELS
    return options


def _uncapped(config: Any, video_processor: Any) -> dict[str, Any]:
    """Set the default of an option explicitly, because some versions warn without it."""
    options = getattr(video_processor.valid_kwargs, "__annotations__", {})
    return {"cap_pixels_per_frame": False} if "cap_pixels_per_frame" in options else {}


def _with_metadata(config: Any, video_processor: Any) -> dict[str, Any]:
    """Return the frame metadata that Cosmos 3 Edge needs for its time stamps."""
    return {"return_metadata": True}


def _uncompressed(config: Any, video_processor: Any) -> dict[str, Any]:
    """Disable VideoLLaMA 3's own token compression, which would run on top of a method's."""
    return {"use_token_compression": False}


def _square(config: Any, video_processor: Any) -> dict[str, Any]:
    """Set the video size of InternVL: some checkpoints have one their vision tower can't take."""
    side = config.vision_config.image_size
    height, width = side if isinstance(side, list | tuple) else (side, side)
    return {"size": {"height": height, "width": width}}


def _unpooled_rows(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """Rows of Video-LLaVA, which pools nothing: class token and patches are visual tokens."""
    return rows


def _pooled_rows(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """Pooled rows of LLaVA-OneVision: bilinear, so neighbouring tokens share patches."""
    pooled: torch.Tensor = model.apply_pooling(_selected(model, rows))
    return pooled


def _strided_rows(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """Pooled rows of LLaVA-NeXT-Video: squares of patches."""
    pooled: torch.Tensor = model.vision_resampler(_selected(model, rows))
    return pooled


def _shuffled_rows(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """Rows of InternVL summed over the squares of patches that pixel shuffle concatenates."""
    patches = _selected(model, rows)
    side = int(patches.shape[1] ** 0.5)
    grid = patches.view(1, side, side, -1)
    return _summed(model.pixel_shuffle(grid, scale_factor=model.config.downsample_ratio), rows)


def _connected_rows(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """Rows of SmolVLM summed over the squares of patches that pixel shuffle concatenates."""
    return _summed(model.connector.pixel_shuffle(rows, model.connector.scale_factor), rows)


def _selected(model: Any, rows: torch.Tensor) -> torch.Tensor:
    """Drop the leading class token where the model's feature selection does."""
    return rows[:, 1:] if model.config.vision_feature_select_strategy == "default" else rows


def _summed(side_by_side: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    # Pixel shuffle concatenates the k rows of a token to one of width k·D; split it, and add them.
    return side_by_side.flatten(1, -2).unflatten(-1, (-1, rows.shape[-1])).sum(-2)


def _by_window(vision: Any, rows: int, columns: int) -> torch.Tensor:
    """Token order of Qwen2.5-VL: window by window, because most layers attend within windows."""
    import torch

    side = vision.window_size // vision.spatial_merge_size // vision.patch_size
    across = -(-columns // side)
    down, right = torch.arange(rows)[:, None] // side, torch.arange(columns) // side
    return (down * across + right).flatten().argsort(stable=True)


_MERGER = PackedTower("visual", "blocks", ("merger",))
_QWEN2 = Family(
    pixels=Grid(),
    one_run=True,
    rope=_GRID_ROPE,
    video_options=_qwen2_size,
    packed_tower=_MERGER,
)
# Pairs of frames, each after a time stamp; the processor rejects a single frame.
_PAIRS = Family(
    pixels=Grid(),
    rope=_GRID_ROPE,
    least_frames=2,
    video_options=_uncapped,
    packed_tower=_MERGER,
)
_STACKED = replace(
    _PAIRS,
    packed_tower=PackedTower("visual", "blocks", ("merger", "deepstack_merger_list")),
)
_GLM = Family(
    pixels=Grid(),
    rope=_GRID_ROPE,
    least_frames=2,
    placeholder="image_token_id",
    packed_tower=_MERGER,
)

FAMILIES: dict[str, Family] = {
    # tail: one newline token after the last frame.
    "llava_onevision": Family(
        per_frame=_pooled,
        one_run=True,
        tail=1,
        tower=Tower("vision_tower", "encoder.layers", _pooled_rows),
    ),
    "llava_next_video": Family(
        per_frame=_strided,
        one_run=True,
        tower=Tower("vision_tower", "encoder.layers", _strided_rows),
    ),
    "video_llava": Family(
        per_frame=_with_class_token,
        one_run=True,
        tower=Tower("video_tower", "encoder.layers", _unpooled_rows),
    ),
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": replace(_QWEN2, packed_tower=replace(_MERGER, order=_by_window)),
    "qwen3_vl": _STACKED,
    "qwen3_vl_moe": _STACKED,
    "perception_lm": Family(per_frame=_pooled_features, one_run=True),
    # Three of four layers are linear attention, whose state has no entry per token.
    "qwen3_5": replace(_PAIRS, keeps_every_token=False),
    "qwen3_5_moe": replace(_PAIRS, keeps_every_token=False),
    "cosmos3_omni": _STACKED,
    "cosmos3_edge": Family(
        pixels=Grid(),
        rope=_GRID_ROPE,
        video_options=_with_metadata,
        packed_tower=PackedTower("visual", "encoder.layers", ("post_layernorm",)),
    ),
    # generate() of 5.18 accepts no video.
    "cohere_compass": replace(_STACKED, cannot_run_on=("5.18", "5.19")),
    # Most layers have sliding windows; in the larger models, frames attend to each other in both
    # directions there.
    "gemma4": _GEMMA,
    "gemma4_unified": replace(
        _GEMMA,
        only_none="its attention mask can't be reproduced for a shortened prompt",
    ),
    # Attention is bidirectional between all frames.
    "molmo2": Family(
        pixels=Pooled(), causal=False, several_videos=False, cannot_run_on=("0", "5.20")
    ),
    "glm4v": _GLM,
    "glm4v_moe": _GLM,
    "glm46v": _GLM,
    "video_llama_3": Family(
        pixels=Grid(whole=("video_merge_sizes",)),
        video_options=_uncompressed,
        packed_tower=PackedTower("vision_model", "encoder.layers", ("post_layernorm",)),
    ),
    "internvl": Family(
        pixels=Stacked("pixel_values", axis=0),
        placeholder="image_token_id",
        video_options=_square,
        tower=Tower("vision_tower", "encoder.layer", _shuffled_rows),
    ),
    "smolvlm": Family(
        pixels=Stacked("pixel_values", extra_inputs=("pixel_attention_mask",)),
        placeholder="image_token_id",
        tower=Tower("vision_model", "encoder.layers", _connected_rows),
    ),
}


def _check(name: str, family: Any) -> None:
    """Reject a plug-in's object that isn't a `Family`."""
    if not isinstance(family, Family):
        raise plugins.Unfit("it isn't a Family")


plugins.extend("family", FAMILIES, _check)
