"""A tiny random Llama with a byte-level tokenizer, in place of SmolLM2, which takes 93 MB."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training.architectures.smollm2 import Language, SmolLM2
from training.tokenizer import CLOSE, OPEN
from training.world.script_questions import lines

# Of SmolLM2-135M-Instruct.
TRUE: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
}
TINY: dict[str, Any] = {
    **TRUE,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}


def llama(sizes: dict[str, Any]) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(**sizes, tie_word_embeddings=True, rope_parameters={"rope_theta": 100_000.0})
    )


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Trained on all wordings: frequent words are one token, rare ones several."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>", OPEN, CLOSE],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator([*lines(), *["user\n"] * 50], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token=CLOSE, eos_token=CLOSE)


@cache
def language() -> Language:
    torch.manual_seed(1)
    known = tokenizer()
    model = llama({**TINY, "vocab_size": len(known)})
    # With the usual 0.02, all words of so few channels are about as likely, whatever is learned.
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.3)
    # As transformers leaves it behind a GGUF file.
    model.config.quantization_config = {"quant_method": "gguf"}
    return Language(model, known, "0123456789abcdef")


STAND_IN = SmolLM2(language)
