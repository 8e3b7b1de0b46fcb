"""What tiny models of all families share: sizes, special tokens, a tokenizer, chat templates.

And `Maker`, which makes one of what a family's row says.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
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

ROOM = 32
"""Of tokens that only one family has; their ids follow those of the others."""

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

WIDE_TEXT = TEXT | {"vocab_size": VOCABULARY + ROOM}

CHANNELS_OF_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}

SMALL = {"patch_size": 4}
PATCHES = SMALL | {"size": {"shortest_edge": 256, "longest_edge": 30720}}


def without(sizes: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in sizes.items() if name not in names}


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


def tokenizer(*added: str, **extra: str) -> Any:
    """One byte a token, and all families' special tokens.

    Args:
        added: more special tokens.
        extra: special tokens that are attributes of it, by their names.
    """
    vocabulary = {letter: i for i, letter in enumerate([*ALPHABET, *SPECIAL])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL))
    made = tf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        padding_side="left",
        additional_special_tokens=list(SPECIAL),
        extra_special_tokens=extra,
        model_max_length=4096,
    )
    made.add_tokens([*added], special_tokens=True)
    assert len(made) <= VOCABULARY + ROOM
    return made


@dataclass(frozen=True)
class Maker:
    """What the stock classes of a tiny model and of its processor are told; a call makes both.

    A class is named by the family and by what it is, where `classes` has no other name for it.
    """

    name: str  # of the family in its classes' names
    config: dict[str, Any]
    ids: dict[str, str]  # the configuration's names of token ids, and the tokens
    template: str  # of chats
    video: dict[str, Any] | None
    image: dict[str, Any] = field(default_factory=lambda: SMALL)
    audio: dict[str, Any] | None = None
    words: dict[str, str] = field(default_factory=dict)  # the tokenizer's names of special tokens
    added: tuple[str, ...] = ()  # special tokens that the others don't have
    options: dict[str, Any] = field(default_factory=dict)  # of the processor
    changed: dict[str, Any] = field(default_factory=dict)  # attributes of it that its class has
    classes: dict[str, str] = field(default_factory=dict)

    def __call__(self) -> tuple[Any, Any]:
        words = tokenizer(*self.added, **self.words)
        ids = {name: words.convert_tokens_to_ids(token) for name, token in self.ids.items()}
        config = self._stock("Config")(**deepcopy(self.config), **ids)
        told = {
            "image_processor": ("ImageProcessor", self.image),
            "video_processor": ("VideoProcessor", self.video),
            "feature_extractor": ("FeatureExtractor", self.audio),
        }
        parts = {
            name: self._stock(kind)(**values)
            for name, (kind, values) in told.items()
            if values is not None
        }
        processor = self._stock("Processor")(
            **parts, tokenizer=words, chat_template=self.template, **self.options
        )
        for name, value in self.changed.items():
            setattr(processor, name, value)
        return self._stock("ForConditionalGeneration")(config), processor

    def _stock(self, kind: str) -> Any:
        return getattr(tf, self.classes.get(kind, self.name + kind))
