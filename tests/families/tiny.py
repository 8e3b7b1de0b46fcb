"""Tiny random models of the stock classes of each family, with their stock processors."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SPECIAL = (
    "<pad>", "<|im_start|>", "<|im_end|>", "<image>", "<video>", "<|vision_start|>",
    "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|image|>", "<|video|>",
    "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>",
    "<img>", "</img>", "<IMG_CONTEXT>", "<fake_token_around_image>", "<global-img>",
    "<end_of_utterance>", "<|IMAGE_PAD|>", "<|VIDEO_PAD|>", "<|VISION_START|>",
    "<|VISION_END|>", "<|audio|>", "<|begin_of_audio|>", "<|end_of_audio|>", "<im_patch>",
    "<im_col>", "<im_start>", "<low_res_im_start>", "<frame_start>", "<im_end>", "<frame_end>",
    "<im_low>",
)  # fmt: skip
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
VOCABULARY = len(ALPHABET) + len(SPECIAL)
SIDE = 16
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 4,
}
CHANNELS_OF_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
ASKS = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def template(video: str) -> str:
    """A chat template that writes `video` where a turn shows one."""
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% for part in message['content'] %}{% if part['type'] == 'video' %}"
        + video
        + "{% endif %}"
        "{% endfor %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
        "{{ part['text'] }}{% endif %}{% endfor %}" + ASKS
    )


def tokenizer(**extra: str) -> Any:
    """One byte a token, and all families' special tokens."""
    vocabulary = {letter: i for i, letter in enumerate([*ALPHABET, *SPECIAL])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL))
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        padding_side="left",
        additional_special_tokens=list(SPECIAL),
        extra_special_tokens=extra,
        model_max_length=4096,
    )


def number(token: str) -> int:
    return len(ALPHABET) + SPECIAL.index(token)


def llava_onevision() -> tuple[Any, Any]:
    config = tf.LlavaOnevisionConfig(
        vision_config=tf.SiglipVisionConfig(**VISION, image_size=SIDE),
        text_config=tf.Qwen2Config(**TEXT),
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


def llava_next_video() -> tuple[Any, Any]:
    config = tf.LlavaNextVideoConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, image_size=SIDE, projection_dim=16),
        text_config=tf.LlamaConfig(**TEXT),
        video_token_index=number("<video>"),
        image_token_index=number("<image>"),
        vision_feature_layer=-2,
    )
    size = {"shortest_edge": SIDE}
    crop = {"height": SIDE, "width": SIDE}
    processor = tf.LlavaNextVideoProcessor(
        tf.LlavaNextVideoVideoProcessor(size=size, crop_size=crop),
        tf.LlavaNextImageProcessor(size=size, crop_size=crop),
        tokenizer(image_token="<image>", video_token="<video>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<video>\n"),
    )
    return tf.LlavaNextVideoForConditionalGeneration(config), processor


def video_llava() -> tuple[Any, Any]:
    config = tf.VideoLlavaConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, image_size=SIDE, projection_dim=16),
        text_config=tf.LlamaConfig(**TEXT),
        video_token_index=number("<video>"),
        image_token_index=number("<image>"),
    )
    size = {"shortest_edge": SIDE}
    crop = {"height": SIDE, "width": SIDE}
    processor = tf.VideoLlavaProcessor(
        tf.VideoLlavaImageProcessor(size=size, crop_size=crop),
        tf.VideoLlavaVideoProcessor(size=size, crop_size=crop),
        tokenizer(image_token="<image>", video_token="<video>"),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<video>\n"),
    )
    return tf.VideoLlavaForConditionalGeneration(config), processor


QWEN_IDS = {
    "image_token_id": number("<|image_pad|>"),
    "video_token_id": number("<|video_pad|>"),
    "vision_start_token_id": number("<|vision_start|>"),
    "vision_end_token_id": number("<|vision_end|>"),
}
QWEN_TEMPLATE = template("<|vision_start|><|video_pad|><|vision_end|>")
QWEN_SIZE = {"shortest_edge": 256, "longest_edge": 768}


def qwen2_vl() -> tuple[Any, Any]:
    config = tf.Qwen2VLConfig(
        text_config=TEXT | {"rope_parameters": CHANNELS_OF_ROPE},
        vision_config={
            "depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4,
        },
        **QWEN_IDS,
    )  # fmt: skip
    processor = tf.Qwen2VLProcessor(
        tf.Qwen2VLImageProcessor(patch_size=4),
        tokenizer(),
        tf.Qwen2VLVideoProcessor(patch_size=4, size=QWEN_SIZE),
        chat_template=QWEN_TEMPLATE,
    )
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
    processor = tf.Qwen2_5_VLProcessor(
        tf.Qwen2VLImageProcessor(patch_size=4),
        tokenizer(),
        tf.Qwen2VLVideoProcessor(patch_size=4, size=QWEN_SIZE),
        chat_template=QWEN_TEMPLATE,
    )
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
    "num_hidden_layers": 8,
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


def gemma4() -> tuple[Any, Any]:
    """As E2B: layers with inputs of their own, others that share keys and values."""
    config = tf.Gemma4Config(
        text_config=tf.Gemma4TextConfig(
            **GEMMA_TEXT, hidden_size_per_layer_input=8, num_kv_shared_layers=2
        ),
        vision_config=tf.Gemma4VisionConfig(
            **VISION, num_key_value_heads=2, head_dim=8, pooling_kernel_size=3,
            position_embedding_size=64,
        ),
        audio_config=None,
        **GEMMA_IDS,
    )  # fmt: skip
    return tf.Gemma4ForConditionalGeneration(config), gemma_processor("Gemma4")


def gemma4_large() -> tuple[Any, Any]:
    """As 31B: the tokens of a frame see each other both ways in the sliding layers."""
    config = tf.Gemma4Config(
        text_config=tf.Gemma4TextConfig(
            **GEMMA_TEXT, hidden_size_per_layer_input=0, num_kv_shared_layers=0,
            use_bidirectional_attention="vision",
        ),
        vision_config=tf.Gemma4VisionConfig(
            **VISION, num_key_value_heads=2, head_dim=8, pooling_kernel_size=3,
            position_embedding_size=64,
        ),
        audio_config=None,
        **GEMMA_IDS,
    )  # fmt: skip
    return tf.Gemma4ForConditionalGeneration(config), gemma_processor("Gemma4")


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


GEMMA_IDS = {
    "image_token_id": number("<|image|>"),
    "video_token_id": number("<|video|>"),
    "audio_token_id": number("<|audio|>"),
    "boi_token_id": number("<|begin_of_image|>"),
    "eoi_token_id": number("<|end_of_image|>"),
}


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
GLM_SIZE = {"shortest_edge": 256, "longest_edge": 30720}


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


_MAKERS = {
    maker.__name__: maker
    for maker in (
        llava_onevision, llava_next_video, video_llava, perception_lm, qwen2_vl, qwen2_5_vl,
        qwen3_vl, qwen3_vl_moe, qwen3_5, qwen3_5_moe, cosmos3_omni, cosmos3_edge, cohere_compass,
        glm4v, glm46v, glm4v_moe, gemma4,
        gemma4_large, gemma4_unified, molmo2, video_llama_3, internvl, smolvlm,
    )
}  # fmt: skip


# Not in the oldest transformers that is supported: the class that tells.
_SINCE = {"molmo2": "Molmo2Config"}
MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    name: maker
    for name, maker in _MAKERS.items()
    if name not in _SINCE or hasattr(tf, _SINCE[name])
}


@lru_cache(maxsize=4)
def make(family: str) -> tuple[Any, Any]:
    """A float32 model with random weights, sharpened so that choices matter, and its processor."""
    torch.manual_seed(0)
    model, processor = MAKERS[family]()
    model = model.eval().float()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    with torch.no_grad():
        for layer in model.get_decoder().layers:
            if not hasattr(layer, "self_attn"):
                continue
            for name, factor in (("q_proj", 20), ("k_proj", 20), ("v_proj", 6)):
                if hasattr(layer.self_attn, name):
                    getattr(layer.self_attn, name).weight *= factor
    return model, processor
