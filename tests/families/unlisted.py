"""Families that the table doesn't know: their layout is found when a model is loaded."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.families.grids import GLM_IDS, GLM_SIZE, GLM_TEMPLATE, GLM_TEXT, GLM_VISION
from tests.families.parts import (
    CHANNELS_OF_ROPE,
    SIDE,
    TEXT,
    VISION,
    VOCABULARY,
    number,
    template,
    tokenizer,
)
from tests.families.qwen import (
    QWEN3_5_TEXT,
    QWEN3_5_VISION,
    QWEN3_TEXT,
    QWEN3_VISION,
    QWEN_IDS,
    QWEN_SIZE,
    QWEN_TEMPLATE,
    with_qwen2_pictures,
)

# Ids of tokens that only these families have follow those of the others.
ROOM = 32
WIDE_TEXT = TEXT | {"vocab_size": VOCABULARY + ROOM}
QWEN2_VISION = {
    "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
    "window_size": 16, "out_hidden_size": 32, "fullatt_block_indexes": [1],
}  # fmt: skip
PATCHES = {"shortest_edge": 256, "longest_edge": 30720}
IMAGE_AND_VIDEO = {
    "image_token_id": number("<|image_pad|>"),
    "video_token_id": number("<|video_pad|>"),
}


def words(*special: str, **named: str) -> Any:
    """The tokenizer with more special tokens, some of them attributes of it."""
    made = tokenizer(**named)
    made.add_tokens([*special], special_tokens=True)
    assert len(made) <= VOCABULARY + ROOM
    return made


def ids(made: Any, **tokens: str) -> dict[str, int]:
    """Token ids by the names that a configuration has for them."""
    return {name: made.convert_tokens_to_ids(token) for name, token in tokens.items()}


def exaone4_5() -> tuple[Any, Any]:
    config = tf.Exaone4_5_Config(
        text_config=TEXT
        | {"model_type": "exaone4", "sliding_window": 16, "sliding_window_pattern": 4},
        vision_config=QWEN2_VISION | {"num_key_value_heads": 1},
        **IMAGE_AND_VIDEO,
    )
    processor = with_qwen2_pictures(tf.Exaone4_5_Processor)
    return tf.Exaone4_5_ForConditionalGeneration(config), processor


def hyperclovax_vision_v2() -> tuple[Any, Any]:
    config = tf.HyperCLOVAXVisionV2Config(
        text_config=TEXT | {"model_type": "hyperclovax"},
        vision_config=QWEN2_VISION | {"model_type": "qwen2_5_vl_vision"},
        **IMAGE_AND_VIDEO,
    )
    processor = with_qwen2_pictures(tf.HyperCLOVAXVisionV2Processor)
    return tf.HyperCLOVAXVisionV2ForConditionalGeneration(config), processor


def glmga() -> tuple[Any, Any]:
    config = tf.GlmgaConfig(
        text_config=GLM_TEXT | {"model_type": "glm4v_text"},
        vision_config=GLM_VISION | {"model_type": "glm4v_vision"},
        **GLM_IDS,
    )
    processor = tf.Glm46VProcessor(
        tf.GlmgaImageProcessor(patch_size=4),
        tokenizer(image_token="<|image|>", video_token="<|video|>"),
        tf.GlmgaVideoProcessor(patch_size=4, size=GLM_SIZE),
        chat_template=GLM_TEMPLATE,
    )
    return tf.AutoModelForImageTextToText.from_config(config), processor


def lfm3_vl() -> tuple[Any, Any]:
    config = tf.Lfm3VlConfig(
        text_config=TEXT | {"model_type": "lfm3"},
        vision_config=VISION | {"num_key_value_heads": 1},
        projector_hidden_size=32,
        **QWEN_IDS,
    )
    processor = tf.Lfm3VlProcessor(
        tf.Qwen2VLImageProcessor(patch_size=4),
        tokenizer(),
        tf.Qwen3VLVideoProcessor(patch_size=4, size=PATCHES),
        chat_template=template("<|video_pad|>"),
    )
    return tf.Lfm3VlForConditionalGeneration(config), processor


def ernie4_5_vl_moe() -> tuple[Any, Any]:
    named = {
        "image_token": "<|image|>", "image_start_token": "<|begin_of_image|>",
        "image_end_token": "<|end_of_image|>", "video_token": "<|video|>",
        "video_start_token": "<|begin_of_video|>", "video_end_token": "<|end_of_video|>",
    }  # fmt: skip
    config = tf.Ernie4_5_VLMoeConfig(
        text_config=TEXT
        | {
            "moe_k": 2, "moe_num_experts": 4, "moe_num_shared_experts": 1,
            "moe_intermediate_size": [16, 8], "rope_parameters": CHANNELS_OF_ROPE,
        },
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
        },
        **{f"{name}_id": number(token) for name, token in named.items()},
    )  # fmt: skip
    processor = tf.Ernie4_5_VLMoeProcessor(
        tf.Ernie4_5_VLMoeImageProcessor(patch_size=4),
        tokenizer(**named),
        tf.Ernie4_5_VLMoeVideoProcessor(patch_size=4, size=PATCHES, draw_on_frames=False),
        chat_template=template("<|begin_of_video|><|video|><|end_of_video|>"),
    )
    return tf.Ernie4_5_VLMoeForConditionalGeneration(config), processor


def minimax_m3_vl() -> tuple[Any, Any]:
    image, video = "]<]image[>[", "]<]video[>["
    made = words(image, video, "]<]start of image[>[", "]<]end of image[>[")
    config = tf.MiniMaxM3VLConfig(
        text_config=WIDE_TEXT
        | {
            "head_dim": 8, "rotary_dim": 4, "num_experts_per_tok": 2, "num_local_experts": 4,
            "dense_intermediate_size": 48, "shared_intermediate_size": 16,
            "mlp_layer_types": ["dense", *["sparse"] * 2],
            "layer_types": ["full_attention", "minimax_m3_sparse", "full_attention"],
            "index_n_heads": 2, "index_head_dim": 8, "index_block_size": 4,
            "index_topk_blocks": 2,
        },
        vision_config=VISION,
        projector_hidden_size=32,
        **ids(made, image_token_index=image, video_token_index=video),
    )  # fmt: skip
    processor = tf.MiniMaxM3VLProcessor(
        tf.MiniMaxM3VLImageProcessor(patch_size=4),
        made,
        tf.MiniMaxM3VLVideoProcessor(patch_size=4),
        chat_template=template(video),
    )
    return tf.MiniMaxM3SparseForConditionalGeneration(config), processor


def kimi_k25(merged: int = 4) -> tuple[Any, Any]:
    image, video = "<|media_pad|>", "<|kimi_k25_video_placeholder|>"
    begin, end = "<|media_begin|>", "<|media_end|>"
    made = words(image, video, begin, end, "<|media_content|>")
    config = tf.Kimi_K25Config(
        text_config={k: v for k, v in WIDE_TEXT.items() if k != "num_key_value_heads"}
        | {
            "model_type": "deepseek_v3", "num_key_value_heads": 4, "moe_intermediate_size": 16,
            "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
            "first_k_dense_replace": 1, "kv_lora_rank": 16, "q_lora_rank": 16,
            "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
        },
        vision_config=VISION
        | {"pos_emb_height": 8, "pos_emb_width": 8, "pos_emb_time": merged},
        projection_hidden_size=16,
        **ids(
            made, image_token_id=image, video_token_id=video, vision_start_token_id=begin,
            vision_end_token_id=end,
        ),
    )  # fmt: skip
    processor = tf.Kimi_K25Processor(
        tf.Kimi_K25ImageProcessor(patch_size=4),
        made,
        tf.Kimi_K25VideoProcessor(patch_size=4, temporal_patch_size=merged),
        chat_template=template(video, f"{begin}{image}{end}"),
    )
    return tf.Kimi_K25ForConditionalGeneration(config), processor


MUSE = {
    "image_token": "<|patch|>", "image_start_token": "<|image_start|>",
    "image_end_token": "<|image_end|>", "video_token": "<|video|>",
    "video_sep_token": "<|vid_frame_separator|>", "video_start_token": "<|vid_start|>",
    "video_end_token": "<|vid_end|>",
}  # fmt: skip
MUSE_VISION = VISION | {
    "pos_emb_height": 4, "pos_emb_width": 4, "max_position_embeddings": 16,
    "num_hidden_layers": 4,
}  # fmt: skip


def muse_glimmer() -> tuple[Any, Any]:
    made = words(*MUSE.values())
    config = tf.MuseGlimmerConfig(
        text_config=WIDE_TEXT | {"head_dim": 8, "sliding_window": 16},
        vision_config=MUSE_VISION,
        out_hidden_size=64,
        projector_hidden_size=32,
        **ids(made, image_token_id=MUSE["image_token"], video_token_id=MUSE["video_token"]),
    )
    processor = tf.MuseGlimmerProcessor(
        tf.MuseGlimmerImageProcessor(patch_size=4),
        tf.MuseGlimmerVideoProcessor(patch_size=4),
        made,
        chat_template=template("<|video|>"),
    )
    return tf.MuseGlimmerForConditionalGeneration(config), processor


def muse_spark() -> tuple[Any, Any]:
    made = words(*MUSE.values(), "<|soft_audio_start|>", "<|soft_audio_end|>")
    config = tf.MuseSparkConfig(
        text_config=WIDE_TEXT
        | {
            "head_dim": 8, "sliding_window": 16, "moe_intermediate_size": 16,
            "num_local_experts": 4, "num_experts_per_tok": 2, "moe_hidden_size": 16,
        },
        vision_config=MUSE_VISION,
        audio_config={
            "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "out_hidden_size": 32,
        },
        out_hidden_size=64,
        projector_hidden_size=32,
        audio_token_id=number("<|audio|>"),
        **ids(made, image_token_id=MUSE["image_token"], video_token_id=MUSE["video_token"]),
    )  # fmt: skip
    processor = tf.MuseSparkProcessor(
        tf.MuseGlimmerImageProcessor(patch_size=4),
        tf.MuseGlimmerVideoProcessor(patch_size=4),
        made,
        tf.MuseSparkFeatureExtractor(),
        chat_template=template("<|video|>", audio="<|audio|>"),
    )
    return tf.MuseSparkForConditionalGeneration(config), processor


MINICPM = {
    "image_token": "<|image|>", "video_token": "<|video|>", "image_start_token": "<image_start>",
    "image_end_token": "</image>", "slice_start_token": "<slice>", "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>", "image_id_end_token": "</image_id>",
}  # fmt: skip
HYBRID_TEXT = QWEN3_5_TEXT | {"vocab_size": VOCABULARY + ROOM, "model_type": "qwen3_5_text"}


def minicpm(kind: str, video_kind: str, **more: Any) -> tuple[Any, Any]:
    """kind: the prefix of its classes, `video_kind` that of its processors of pixels."""
    made = words(**MINICPM)
    newer: dict[str, Any] = {}
    if kind == "MiniCPMV4_7":
        newer = ids(
            made, image_start_id="<image_start>", image_end_id="</image>",
            slice_start_id="<slice>", slice_end_id="</slice>",
        ) | {"newline_id": made("\n")["input_ids"][0]}  # fmt: skip
    config = getattr(tf, f"{kind}Config")(
        text_config=HYBRID_TEXT,
        vision_config=VISION | {"num_hidden_layers": 3, "image_size": 2 * SIDE},
        insert_layer_id=0,
        **ids(made, image_token_id="<|image|>", video_token_id="<|video|>"),
        **newer,
        **more,
    )
    processor = getattr(tf, f"{kind}Processor")(
        getattr(tf, f"{video_kind}ImageProcessor")(patch_size=4, scale_resolution=2 * SIDE),
        getattr(tf, f"{video_kind}VideoProcessor")(
            patch_size=4, scale_resolution=2 * SIDE, max_slice_nums=1
        ),
        made,
        chat_template=template("<|video|>"),
    )
    return getattr(tf, f"{kind}ForConditionalGeneration")(config), processor


def minicpmv4_6() -> tuple[Any, Any]:
    return minicpm("MiniCPMV4_6", "MiniCPMV4_6", image_size=2 * SIDE)


def minicpmv4_7() -> tuple[Any, Any]:
    return minicpm("MiniCPMV4_7", "MiniCPMV4_6", image_size=2 * SIDE)


def minicpm_ocr() -> tuple[Any, Any]:
    return minicpm("MiniCPMOcr", "MiniCPMOcr")


def omni_processor(kind: Any) -> Any:
    """A processor for frames and sound."""
    named = {
        "image_token": "<|image_pad|>", "audio_token": "<|audio|>", "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>", "vision_eos_token": "<|vision_end|>",
        "audio_bos_token": "<|begin_of_audio|>", "audio_eos_token": "<|end_of_audio|>",
    }  # fmt: skip
    processor = kind(
        tf.Qwen2VLImageProcessor(patch_size=4),
        tf.Qwen2VLVideoProcessor(patch_size=4, size=QWEN_SIZE),
        tf.WhisperFeatureExtractor(feature_size=128),
        tokenizer(**named),
        chat_template=QWEN_TEMPLATE,
    )
    # The class has limits of its own, which are those of published checkpoints.
    processor.videos_kwargs = {}
    return processor


def qwen2_5_omni() -> tuple[Any, Any]:
    """The part that reads and answers; the one that speaks is left out, as when it is loaded."""
    config = tf.Qwen2_5OmniThinkerConfig(
        text_config=TEXT | {"rope_parameters": CHANNELS_OF_ROPE},
        vision_config=QWEN2_VISION,
        audio_config={
            "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
            "d_model": 16, "output_dim": 32,
        },
        audio_token_index=number("<|audio|>"),
        image_token_index=number("<|image_pad|>"),
        video_token_index=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        audio_start_token_id=number("<|begin_of_audio|>"),
        audio_end_token_id=number("<|end_of_audio|>"),
    )  # fmt: skip
    model = tf.Qwen2_5OmniThinkerForConditionalGeneration(config)
    return model, omni_processor(tf.Qwen2_5OmniProcessor)


def qwen3_omni_moe() -> tuple[Any, Any]:
    """The same of the later one."""
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    config = tf.Qwen3OmniMoeThinkerConfig(
        text_config=QWEN3_TEXT | experts,
        vision_config=QWEN3_VISION,
        audio_config={
            "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
            "d_model": 16, "output_dim": 32, "downsample_hidden_size": 8,
        },
        audio_token_id=number("<|audio|>"),
        audio_start_token_id=number("<|begin_of_audio|>"),
        position_id_per_seconds=13,  # that of published checkpoints, and of the processor
        **QWEN_IDS,
    )  # fmt: skip
    model = tf.Qwen3OmniMoeThinkerForConditionalGeneration(config)
    return model, omni_processor(tf.Qwen3OmniMoeProcessor)


def qwen4_exp() -> tuple[Any, Any]:
    text = {k: v for k, v in QWEN3_5_TEXT.items() if k != "intermediate_size"} | {
        "num_hidden_layers": 4, "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "hc_count": 2,
        "hc_lowrank": 8, "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8,
        "indexer_budget": 16, "indexer_compress_ratio": 4,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    }  # fmt: skip
    config = tf.Qwen4ExpConfig(text_config=text, vision_config=QWEN3_5_VISION, **QWEN_IDS)
    processor = tf.Qwen3VLProcessor(
        tf.Qwen2VLImageProcessor(patch_size=4),
        tokenizer(),
        tf.Qwen3VLVideoProcessor(patch_size=4, size=PATCHES),
        chat_template=QWEN_TEMPLATE,
    )
    return tf.Qwen4ExpForConditionalGeneration(config), processor


def glm5_next() -> tuple[Any, Any]:
    text = {k: v for k, v in TEXT.items() if k != "num_key_value_heads"} | {
        "num_key_value_heads": 4, "moe_intermediate_size": 16, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8,
        "v_head_dim": 8, "index_topk": 32, "index_head_dim": 8, "index_n_heads": 2,
        "index_kpool": 4, "linear_head_dim": 8, "linear_num_heads": 4, "hc_mult": 2,
        "num_hidden_layers": 5,  # with fewer it has no layer with an index of its tokens
    }  # fmt: skip
    config = tf.Glm5NextConfig(
        text_config=text,
        vision_config=GLM_VISION | {"projection_intermediate_size": 32},
        **GLM_IDS,
    )
    processor = tf.Glm5NextProcessor(
        tf.Glm5NextImageProcessor(patch_size=4),
        tokenizer(image_token="<|image|>", video_token="<|video|>"),
        tf.Glm5NextVideoProcessor(patch_size=4),
        chat_template=GLM_TEMPLATE,
    )
    return tf.Glm5NextForConditionalGeneration(config), processor


def hy_v4_vl() -> tuple[Any, Any]:
    text = TEXT | {
        "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
        "v_head_dim": 8, "index_topk": 16, "index_head_dim": 16, "index_n_heads": 2, "hc_mult": 2,
        "rope_parameters": CHANNELS_OF_ROPE,
    }  # fmt: skip
    vision = VISION | {"out_hidden_size": 32, "max_image_size": 64}
    config = tf.HYV4VLConfig(text_config=text, vision_config=vision, **IMAGE_AND_VIDEO)
    processor = tf.HYV4VLProcessor(
        tf.HYV4VLImageProcessor(patch_size=4),
        tokenizer(),
        tf.HYV4VLVideoProcessor(patch_size=4),
        chat_template=template("<|video_pad|>"),
    )
    return tf.HYV4VLForConditionalGeneration(config), processor


def dots3_note() -> tuple[Any, Any]:
    made = words("<|imgpad|>", "<|audio_comp_pad|>")
    text = WIDE_TEXT | {
        "num_key_value_heads": 4, "first_k_dense_replace": 1, "moe_intermediate_size": 16,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "shared_experts_intermediate_size": 16,
        "kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
        "v_head_dim": 8, "head_dim": 12, "index_topk": 16, "index_head_dim": 8, "index_n_heads": 2,
        "sliding_window": 16, "num_hidden_layers": 4,
        "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16, "swa_head_dim": 12, "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 8,
        "layer_types": ["full_attention", "full_attention", "sliding_attention", "full_attention"],
    }  # fmt: skip
    config = tf.Dots3NoteConfig(
        text_config=text,
        vision_config=VISION
        | {"moe_intermediate_size": 16, "num_local_experts": 2, "num_experts_per_tok": 1,
           "mlp_layer_types": ["dense", "sparse"], "adapter_in_dim": 16, "adapter_out_dim": 32},
        audio_config={
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
            "num_attention_heads": 2, "downsample_hidden_size": 8, "adapter_input_size": 16,
            "adapter_out_dim": 32,
        },
        **ids(
            made, image_token_id="<|imgpad|>", video_token_id="<|video_pad|>",
            audio_token_id="<|audio_comp_pad|>",
        ),
    )  # fmt: skip
    processor = tf.Dots3NoteProcessor(
        tf.Qwen2VLImageProcessor(patch_size=4),
        made,
        tf.Qwen3VLVideoProcessor(patch_size=4, temporal_patch_size=1, size=PATCHES),
        tf.Dots3NoteFeatureExtractor(),
        chat_template=template("<|video_pad|>", audio="<|audio_comp_pad|>"),
    )
    return tf.Dots3NoteForConditionalGeneration(config), processor


def nemotron_h_omni() -> tuple[Any, Any]:
    made = words(
        "<so_embedding>",
        "<so_start>",
        "<so_end>",
        image_token="<image>",
        video_token="<video>",
        image_start_token="<img>",
        image_end_token="</img>",
    )
    config = tf.NemotronH_Omni_Reasoning_V3_Config(
        text_config=WIDE_TEXT
        | {
            "model_type": "nemotron_h",
            "head_dim": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 2,
            "conv_kernel": 4,
        },
        audio_config={
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "subsampling_conv_channels": 8,
            "projection_hidden_size": 16,
            "projection_bias": False,
        },
        vision_config=VISION | {"image_size": SIDE, "video_temporal_patch_size": 2},
        projector_hidden_size=32,
        vision_hidden_size=16,
        **ids(
            made,
            image_token_id="<image>",
            video_token_id="<video>",
            audio_token_id="<so_embedding>",
        ),
    )
    processor = tf.NemotronH_Omni_Reasoning_V3Processor(
        tf.NemotronH_Omni_Reasoning_V3ImageProcessor(
            patch_size=4, min_num_patches=16, max_num_patches=64
        ),
        tf.NemotronH_Omni_Reasoning_V3VideoProcessor(
            patch_size=4, video_target_num_patches=16, norm_mean=[0.5] * 3, norm_std=[0.5] * 3
        ),
        made,
        tf.ParakeetFeatureExtractor(),
        chat_template=template("<video>", "<image>", "<so_embedding>"),
    )
    return tf.NemotronH_Omni_Reasoning_V3(config), processor


def instructblipvideo() -> tuple[Any, Any]:
    made = words()
    config = tf.InstructBlipVideoConfig(
        text_config={
            "model_type": "opt", "vocab_size": VOCABULARY + ROOM, "hidden_size": 32, "ffn_dim": 48,
            "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 512,
            "word_embed_proj_dim": 32, "bos_token_id": None, "eos_token_id": None,
            "pad_token_id": 0,
        },
        vision_config=VISION | {"image_size": SIDE, "initializer_range": 0.02},
        qformer_config={
            "vocab_size": VOCABULARY + ROOM, "hidden_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 24, "encoder_hidden_size": 16,
        },
        num_query_tokens=4,
        video_token_index=made.convert_tokens_to_ids("<video>"),
    )  # fmt: skip
    processor = tf.InstructBlipVideoProcessor(
        tf.InstructBlipVideoVideoProcessor(size={"height": SIDE, "width": SIDE}),
        made,
        words(),
        num_query_tokens=4,
    )
    return tf.InstructBlipVideoForConditionalGeneration(config), processor
