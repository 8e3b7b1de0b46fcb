"""What tiny models of all families share: sizes, special tokens, a tokenizer, chat templates."""

from __future__ import annotations

from typing import Any

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
    "num_hidden_layers": 3,
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


def template(video: str, image: str = "", audio: str = "") -> str:
    """A chat template that writes each of them where a turn has a video, a picture, or sound."""
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% for part in message['content'] %}{% if part['type'] == 'video' %}"
        + video
        + "{% elif part['type'] == 'image' %}"
        + image
        + "{% elif part['type'] == 'audio' %}"
        + audio
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
