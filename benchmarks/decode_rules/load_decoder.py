"""Loads what is asked under decode rules: a text decoder, or a video model's language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from benchmarks.decode_rules.text_decoder import Decoder, of_model
from dycoke_cli.models.load import load
from dycoke_cli.models.prompts.chat import check_template
from dycoke_cli.stock.private_api import shows_videos
from dycoke_cli.stock.quiet import quiet_libraries

DTYPE: Any = "float32"
"""Rules are compared by logits."""


def load_decoder(path: Path) -> tuple[Decoder, Any]:
    """A decoder on the CPU in float32, and its tokenizer.

    A video model is loaded whole; its vision tower isn't run.
    """
    with quiet_libraries():
        model, tokenizer = _loaded(path)
    if tokenizer.chat_template:
        check_template(tokenizer)
        return of_model(model), tokenizer
    # A base model goes on after its answer, so a line ends it.
    lines = (tokenizer(end, add_special_tokens=False)["input_ids"] for end in ("\n", "\n\n"))
    return of_model(model, (line[0] for line in lines if len(line) == 1)), tokenizer


def _loaded(path: Path) -> tuple[Any, Any]:
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path)}
    if path.is_file():
        where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    elif shows_videos(AutoConfig.from_pretrained(path)):
        loaded = load(str(path), device="cpu", dtype=DTYPE, kernels="stock")
        processor: Any = loaded.processor
        tokenizer = processor.tokenizer
        tokenizer.chat_template = tokenizer.chat_template or processor.chat_template
        return loaded.model, tokenizer
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=DTYPE)
    return model.eval(), AutoTokenizer.from_pretrained(**where)
