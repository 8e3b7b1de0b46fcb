"""Other families with places in time, height and width."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.families.parts import CHANNELS_OF_ROPE, TEXT, VISION, number, template, tokenizer
from tests.families.qwen import QWEN3_VISION, QWEN_IDS, QWEN_TEMPLATE

GLM_SIZE = {"shortest_edge": 256, "longest_edge": 30720}


def cosmos3_edge() -> tuple[Any, Any]:
    config = tf.Cosmos3EdgeConfig(
        vision_config=VISION | {"num_patches": 16, "spatial_merge_size": 2},
        text_config=tf.Cosmos3EdgeTextConfig(
            **{k: v for k, v in TEXT.items() if k != "pad_token_id"},
            head_dim=8,
            rope_parameters=CHANNELS_OF_ROPE,
        ),
        **QWEN_IDS,
    )
    processor = tf.Cosmos3EdgeProcessor(
        tf.Cosmos3EdgeImageProcessor(patch_size=4),
        tokenizer(),
        tf.Cosmos3EdgeVideoProcessor(
            patch_size=4, size={"shortest_edge": 256, "longest_edge": 30720}
        ),
        chat_template=QWEN_TEMPLATE,
    )
    return tf.Cosmos3EdgeForConditionalGeneration(config), processor


def cohere_compass() -> tuple[Any, Any]:
    config = tf.CohereCompassConfig(
        vision_config=QWEN3_VISION,
        text_config=tf.CohereCompassTextConfig(
            **TEXT,
            rope_parameters={"full_attention": CHANNELS_OF_ROPE},
            logit_scale=1.0,
        ),
        image_token_id=number("<|IMAGE_PAD|>"),
        video_token_id=number("<|VIDEO_PAD|>"),
        vision_start_token_id=number("<|VISION_START|>"),
        vision_end_token_id=number("<|VISION_END|>"),
    )
    processor = tf.CohereCompassProcessor(
        tf.CohereCompassImageProcessor(patch_size=4),
        tokenizer(),
        tf.CohereCompassVideoProcessor(
            patch_size=4, size={"shortest_edge": 256, "longest_edge": 30720}
        ),
        chat_template=template("<|VISION_START|><|VIDEO_PAD|><|VISION_END|>"),
    )
    return tf.CohereCompassForConditionalGeneration(config), processor


GLM_IDS = {
    "image_token_id": number("<|image|>"),
    "video_token_id": number("<|video|>"),
    "image_start_token_id": number("<|begin_of_image|>"),
    "image_end_token_id": number("<|end_of_image|>"),
    "video_start_token_id": number("<|begin_of_video|>"),
    "video_end_token_id": number("<|end_of_video|>"),
}


GLM_TEXT = {k: v for k, v in TEXT.items() if k not in ("bos_token_id", "eos_token_id")} | {
    "rope_parameters": CHANNELS_OF_ROPE | {"partial_rotary_factor": 1.0},
}


GLM_VISION = {
    "depth": 2, "hidden_size": 16, "num_heads": 2, "image_size": 16, "patch_size": 4,
    "out_hidden_size": 32, "intermediate_size": 24,
}  # fmt: skip


GLM_TEMPLATE = template("<|begin_of_video|><|video|><|end_of_video|>")


def glm_processor(kind: str) -> Any:
    return getattr(tf, f"{kind}Processor")(
        getattr(tf, f"{kind}ImageProcessor")(patch_size=4),
        tokenizer(image_token="<|image|>", video_token="<|video|>"),
        getattr(tf, f"{kind}VideoProcessor")(patch_size=4, size=GLM_SIZE),
        chat_template=GLM_TEMPLATE,
    )


def glm4v() -> tuple[Any, Any]:
    config = tf.Glm4vConfig(text_config=GLM_TEXT, vision_config=GLM_VISION, **GLM_IDS)
    return tf.Glm4vForConditionalGeneration(config), glm_processor("Glm4v")


def glm46v() -> tuple[Any, Any]:
    config = tf.Glm46VConfig(
        text_config=GLM_TEXT | {"model_type": "glm4v_text"},
        vision_config=GLM_VISION | {"model_type": "glm4v_vision"},
        **GLM_IDS,
    )
    return tf.Glm46VForConditionalGeneration(config), glm_processor("Glm46V")


def glm4v_moe() -> tuple[Any, Any]:
    experts = {
        "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    }  # fmt: skip
    config = tf.Glm4vMoeConfig(text_config=GLM_TEXT | experts, vision_config=GLM_VISION, **GLM_IDS)
    return tf.Glm4vMoeForConditionalGeneration(config), glm_processor("Glm4v")
