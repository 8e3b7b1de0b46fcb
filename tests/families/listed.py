"""Families of the table, as rows: sizes, special tokens, and whose processor a family has."""

from __future__ import annotations

from typing import Any

from tests.families.parts import (
    CHANNELS_OF_ROPE,
    EXPERTS,
    PATCHES,
    ROUTED,
    SIDE,
    SMALL,
    TEXT,
    VISION,
    VOCABULARY,
    Maker,
    template,
    without,
)

SQUARE = {"height": SIDE, "width": SIDE}
GRID_TEXT = TEXT | {"rope_parameters": CHANNELS_OF_ROPE}

# Frames as pictures.
PLAIN_IDS = {"image_token_id": "<image>", "video_token_id": "<video>"}
PLAIN_INDICES = {"image_token_index": "<image>", "video_token_index": "<video>"}
PLAIN_WORDS = {"image_token": "<image>", "video_token": "<video>"}
BAR_IDS = {"image_token_id": "<|image|>", "video_token_id": "<|video|>"}
BAR_WORDS = {"image_token": "<|image|>", "video_token": "<|video|>"}
CLIP_VISION = VISION | {"model_type": "clip_vision_model", "image_size": SIDE, "projection_dim": 16}
# Of a tower with a token for the whole picture.
CROPPED: dict[str, Any] = {"size": {"shortest_edge": SIDE}, "crop_size": SQUARE}
CLIP_PARTS: dict[str, Any] = {
    "ids": PLAIN_INDICES, "words": PLAIN_WORDS, "template": template("<video>\n"),
    "image": CROPPED, "video": CROPPED,
    "options": {
        "patch_size": 4, "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    },
}  # fmt: skip
PERCEPTION_TOWER = {
    "model_type": "timm_wrapper", "architecture": "vit_pe_core_large_patch14_336",
    "model_args": {
        "embed_dim": 64, "img_size": (28, 28), "depth": 2, "num_heads": 4, "global_pool": "",
        "use_post_transformer_norm": False, "init_values": 0.1, "ref_feat_shape": (2, 2),
    },
}  # fmt: skip
SMOL_SIZE = {"size": {"longest_edge": SIDE}, "max_image_size": {"longest_edge": SIDE}}

# Qwen-VL, and those that share its parts.
PAD_IDS = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
PAD_WORDS = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
QWEN_IDS = PAD_IDS | {
    "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
}  # fmt: skip
QWEN_TEMPLATE = template("<|vision_start|><|video_pad|><|vision_end|>")
QWEN2_PARTS: dict[str, Any] = {
    "template": QWEN_TEMPLATE,
    "video": SMALL | {"size": {"shortest_edge": 256, "longest_edge": 768}},
    "classes": {
        "ImageProcessor": "Qwen2VLImageProcessor", "VideoProcessor": "Qwen2VLVideoProcessor",
    },
}  # fmt: skip
QWEN3_CLASSES = {
    "ImageProcessor": "Qwen2VLImageProcessor", "VideoProcessor": "Qwen3VLVideoProcessor",
}  # fmt: skip
QWEN3_PARTS: dict[str, Any] = {
    "ids": QWEN_IDS, "template": QWEN_TEMPLATE, "video": PATCHES,
    "classes": QWEN3_CLASSES | {"Processor": "Qwen3VLProcessor"},
}  # fmt: skip
QWEN2_5_VISION = {
    "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
    "window_size": 16, "out_hidden_size": 32, "fullatt_block_indexes": [1],
}  # fmt: skip
QWEN3_TEXT = without(TEXT, "bos_token_id", "eos_token_id") | {
    "head_dim": 8, "rope_parameters": CHANNELS_OF_ROPE | {"mrope_interleaved": True},
}  # fmt: skip
QWEN3_VISION = {
    "depth": 3, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
    "out_hidden_size": 32, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
}  # fmt: skip
QWEN3_5_TEXT = TEXT | {
    "num_hidden_layers": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "head_dim": 16,
    "rope_parameters": CHANNELS_OF_ROPE | {"partial_rotary_factor": 0.5, "mrope_interleaved": True},
}  # fmt: skip
QWEN3_5_VISION = without(QWEN3_VISION, "deepstack_visual_indexes")

# GLM-V: other families with places in time, height and width.
GLM_IDS = BAR_IDS | {
    "image_start_token_id": "<|begin_of_image|>", "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>", "video_end_token_id": "<|end_of_video|>",
}  # fmt: skip
GLM_TEXT = without(TEXT, "bos_token_id", "eos_token_id") | {
    "rope_parameters": CHANNELS_OF_ROPE | {"partial_rotary_factor": 1.0},
}
GLM_VISION = {
    "depth": 2, "hidden_size": 16, "num_heads": 2, "image_size": 16, "patch_size": 4,
    "out_hidden_size": 32, "intermediate_size": 24,
}  # fmt: skip
GLM_OF_TYPES = {
    "text_config": GLM_TEXT | {"model_type": "glm4v_text"},
    "vision_config": GLM_VISION | {"model_type": "glm4v_vision"},
}
GLM_PARTS: dict[str, Any] = {
    "ids": GLM_IDS, "words": BAR_WORDS, "video": PATCHES,
    "template": template("<|begin_of_video|><|video|><|end_of_video|>"),
}  # fmt: skip

# Frames that see each other, or layers that see a window.
GEMMA_TEXT = TEXT | {
    "num_hidden_layers": 6, "head_dim": 8, "global_head_dim": 16, "sliding_window": 8,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
    "vocab_size_per_layer_input": VOCABULARY, "pad_token_id": 0,
}  # fmt: skip
GEMMA_VISION = VISION | {
    "num_key_value_heads": 2, "head_dim": 8, "pooling_kernel_size": 3,
    "position_embedding_size": 64,
}  # fmt: skip
GEMMA_PARTS: dict[str, Any] = {
    "ids": BAR_IDS | {
        "audio_token_id": "<|audio|>", "boi_token_id": "<|begin_of_image|>",
        "eoi_token_id": "<|end_of_image|>",
    },
    "words": BAR_WORDS | {
        "boi_token": "<|begin_of_image|>", "eoi_token": "<|end_of_image|>",
        "audio_token": "<|audio|>", "boa_token": "<|begin_of_audio|>",
        "eoa_token": "<|end_of_audio|>",
    },
    "image": {}, "video": SMALL | {"max_soft_tokens": 70}, "audio": {},
    "template": template("<|video|>"),
}  # fmt: skip


def llava_onevision(text: Any) -> Maker:
    """text: its language model's configuration."""
    vision = VISION | {"model_type": "siglip_vision_model", "image_size": SIDE}
    full = {"vision_feature_select_strategy": "full"}
    return Maker(
        "LlavaOnevision",
        {"vision_config": vision, "text_config": text, "vision_feature_layer": -1, **full},
        PLAIN_IDS,
        template("<video>\n"),
        image={"size": SQUARE},
        video={"size": SQUARE},
        words=PLAIN_WORDS,
        options={"num_image_tokens": 16, **full},
    )


def gemma4(**text: Any) -> Maker:
    config = {"text_config": GEMMA_TEXT | text, "vision_config": GEMMA_VISION, "audio_config": None}
    classes = {"FeatureExtractor": "Gemma4AudioFeatureExtractor"}
    return Maker("Gemma4", config, classes=classes, **GEMMA_PARTS)


LISTED = {
    "llava_onevision": llava_onevision(TEXT | {"model_type": "qwen2"}),
    "llava_next_video": Maker(
        "LlavaNextVideo",
        {
            "vision_config": CLIP_VISION, "text_config": TEXT | {"model_type": "llama"},
            "vision_feature_layer": -2,
        },
        classes={"ImageProcessor": "LlavaNextImageProcessor"}, **CLIP_PARTS,
    ),
    "video_llava": Maker(
        "VideoLlava",
        {"vision_config": CLIP_VISION, "text_config": TEXT | {"model_type": "llama"}},
        **CLIP_PARTS,
    ),
    "perception_lm": Maker(
        "PerceptionLM",
        {
            "vision_config": PERCEPTION_TOWER, "text_config": TEXT | {"model_type": "llama"},
            "vision_use_cls_token": True, "projector_pooling_ratio": 1,
        },
        BAR_IDS, template("<|video|>"), words=BAR_WORDS,
        image={}, video={"size": {"height": 28, "width": 28}},
        options={"patch_size": 14, "pooling_ratio": 1},
    ),
    "qwen2_vl": Maker(
        "Qwen2VL",
        {
            "text_config": GRID_TEXT,
            "vision_config": {
                "depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4,
            },
        },
        QWEN_IDS, **QWEN2_PARTS,
    ),
    "qwen2_5_vl": Maker(
        "Qwen2_5_VL",
        {"text_config": GRID_TEXT, "vision_config": QWEN2_5_VISION | {"tokens_per_second": 2}},
        QWEN_IDS, **QWEN2_PARTS,
    ),
    "qwen3_vl": Maker(
        "Qwen3VL", {"text_config": QWEN3_TEXT, "vision_config": QWEN3_VISION}, **QWEN3_PARTS,
    ),
    "qwen3_vl_moe": Maker(
        "Qwen3VLMoe", {"text_config": QWEN3_TEXT | EXPERTS, "vision_config": QWEN3_VISION},
        **QWEN3_PARTS,
    ),
    "qwen3_5": Maker(
        "Qwen3_5", {"text_config": QWEN3_5_TEXT, "vision_config": QWEN3_5_VISION}, **QWEN3_PARTS,
    ),
    "qwen3_5_moe": Maker(
        "Qwen3_5Moe",
        {
            "text_config": QWEN3_5_TEXT | EXPERTS | {"shared_expert_intermediate_size": 16},
            "vision_config": QWEN3_5_VISION,
        },
        **QWEN3_PARTS,
    ),
    "cosmos3_omni": Maker(
        "Cosmos3Omni",
        {
            "text_config": QWEN3_TEXT | {"model_type": "qwen3_vl_text"},
            "vision_config": QWEN3_VISION | {"model_type": "qwen3_vl_vision"},
        },
        **QWEN3_PARTS,
    ),
    "cosmos3_edge": Maker(
        "Cosmos3Edge",
        {
            "vision_config": VISION | {"num_patches": 16, "spatial_merge_size": 2},
            "text_config": without(GRID_TEXT, "pad_token_id") | {"head_dim": 8},
        },
        QWEN_IDS, QWEN_TEMPLATE, PATCHES,
    ),
    "cohere_compass": Maker(
        "CohereCompass",
        {
            "vision_config": QWEN3_VISION,
            "text_config": TEXT
            | {"rope_parameters": {"full_attention": CHANNELS_OF_ROPE}, "logit_scale": 1.0},
        },
        {
            "image_token_id": "<|IMAGE_PAD|>", "video_token_id": "<|VIDEO_PAD|>",
            "vision_start_token_id": "<|VISION_START|>", "vision_end_token_id": "<|VISION_END|>",
        },
        template("<|VISION_START|><|VIDEO_PAD|><|VISION_END|>"), PATCHES,
    ),
    "glm4v": Maker("Glm4v", {"text_config": GLM_TEXT, "vision_config": GLM_VISION}, **GLM_PARTS),
    "glm46v": Maker("Glm46V", GLM_OF_TYPES, **GLM_PARTS),
    "glm4v_moe": Maker(
        "Glm4vMoe",
        {
            "text_config": GLM_TEXT | ROUTED | {"first_k_dense_replace": 1},
            "vision_config": GLM_VISION,
        },
        classes={
            name: f"Glm4v{name}" for name in ("Processor", "ImageProcessor", "VideoProcessor")
        },
        **GLM_PARTS,
    ),
    # As E2B: layers with inputs of their own, others that share keys and values.
    "gemma4": gemma4(hidden_size_per_layer_input=8, num_kv_shared_layers=2),
    # As 31B: the tokens of a frame see each other both ways in the sliding layers.
    "gemma4_large": gemma4(
        hidden_size_per_layer_input=0, num_kv_shared_layers=0, use_bidirectional_attention="vision"
    ),
    "gemma4_unified": Maker(
        "Gemma4Unified",
        {
            "text_config": without(GEMMA_TEXT, "vocab_size_per_layer_input")
            | {"use_bidirectional_attention": "vision"},
            "vision_config": {
                "patch_size": 4, "pooling_kernel_size": 3, "mm_embed_dim": 16,
                "mm_posemb_size": 64, "output_proj_dims": 16,
            },
            "audio_config": None,
        },
        classes={"FeatureExtractor": "Gemma4UnifiedAudioFeatureExtractor"}, **GEMMA_PARTS,
    ),
    "molmo2": Maker(
        "Molmo2",
        {
            "text_config": without(TEXT, "bos_token_id", "eos_token_id", "pad_token_id")
            | {"additional_vocab_size": 8, "head_dim": 8},
            "vision_config": VISION
            | {
                "num_hidden_layers": 4, "num_key_value_heads": 2, "head_dim": 8,
                "image_size": [SIDE, SIDE],
            },
            "adapter_config": {
                "vision_feature_layer": [-1, -2], "hidden_size": 16, "num_attention_heads": 2,
                "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 32,
                "text_hidden_size": 32,
            },
        },
        {
            "image_start_token_id": "<im_start>", "image_end_token_id": "<im_end>",
            "low_res_image_start_token_id": "<low_res_im_start>", "image_patch_id": "<im_patch>",
            "frame_start_token_id": "<frame_start>", "frame_end_token_id": "<frame_end>",
        },
        template("<|video|>"), image={},
        video=SMALL
        | {
            "size": SQUARE, "do_resize": True, "do_rescale": True, "do_normalize": True,
            "do_convert_rgb": True,
        },
        words={"video_token": "<|video|>", "bos_token": "<|im_start|>"},
    ),
    "video_llama_3": Maker(
        "VideoLlama3",
        {"text_config": TEXT | {"model_type": "qwen2"}, "vision_config": VISION},
        PAD_IDS, template("<|video_pad|>\n"), PATCHES, words=PAD_WORDS,
    ),
    "internvl": Maker(
        "InternVL",
        {
            "text_config": TEXT | {"model_type": "qwen2"},
            "vision_config": VISION | {"image_size": SIDE}, "image_seq_length": 4,
        },
        {"image_token_id": "<IMG_CONTEXT>"}, template("<video>\n"),
        image={"size": SQUARE}, video={"size": SQUARE},
        words={
            "start_image_token": "<img>", "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>",
        },
        options={"image_seq_length": 4}, classes={"ImageProcessor": "GotOcr2ImageProcessor"},
    ),
    "smolvlm": Maker(
        "SmolVLM",
        {
            "text_config": TEXT | {"model_type": "llama"},
            "vision_config": VISION | {"image_size": SIDE}, "scale_factor": 2,
        },
        {"image_token_id": "<image>"}, template("<video>"),
        image=SMOL_SIZE, video=SMOL_SIZE | {"num_frames": 64, "fps": 1},
        words=PLAIN_WORDS
        | {
            "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
        options={"image_seq_len": 4},
    ),
}  # fmt: skip
