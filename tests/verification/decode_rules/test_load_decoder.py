"""What is loaded to be asked under decode rules, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    ViTConfig,
    ViTModel,
)

from dycoke_cli import extras
from dycoke_cli.errors import ModelError, OutOfMemoryError, UsageError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.verification.decode_rules import load_decoder as loading
from dycoke_cli.verification.decode_rules.load_decoder import load_decoder
from dycoke_cli.verification.decode_rules.text_decoder import around_text
from tests.verification.decode_rules.folders import text_folder, video_folder

TEMPLATE = (
    "{% for one in messages %}<|im_start|>{{ one['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}"
)


def test_a_text_decoder_is_the_stored_one_in_float32(tmp_path: Path) -> None:
    loaded = load_decoder(str(text_folder(tmp_path)))
    assert (loaded.revision, loaded.decoder.layers, loaded.decoder.kv_heads) == (None, 4, 2)
    assert loaded.decoder.model.dtype == torch.float32
    ids = torch.arange(20)[None]
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.decoder.model(ids).logits, stock(ids).logits)


def test_of_a_video_model_the_language_model_is_asked(tmp_path: Path) -> None:
    """The template of its processor reads a message of parts."""
    loaded = load_decoder(str(video_folder(tmp_path)))
    text = loaded.decoder.model.config.get_text_config()
    assert loaded.decoder.layers == text.num_hidden_layers
    before, after = around_text(loaded.tokenizer, "What is it?")
    assert before.endswith("user\n")
    assert after.startswith("\n\nWhat is it?")
    assert after.endswith("assistant\n")


def test_prompts_of_tokenizers(tmp_path: Path) -> None:
    chat = load_decoder(str(text_folder(tmp_path / "chat", template=TEMPLATE))).tokenizer
    assert around_text(chat, "What?") == ("<|im_start|>", "\n\nWhat?A:")
    base = load_decoder(str(text_folder(tmp_path / "base")))
    assert around_text(base.tokenizer, "What?")[1].endswith("Question: What?\nAnswer:")
    (newline,) = base.tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert newline in base.decoder.ends  # a base model goes on behind its answer
    chat.chat_template = "hello"
    with pytest.raises(ModelError, match="drops a question without a video"):
        around_text(chat, "What?")


def test_a_hostile_template_isnt_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"chat template can't be used: it has \*\*"):
        load_decoder(str(text_folder(tmp_path, template="{{ 9 ** 99 }}")))


def mistral() -> Any:
    """All its layers attend to a window."""
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, sliding_window=16,
        )
    )  # fmt: skip


def test_windows_in_every_layer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="every layer of MistralForCausalLM has a sliding window"):
        load_decoder(str(text_folder(tmp_path, mistral())))


def test_what_is_no_decoder_is_refused(tmp_path: Path) -> None:
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    folder = text_folder(tmp_path, ViTModel(ViTConfig(**shape, intermediate_size=8)))
    with pytest.raises(ModelError, match="is of the family 'vit', which isn't a decoder"):
        load_decoder(str(folder))


@pytest.mark.parametrize(
    ("options", "flag"),
    [({"quantize": "int8"}, "--quantize"), ({"device_map": "auto"}, "--device-map")],
)
def test_flags_that_are_refused(options: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=f"on one device; drop {flag}"):
        load_decoder("mini", LoadOptions(**options))


def test_a_model_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda device: 10_000)
    for folder in (text_folder(tmp_path / "text"), video_folder(tmp_path / "video")):
        with pytest.raises(OutOfMemoryError, match=r"use (--dtype bfloat16 or )?a smaller"):
            load_decoder(str(folder))


def test_a_checkpoint_that_lacks_weights(tmp_path: Path) -> None:
    text_folder(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(
        config.read_text().replace('"num_hidden_layers": 4', '"num_hidden_layers": 5')
    )
    with pytest.raises(ModelError, match=r"lacks weights: model.layers.4.* and 8 more"):
        load_decoder(str(tmp_path))


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"PK\3\4")
    with pytest.raises(ModelError, match=r"model.gguf isn't a GGUF file; give one"):
        load_decoder(str(tmp_path / "model.gguf"))


def gguf(tmp_path: Path) -> str:
    """Nothing but the first bytes of such a file."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF\3\0\0\0")
    return str(file)


def test_gguf_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "gguf" else sys)
    says = r"model.gguf, a GGUF file, needs the package gguf.*pip install 'gguf>=0.10' 'accel"
    with pytest.raises(ModelError, match=says):
        load_decoder(gguf(tmp_path))


def test_a_gguf_file_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="drop it for a GGUF file"):
        load_decoder(gguf(tmp_path), LoadOptions(revision="main"))
