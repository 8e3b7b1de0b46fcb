"""Qwen-VL and those that share its parts."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.families.parts import CHANNELS_OF_ROPE, TEXT, number, template, tokenizer

QWEN_IDS = {
    "image_token_id": number("<|image_pad|>"),
    "video_token_id": number("<|video_pad|>"),
    "vision_start_token_id": number("<|vision_start|>"),
    "vision_end_token_id": number("<|vision_end|>"),
}


QWEN_TEMPLATE = template("<|vision_start|><|video_pad|><|vision_end|>")


QWEN_SIZE = {"shortest_edge": 256, "longest_edge": 768}


def with_qwen2_pictures(processor: Any) -> Any:
    """A processor whose pictures and videos are those of Qwen2-VL, in small patches."""
    return processor(
        tf.Qwen2VLImageProcessor(patch_size=4),
        tokenizer(),
        tf.Qwen2VLVideoProcessor(patch_size=4, size=QWEN_SIZE),
        chat_template=QWEN_TEMPLATE,
    )


def qwen2_vl() -> tuple[Any, Any]:
    config = tf.Qwen2VLConfig(
        text_config=TEXT | {"rope_parameters": CHANNELS_OF_ROPE},
        vision_config={
            "depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4,
        },
        **QWEN_IDS,
    )  # fmt: skip
    processor = with_qwen2_pictures(tf.Qwen2VLProcessor)
    return tf.Qwen2VLForConditionalGeneration(config), processor


def qwen2_5_vl() -> tuple[Any, Any]:
    config = tf.Qwen2_5_VLConfig(
        text_config=TEXT | {"rope_parameters": CHANNELS_OF_ROPE},
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2,
            "patch_size": 4, "window_size": 16, "out_hidden_size": 32, "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
        **QWEN_IDS,
    )  # fmt: skip
    processor = with_qwen2_pictures(tf.Qwen2_5_VLProcessor)
    return tf.Qwen2_5_VLForConditionalGeneration(config), processor


QWEN3_TEXT = {k: v for k, v in TEXT.items() if k not in ("bos_token_id", "eos_token_id")} | {
    "head_dim": 8,
    "rope_parameters": CHANNELS_OF_ROPE | {"mrope_interleaved": True},
}


QWEN3_VISION = {
    "depth": 3, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
    "out_hidden_size": 32, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
}  # fmt: skip


def qwen3_processor() -> Any:
    return tf.Qwen3VLProcessor(
        tf.Qwen2VLImageProcessor(patch_size=4),
        tokenizer(),
        tf.Qwen3VLVideoProcessor(patch_size=4, size={"shortest_edge": 256, "longest_edge": 30720}),
        chat_template=QWEN_TEMPLATE,
    )


def qwen3_vl() -> tuple[Any, Any]:
    config = tf.Qwen3VLConfig(text_config=QWEN3_TEXT, vision_config=QWEN3_VISION, **QWEN_IDS)
    return tf.Qwen3VLForConditionalGeneration(config), qwen3_processor()


def qwen3_vl_moe() -> tuple[Any, Any]:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    config = tf.Qwen3VLMoeConfig(
        text_config=QWEN3_TEXT | experts, vision_config=QWEN3_VISION, **QWEN_IDS
    )
    return tf.Qwen3VLMoeForConditionalGeneration(config), qwen3_processor()


def cosmos3_omni() -> tuple[Any, Any]:
    config = tf.Cosmos3OmniConfig(
        text_config=QWEN3_TEXT | {"model_type": "qwen3_vl_text"},
        vision_config=QWEN3_VISION | {"model_type": "qwen3_vl_vision"},
        **QWEN_IDS,
    )
    return tf.Cosmos3OmniForConditionalGeneration(config), qwen3_processor()


QWEN3_5_TEXT = TEXT | {
    "num_hidden_layers": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "head_dim": 16,
    "rope_parameters": CHANNELS_OF_ROPE | {"partial_rotary_factor": 0.5, "mrope_interleaved": True},
}


QWEN3_5_VISION = {k: v for k, v in QWEN3_VISION.items() if k != "deepstack_visual_indexes"}


def qwen3_5() -> tuple[Any, Any]:
    config = tf.Qwen3_5Config(text_config=QWEN3_5_TEXT, vision_config=QWEN3_5_VISION, **QWEN_IDS)
    return tf.Qwen3_5ForConditionalGeneration(config), qwen3_processor()


def qwen3_5_moe() -> tuple[Any, Any]:
    experts = {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    }  # fmt: skip
    config = tf.Qwen3_5MoeConfig(
        text_config=QWEN3_5_TEXT | experts, vision_config=QWEN3_5_VISION, **QWEN_IDS
    )
    return tf.Qwen3_5MoeForConditionalGeneration(config), qwen3_processor()
