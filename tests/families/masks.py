"""Families whose frames see each other, or whose layers see a window."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.families.parts import SIDE, TEXT, VISION, VOCABULARY, number, template, tokenizer

GEMMA_IDS = {
    "image_token_id": number("<|image|>"),
    "video_token_id": number("<|video|>"),
    "audio_token_id": number("<|audio|>"),
    "boi_token_id": number("<|begin_of_image|>"),
    "eoi_token_id": number("<|end_of_image|>"),
}


GEMMA_TEXT = TEXT | {
    "num_hidden_layers": 6, "head_dim": 8, "global_head_dim": 16, "sliding_window": 8,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
    "vocab_size_per_layer_input": VOCABULARY, "pad_token_id": 0,
}  # fmt: skip


def gemma_processor(kind: str) -> Any:
    words = tokenizer(
        image_token="<|image|>", boi_token="<|begin_of_image|>", eoi_token="<|end_of_image|>",
        audio_token="<|audio|>", boa_token="<|begin_of_audio|>", eoa_token="<|end_of_audio|>",
        video_token="<|video|>",
    )  # fmt: skip
    return getattr(tf, f"{kind}Processor")(
        getattr(tf, f"{kind}AudioFeatureExtractor")(),
        getattr(tf, f"{kind}ImageProcessor")(),
        words,
        getattr(tf, f"{kind}VideoProcessor")(patch_size=4, max_soft_tokens=70),
        chat_template=template("<|video|>"),
    )


def gemma4_of(**text: Any) -> tuple[Any, Any]:
    config = tf.Gemma4Config(
        text_config=tf.Gemma4TextConfig(**GEMMA_TEXT, **text),
        vision_config=tf.Gemma4VisionConfig(
            **VISION, num_key_value_heads=2, head_dim=8, pooling_kernel_size=3,
            position_embedding_size=64,
        ),
        audio_config=None,
        **GEMMA_IDS,
    )  # fmt: skip
    return tf.Gemma4ForConditionalGeneration(config), gemma_processor("Gemma4")


def gemma4() -> tuple[Any, Any]:
    """As E2B: layers with inputs of their own, others that share keys and values."""
    return gemma4_of(hidden_size_per_layer_input=8, num_kv_shared_layers=2)


def gemma4_large() -> tuple[Any, Any]:
    """As 31B: the tokens of a frame see each other both ways in the sliding layers."""
    return gemma4_of(
        hidden_size_per_layer_input=0, num_kv_shared_layers=0, use_bidirectional_attention="vision"
    )


def gemma4_unified() -> tuple[Any, Any]:
    text = {k: v for k, v in GEMMA_TEXT.items() if k != "vocab_size_per_layer_input"}
    config = tf.Gemma4UnifiedConfig(
        text_config=tf.Gemma4UnifiedTextConfig(**text, use_bidirectional_attention="vision"),
        vision_config=tf.Gemma4UnifiedVisionConfig(
            patch_size=4, pooling_kernel_size=3, mm_embed_dim=16, mm_posemb_size=64,
            output_proj_dims=16,
        ),
        audio_config=None,
        **GEMMA_IDS,
    )  # fmt: skip
    return tf.Gemma4UnifiedForConditionalGeneration(config), gemma_processor("Gemma4Unified")


def molmo2() -> tuple[Any, Any]:
    text = {k: v for k, v in TEXT.items() if not k.endswith("_token_id")}
    config = tf.Molmo2Config(
        text_config=tf.Molmo2TextConfig(**text, additional_vocab_size=8, head_dim=8),
        vision_config=tf.Molmo2VisionConfig(
            **{k: v for k, v in VISION.items() if k != "num_hidden_layers"},
            num_hidden_layers=4, num_key_value_heads=2, head_dim=8, image_size=[SIDE, SIDE],
        ),
        adapter_config=tf.Molmo2AdapterConfig(
            vision_feature_layer=[-1, -2], hidden_size=16, num_attention_heads=2,
            num_key_value_heads=2, head_dim=8, intermediate_size=32, text_hidden_size=32,
        ),
        image_start_token_id=number("<im_start>"),
        low_res_image_start_token_id=number("<low_res_im_start>"),
        image_end_token_id=number("<im_end>"),
        image_patch_id=number("<im_patch>"),
        frame_start_token_id=number("<frame_start>"),
        frame_end_token_id=number("<frame_end>"),
    )  # fmt: skip
    processor = tf.Molmo2Processor(
        tf.Molmo2ImageProcessor(),
        tf.Molmo2VideoProcessor(
            size={"height": SIDE, "width": SIDE}, patch_size=4, do_resize=True, do_rescale=True,
            do_normalize=True, do_convert_rgb=True,
        ),
        tokenizer(video_token="<|video|>", bos_token="<|im_start|>"),
        chat_template=template("<|video|>"),
    )  # fmt: skip
    return tf.Molmo2ForConditionalGeneration(config), processor
