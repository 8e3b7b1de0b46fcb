"""Families that the table doesn't know: their layout is found when a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.families.listed import (
    BAR_IDS,
    GLM_OF_TYPES,
    GLM_PARTS,
    GLM_VISION,
    GRID_TEXT,
    PAD_IDS,
    QWEN2_5_VISION,
    QWEN2_PARTS,
    QWEN3_5_TEXT,
    QWEN3_5_VISION,
    QWEN3_CLASSES,
    QWEN3_PARTS,
    QWEN3_TEXT,
    QWEN3_VISION,
    QWEN_IDS,
)
from tests.families.parts import (
    EXPERTS,
    PATCHES,
    ROOM,
    ROUTED,
    SIDE,
    SMALL,
    TEXT,
    VISION,
    VOCABULARY,
    WIDE_TEXT,
    Maker,
    template,
    without,
)

LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "v_head_dim": 8}
HYBRID_TEXT = QWEN3_5_TEXT | {"vocab_size": VOCABULARY + ROOM, "model_type": "qwen3_5_text"}
OMNI_AUDIO = {
    "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "d_model": 16,
    "output_dim": 32,
}  # fmt: skip
MUSE = {
    "image_token": "<|patch|>", "image_start_token": "<|image_start|>",
    "image_end_token": "<|image_end|>", "video_token": "<|video|>",
    "video_sep_token": "<|vid_frame_separator|>", "video_start_token": "<|vid_start|>",
    "video_end_token": "<|vid_end|>",
}  # fmt: skip
MUSE_IDS = {"image_token_id": "<|patch|>", "video_token_id": "<|video|>"}
MUSE_CONFIG = {
    "text_config": WIDE_TEXT | {"head_dim": 8, "sliding_window": 16},
    "vision_config": VISION
    | {
        "pos_emb_height": 4, "pos_emb_width": 4, "max_position_embeddings": 16,
        "num_hidden_layers": 4,
    },
    "out_hidden_size": 64, "projector_hidden_size": 32,
}  # fmt: skip
SLICES = {
    "image_start_id": "<image_start>", "image_end_id": "</image>", "slice_start_id": "<slice>",
    "slice_end_id": "</slice>", "newline_id": "Ċ",
}  # fmt: skip
ERNIE = {
    "image_token": "<|image|>", "image_start_token": "<|begin_of_image|>",
    "image_end_token": "<|end_of_image|>", "video_token": "<|video|>",
    "video_start_token": "<|begin_of_video|>", "video_end_token": "<|end_of_video|>",
}  # fmt: skip


def omni(name: str, config: dict[str, Any], ids: dict[str, str]) -> Maker:
    """For frames and sound: the part that reads and answers, as it is loaded.

    The one that speaks is left out.
    """
    classes = {kind: f"{name}Thinker{kind}" for kind in ("Config", "ForConditionalGeneration")}
    classes |= QWEN2_PARTS["classes"] | {"FeatureExtractor": "WhisperFeatureExtractor"}
    return Maker(
        name, config, ids, **QWEN2_PARTS | {"classes": classes}, audio={"feature_size": 128},
        words={
            "image_token": "<|image_pad|>", "audio_token": "<|audio|>",
            "video_token": "<|video_pad|>", "vision_bos_token": "<|vision_start|>",
            "vision_eos_token": "<|vision_end|>", "audio_bos_token": "<|begin_of_audio|>",
            "audio_eos_token": "<|end_of_audio|>",
        },
        # The class has limits of its own, which are those of published checkpoints.
        changed={"videos_kwargs": {}},
    )  # fmt: skip


def minicpm(name: str, pixels: str, ids: dict[str, str], **more: int) -> Maker:
    """pixels: the classes that prepare them begin with it."""
    size = SMALL | {"scale_resolution": 2 * SIDE}
    return Maker(
        name,
        {
            "text_config": HYBRID_TEXT, "insert_layer_id": 0,
            "vision_config": VISION | {"num_hidden_layers": 3, "image_size": 2 * SIDE}, **more,
        },
        BAR_IDS | ids, template("<|video|>"), image=size, video=size | {"max_slice_nums": 1},
        words={
            "image_token": "<|image|>", "video_token": "<|video|>",
            "image_start_token": "<image_start>", "image_end_token": "</image>",
            "slice_start_token": "<slice>", "slice_end_token": "</slice>",
            "image_id_start_token": "<image_id>", "image_id_end_token": "</image_id>",
        },
        classes={kind: f"{pixels}{kind}" for kind in ("ImageProcessor", "VideoProcessor")},
    )  # fmt: skip


def kimi_k25(merged: int) -> Maker:
    """merged: as many frames are one."""
    image, video = "<|media_pad|>", "<|kimi_k25_video_placeholder|>"
    begin, end = "<|media_begin|>", "<|media_end|>"
    return Maker(
        "Kimi_K25",
        {
            "text_config": WIDE_TEXT | ROUTED | LATENT
            | {
                "model_type": "deepseek_v3", "num_key_value_heads": 4, "n_group": 1,
                "topk_group": 1, "first_k_dense_replace": 1, "qk_rope_head_dim": 4,
            },
            "vision_config": VISION
            | {"pos_emb_height": 8, "pos_emb_width": 8, "pos_emb_time": merged},
            "projection_hidden_size": 16,
        },
        {
            "image_token_id": image, "video_token_id": video, "vision_start_token_id": begin,
            "vision_end_token_id": end,
        },
        template(video, f"{begin}{image}{end}"), SMALL | {"temporal_patch_size": merged},
        added=(image, video, begin, end, "<|media_content|>"),
    )  # fmt: skip


UNLISTED: dict[str, Callable[[], tuple[Any, Any]]] = {
    "qwen2_5_omni": omni(
        "Qwen2_5Omni",
        {"text_config": GRID_TEXT, "vision_config": QWEN2_5_VISION, "audio_config": OMNI_AUDIO},
        {
            "audio_token_index": "<|audio|>", "image_token_index": "<|image_pad|>",
            "video_token_index": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>", "audio_start_token_id": "<|begin_of_audio|>",
            "audio_end_token_id": "<|end_of_audio|>",
        },
    ),
    "qwen3_omni_moe": omni(
        "Qwen3OmniMoe",
        {
            "text_config": QWEN3_TEXT | EXPERTS, "vision_config": QWEN3_VISION,
            "audio_config": OMNI_AUDIO | {"downsample_hidden_size": 8},
            "position_id_per_seconds": 13,  # that of published checkpoints, and of the processor
        },
        QWEN_IDS | {"audio_token_id": "<|audio|>", "audio_start_token_id": "<|begin_of_audio|>"},
    ),
    "qwen4_exp": Maker(
        "Qwen4Exp",
        {
            "text_config": without(QWEN3_5_TEXT, "intermediate_size") | EXPERTS
            | {
                "shared_expert_intermediate_size": 16, "hc_count": 2, "hc_lowrank": 8,
                "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8,
                "indexer_budget": 16, "indexer_compress_ratio": 4,
                "layer_types": ["linear_attention"] * 3 + ["full_attention"],
            },
            "vision_config": QWEN3_5_VISION,
        },
        **QWEN3_PARTS,
    ),
    "minicpmv4_6": minicpm("MiniCPMV4_6", "MiniCPMV4_6", {}, image_size=2 * SIDE),
    "minicpmv4_7": minicpm("MiniCPMV4_7", "MiniCPMV4_6", SLICES, image_size=2 * SIDE),
    "minicpm_ocr": minicpm("MiniCPMOcr", "MiniCPMOcr", {}),
    "minimax_m3_vl": Maker(
        "MiniMaxM3VL",
        {
            "text_config": WIDE_TEXT
            | {
                "head_dim": 8, "rotary_dim": 4, "num_experts_per_tok": 2, "num_local_experts": 4,
                "dense_intermediate_size": 48, "shared_intermediate_size": 16,
                "mlp_layer_types": ["dense", *["sparse"] * 2],
                "layer_types": ["full_attention", "minimax_m3_sparse", "full_attention"],
                "index_n_heads": 2, "index_head_dim": 8, "index_block_size": 4,
                "index_topk_blocks": 2,
            },
            "vision_config": VISION, "projector_hidden_size": 32,
        },
        {"image_token_index": "]<]image[>[", "video_token_index": "]<]video[>["},
        template("]<]video[>["), SMALL,
        added=("]<]image[>[", "]<]video[>[", "]<]start of image[>[", "]<]end of image[>["),
        classes={"ForConditionalGeneration": "MiniMaxM3SparseForConditionalGeneration"},
    ),
    "nemotron_h_omni": Maker(
        "NemotronH_Omni_Reasoning_V3",
        {
            "text_config": WIDE_TEXT
            | {
                "model_type": "nemotron_h", "head_dim": 8, "mamba_num_heads": 4,
                "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 2, "conv_kernel": 4,
            },
            "audio_config": {
                "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
                "num_attention_heads": 2, "subsampling_conv_channels": 8,
                "projection_hidden_size": 16, "projection_bias": False,
            },
            "vision_config": VISION | {"image_size": SIDE, "video_temporal_patch_size": 2},
            "projector_hidden_size": 32, "vision_hidden_size": 16,
        },
        {
            "image_token_id": "<image>", "video_token_id": "<video>",
            "audio_token_id": "<so_embedding>",
        },
        template("<video>", "<image>", "<so_embedding>"),
        image=SMALL | {"min_num_patches": 16, "max_num_patches": 64},
        video=SMALL
        | {"video_target_num_patches": 16, "norm_mean": [0.5] * 3, "norm_std": [0.5] * 3},
        audio={},
        words={
            "image_token": "<image>", "video_token": "<video>", "image_start_token": "<img>",
            "image_end_token": "</img>",
        },
        added=("<so_embedding>", "<so_start>", "<so_end>"),
        classes={
            "Config": "NemotronH_Omni_Reasoning_V3_Config",
            "FeatureExtractor": "ParakeetFeatureExtractor",
            "ForConditionalGeneration": "NemotronH_Omni_Reasoning_V3",
        },
    ),
    "kimi_k25": kimi_k25(merged=4),
    "muse_spark": Maker(
        "MuseSpark",
        MUSE_CONFIG
        | {
            "text_config": WIDE_TEXT
            | {
                "head_dim": 8, "sliding_window": 16, "moe_intermediate_size": 16,
                "num_local_experts": 4, "num_experts_per_tok": 2, "moe_hidden_size": 16,
            },
            "audio_config": {
                "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "out_hidden_size": 32,
            },
        },
        MUSE_IDS | {"audio_token_id": "<|audio|>"}, template("<|video|>", audio="<|audio|>"),
        SMALL, audio={}, added=(*MUSE.values(), "<|soft_audio_start|>", "<|soft_audio_end|>"),
        classes={
            "ImageProcessor": "MuseGlimmerImageProcessor",
            "VideoProcessor": "MuseGlimmerVideoProcessor",
        },
    ),
    "muse_glimmer": Maker(
        "MuseGlimmer", MUSE_CONFIG, MUSE_IDS, template("<|video|>"), SMALL,
        added=(*MUSE.values(),),
    ),
    "ernie4_5_vl_moe": Maker(
        "Ernie4_5_VLMoe",
        {
            "text_config": GRID_TEXT
            | {
                "moe_k": 2, "moe_num_experts": 4, "moe_num_shared_experts": 1,
                "moe_intermediate_size": [16, 8],
            },
            "vision_config": {
                "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2,
                "patch_size": 4,
            },
        },
        {f"{name}_id": token for name, token in ERNIE.items()},
        template("<|begin_of_video|><|video|><|end_of_video|>"),
        PATCHES | {"draw_on_frames": False}, words=ERNIE,
    ),
    "exaone4_5": Maker(
        "Exaone4_5_",
        {
            "text_config": TEXT
            | {"model_type": "exaone4", "sliding_window": 16, "sliding_window_pattern": 4},
            "vision_config": QWEN2_5_VISION | {"num_key_value_heads": 1},
        },
        PAD_IDS, **QWEN2_PARTS,
    ),
    "glm5_next": Maker(
        "Glm5Next",
        {
            "text_config": TEXT | ROUTED | LATENT
            | {
                "num_key_value_heads": 4, "index_topk": 32, "index_head_dim": 8,
                "index_n_heads": 2, "index_kpool": 4, "linear_head_dim": 8,
                "linear_num_heads": 4, "hc_mult": 2,
                "num_hidden_layers": 5,  # with fewer it has no layer with an index of its tokens
            },
            "vision_config": GLM_VISION | {"projection_intermediate_size": 32},
        },
        **GLM_PARTS | {"video": SMALL},
    ),
    "lfm3_vl": Maker(
        "Lfm3Vl",
        {
            "text_config": TEXT | {"model_type": "lfm3"}, "projector_hidden_size": 32,
            "vision_config": VISION | {"num_key_value_heads": 1},
        },
        QWEN_IDS, template("<|video_pad|>"), PATCHES, classes=QWEN3_CLASSES,
    ),
    "hyperclovax_vision_v2": Maker(
        "HyperCLOVAXVisionV2",
        {
            "text_config": TEXT | {"model_type": "hyperclovax"},
            "vision_config": QWEN2_5_VISION | {"model_type": "qwen2_5_vl_vision"},
        },
        PAD_IDS, **QWEN2_PARTS,
    ),
    "hy_v4_vl": Maker(
        "HYV4VL",
        {
            "text_config": GRID_TEXT | ROUTED | LATENT
            | {
                "qk_rope_head_dim": 8, "index_topk": 16, "index_head_dim": 16,
                "index_n_heads": 2, "hc_mult": 2,
            },
            "vision_config": VISION | {"out_hidden_size": 32, "max_image_size": 64},
        },
        PAD_IDS, template("<|video_pad|>"), SMALL,
    ),
    "dots3_note": Maker(
        "Dots3Note",
        {
            "text_config": WIDE_TEXT | ROUTED | LATENT
            | {
                "num_key_value_heads": 4, "first_k_dense_replace": 1,
                "shared_experts_intermediate_size": 16, "qk_rope_head_dim": 4, "head_dim": 12,
                "index_topk": 16, "index_head_dim": 8, "index_n_heads": 2, "sliding_window": 16,
                "num_hidden_layers": 4, "swa_num_attention_heads": 4,
                "swa_num_key_value_heads": 4, "swa_q_lora_rank": 16, "swa_kv_lora_rank": 16,
                "swa_head_dim": 12, "swa_qk_nope_head_dim": 8, "swa_v_head_dim": 8,
                "layer_types": [*["full_attention"] * 2, "sliding_attention", "full_attention"],
            },
            "vision_config": VISION
            | {
                "moe_intermediate_size": 16, "num_local_experts": 2, "num_experts_per_tok": 1,
                "mlp_layer_types": ["dense", "sparse"], "adapter_in_dim": 16,
                "adapter_out_dim": 32,
            },
            "audio_config": {
                "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
                "num_attention_heads": 2, "downsample_hidden_size": 8, "adapter_input_size": 16,
                "adapter_out_dim": 32,
            },
        },
        {
            "image_token_id": "<|imgpad|>", "video_token_id": "<|video_pad|>",
            "audio_token_id": "<|audio_comp_pad|>",
        },
        template("<|video_pad|>", audio="<|audio_comp_pad|>"),
        PATCHES | {"temporal_patch_size": 1}, audio={},
        added=("<|imgpad|>", "<|audio_comp_pad|>"), classes=QWEN3_CLASSES,
    ),
    "glmga": Maker(
        "Glmga", GLM_OF_TYPES, **GLM_PARTS,
        classes={
            "Processor": "Glm46VProcessor",
            "ForConditionalGeneration": "Glm46VForConditionalGeneration",
        },
    ),
}  # fmt: skip
