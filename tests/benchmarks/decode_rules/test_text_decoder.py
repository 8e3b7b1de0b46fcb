"""Models that decode rules are asked of, and those that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from benchmarks.decode_rules.ask_rules import check_equals_stock
from benchmarks.decode_rules.load_decoder import load_decoder
from benchmarks.decode_rules.text_decoder import Prompt, around_text, of_model
from dycoke_cli.errors import ModelError, UsageError
from tests.families.parts import tokenizer
from tests.families.tiny import make

SHAPE: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.5,
    "pad_token_id": 0,
}  # fmt: skip


TEMPLATE = (
    "{% for one in messages %}<|im_start|>{{ one['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}"
)


def llama() -> Any:
    """A tiny random Llama, of bytes."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def text_folder(folder: Path, template: str | None = None) -> Path:
    """A folder of `llama()` in bfloat16, with a tokenizer and its chat template, if it has one."""
    llama().bfloat16().save_pretrained(folder)
    words = tokenizer()
    words.chat_template = template
    words.save_pretrained(folder)
    return folder


def test_a_text_decoder_is_the_stored_one_in_float32(tmp_path: Path) -> None:
    decoder, _ = load_decoder(text_folder(tmp_path))
    assert (decoder.layers, decoder.kv_heads) == (4, 2)
    assert decoder.model.dtype == torch.float32
    ids = torch.arange(20)[None]
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(decoder.model(ids).logits, stock(ids).logits)


def test_of_a_video_model_the_language_model_is_asked(tmp_path: Path) -> None:
    """The template of its processor reads a message of parts."""
    for part in make("llava_onevision", torch.float32):
        part.save_pretrained(tmp_path)
    decoder, words = load_decoder(tmp_path)
    assert decoder.layers == decoder.model.config.get_text_config().num_hidden_layers
    before, after = around_text(words, "What is it?")
    assert before.endswith("user\n")
    assert after.startswith("\n\nWhat is it?")
    assert after.endswith("assistant\n")


def test_prompts_of_tokenizers(tmp_path: Path) -> None:
    _, chat = load_decoder(text_folder(tmp_path / "chat", TEMPLATE))
    assert around_text(chat, "What?") == ("<|im_start|>", "\n\nWhat?A:")
    decoder, base = load_decoder(text_folder(tmp_path / "base"))
    assert around_text(base, "What?")[1].endswith("Question: What?\nAnswer:")
    (newline,) = base("\n", add_special_tokens=False)["input_ids"]
    assert newline in decoder.ends  # a base model goes on behind its answer
    chat.chat_template = "hello"
    with pytest.raises(ModelError, match="drops a question without a video"):
        around_text(chat, "What?")


def sinks() -> Any:
    """Attention to nothing, with a learned logit."""
    config = GptOssConfig(
        **SHAPE, num_local_experts=2, num_experts_per_tok=1,
        layer_types=["full_attention", "full_attention"],
    )  # fmt: skip
    model = GptOssForCausalLM(config)
    for layer in model.model.layers:
        torch.nn.init.constant_(layer.self_attn.sinks, 3.0)
    return model


def caps() -> Any:
    """Scores with a soft cap."""
    return Gemma2ForCausalLM(Gemma2Config(**SHAPE, attn_logit_softcapping=0.5, sliding_window=16))


@pytest.mark.parametrize("make", [sinks, caps], ids=lambda make: make.__name__)
@torch.inference_mode()
def test_attention_with_more_than_a_softmax_is_refused(make: Any) -> None:
    torch.manual_seed(0)
    decoder = of_model(make().eval())
    with pytest.raises(ModelError, match=r"attention of \w+ isn't what decode rules compute"):
        check_equals_stock(decoder, Prompt(torch.arange(1, 41)[None], slice(3, 30)))


@torch.inference_mode()
def test_a_model_whose_attention_is_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes no notice of the attention that it is given."""
    decoder = of_model(llama())
    monkeypatch.setattr(decoder.model, "set_attn_implementation", lambda name: None)
    decoder.model.config._attn_implementation = "eager"
    with pytest.raises(ModelError, match="with nothing pruned, logits differ by"):
        check_equals_stock(decoder, Prompt(torch.arange(1, 41)[None], slice(3, 30)))


@torch.inference_mode()
def test_stock_attention_passes() -> None:
    check_equals_stock(of_model(llama()), Prompt(torch.arange(1, 41)[None], slice(3, 30)))


def mistral() -> Any:
    """All its layers attend to a window."""
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, sliding_window=16,
        )
    )  # fmt: skip


def test_windows_in_every_layer_are_refused() -> None:
    with pytest.raises(UsageError, match="every layer of MistralForCausalLM has a sliding window"):
        of_model(mistral())


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("num_kv_shared_layers", 1, "layers that read the KV entries of others"),
        ("layer_types", ["full_attention", "linear_attention"], "has layers of linear_attention"),
    ],
)
def test_other_layers_are_refused(name: str, value: Any, sentence: str) -> None:
    model = llama()
    setattr(model.config, name, value)
    with pytest.raises(UsageError, match=sentence):
        of_model(model)
