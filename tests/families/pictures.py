"""Families that hand over frames as pictures."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.families.parts import SIDE, TEXT, VISION, number, template, tokenizer


def llava_onevision(text: Any = tf.Qwen2Config) -> tuple[Any, Any]:
    """text: the class of its language model's configuration."""
    config = tf.LlavaOnevisionConfig(
        vision_config=tf.SiglipVisionConfig(**VISION, image_size=SIDE),
        text_config=text(**TEXT),
        video_token_id=number("<video>"),
        image_token_id=number("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    size = {"height": SIDE, "width": SIDE}
    processor = tf.LlavaOnevisionProcessor(
        tf.LlavaOnevisionImageProcessor(size=size),
        tokenizer(image_token="<image>", video_token="<video>"),
        tf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=template("<video>\n"),
    )
    return tf.LlavaOnevisionForConditionalGeneration(config), processor


def llava_processor(kind: Any, first: Any, second: Any) -> Any:
    """A processor of these parts, for a tower with a token for the whole picture."""
    sizes = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    return kind(
        first(**sizes),
        second(**sizes),
        tokenizer(image_token="<image>", video_token="<video>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<video>\n"),
    )


def llava_next_video() -> tuple[Any, Any]:
    config = tf.LlavaNextVideoConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, image_size=SIDE, projection_dim=16),
        text_config=tf.LlamaConfig(**TEXT),
        video_token_index=number("<video>"),
        image_token_index=number("<image>"),
        vision_feature_layer=-2,
    )
    parts = (tf.LlavaNextVideoVideoProcessor, tf.LlavaNextImageProcessor)
    processor = llava_processor(tf.LlavaNextVideoProcessor, *parts)
    return tf.LlavaNextVideoForConditionalGeneration(config), processor


def video_llava() -> tuple[Any, Any]:
    config = tf.VideoLlavaConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, image_size=SIDE, projection_dim=16),
        text_config=tf.LlamaConfig(**TEXT),
        video_token_index=number("<video>"),
        image_token_index=number("<image>"),
    )
    parts = (tf.VideoLlavaImageProcessor, tf.VideoLlavaVideoProcessor)
    processor = llava_processor(tf.VideoLlavaProcessor, *parts)
    return tf.VideoLlavaForConditionalGeneration(config), processor


def perception_lm() -> tuple[Any, Any]:
    tower = {
        "model_type": "timm_wrapper",
        "architecture": "vit_pe_core_large_patch14_336",
        "model_args": {
            "embed_dim": 64, "img_size": (28, 28), "depth": 2, "num_heads": 4, "global_pool": "",
            "use_post_transformer_norm": False, "init_values": 0.1, "ref_feat_shape": (2, 2),
        },
    }  # fmt: skip
    config = tf.PerceptionLMConfig(
        vision_config=tower,
        text_config=tf.LlamaConfig(**TEXT),
        vision_use_cls_token=True,
        projector_pooling_ratio=1,
        image_token_id=number("<|image|>"),
        video_token_id=number("<|video|>"),
    )
    processor = tf.PerceptionLMProcessor(
        tf.PerceptionLMVideoProcessor(size={"height": 28, "width": 28}),
        tf.PerceptionLMImageProcessor(),
        tokenizer(image_token="<|image|>", video_token="<|video|>"),
        patch_size=14,
        pooling_ratio=1,
        chat_template=template("<|video|>"),
    )
    return tf.PerceptionLMForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    config = tf.InternVLConfig(
        text_config=TEXT | {"model_type": "qwen2"},
        vision_config=VISION | {"image_size": SIDE},
        image_token_id=number("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    size = {"height": SIDE, "width": SIDE}
    words = tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    processor = tf.InternVLProcessor(
        tf.GotOcr2ImageProcessor(size=size),
        words,
        tf.InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=template("<video>\n"),
    )
    return tf.InternVLForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    config = tf.SmolVLMConfig(
        text_config=TEXT | {"model_type": "llama"},
        vision_config=VISION | {"image_size": SIDE},
        image_token_id=number("<image>"),
        scale_factor=2,
    )
    size = {"longest_edge": SIDE}
    words = tokenizer(
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
        video_token="<video>",
    )
    processor = tf.SmolVLMProcessor(
        tf.SmolVLMImageProcessor(size=size, max_image_size=size),
        words,
        tf.SmolVLMVideoProcessor(size=size, max_image_size=size, num_frames=64, fps=1),
        image_seq_len=4,
        chat_template=template("<video>"),
    )
    return tf.SmolVLMForConditionalGeneration(config), processor


def video_llama_3() -> tuple[Any, Any]:
    config = tf.VideoLlama3Config(
        text_config=TEXT | {"model_type": "qwen2"},
        vision_config=VISION,
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
    )
    processor = tf.VideoLlama3Processor(
        tf.VideoLlama3ImageProcessor(patch_size=4),
        tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>"),
        tf.VideoLlama3VideoProcessor(
            patch_size=4, size={"shortest_edge": 256, "longest_edge": 30720}
        ),
        chat_template=template("<|video_pad|>\n"),
    )
    return tf.VideoLlama3ForConditionalGeneration(config), processor
