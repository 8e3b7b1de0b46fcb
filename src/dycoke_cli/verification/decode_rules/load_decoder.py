"""Loads what is asked under decode rules: a text decoder, or a video model's language model."""

from __future__ import annotations

import copy
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from dycoke_cli.errors import ModelError, OutOfMemoryError, UsageError
from dycoke_cli.extras import need
from dycoke_cli.models.devices import named_device
from dycoke_cli.models.families import UNLISTED
from dycoke_cli.models.files.read_errors import explained
from dycoke_cli.models.files.small_files import CONFIG, check_settings
from dycoke_cli.models.free_memory import free_memory
from dycoke_cli.models.from_pretrained import check_complete, from_pretrained, read_weights
from dycoke_cli.models.load_memory import check_room
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.chat_template import check_template
from dycoke_cli.models.prompts.stock_processor import load_tokenizer
from dycoke_cli.models.reference import ModelRef, find
from dycoke_cli.models.resolve import ResolvedModel, choose, read_config
from dycoke_cli.resources import in_words
from dycoke_cli.stock.model_class import shows_videos
from dycoke_cli.stock.quiet import quiet_libraries
from dycoke_cli.verification.decode_rules.text_decoder import Decoder, of_model

_GGUF = b"GGUF"  # first bytes of such a file
_EXTRA = "evidence"


@dataclass(frozen=True)
class LoadedDecoder:
    """A decoder in memory, and where it is from.

    Args:
        name: as the user gave it.
        revision: commit of a hub model, or None.
        decoder: the model.
        tokenizer: of the model.
    """

    name: str
    revision: str | None
    decoder: Decoder
    tokenizer: Any


def load_decoder(name: str, options: LoadOptions | None = None) -> LoadedDecoder:
    """Load a text decoder or a video model by name, folder, hub id or GGUF file.

    A video model is loaded whole; its vision tower isn't run.

    Args:
        name: a GGUF file, or what `--model` takes.
        options: load options; the dtype "auto" is float32, because rules are compared by logits.

    Raises:
        ModelError: it can't be found or loaded, or is no decoder.
        OutOfMemoryError: it doesn't fit on the device.
        UsageError: an option that isn't supported here, or layers that no rule prunes.
    """
    options = options or LoadOptions()
    if options.quantize is not None or options.device_map is not None:
        flag = "--quantize" if options.quantize is not None else "--device-map"
        raise UsageError(f"--decode-rules asks a whole model on one device; drop {flag}")
    dtype: Any = "float32" if options.dtype == "auto" else options.dtype
    options = replace(options, dtype=dtype, kernels="stock")
    revision = None
    with quiet_libraries():
        if Path(name).is_file():
            model, tokenizer = _from_gguf(Path(name), options)
        else:
            source = find(name)
            config, revision = read_config(source, options.revision)
            if shows_videos(config):
                model, tokenizer = _from_video_model(source, options)
            else:
                model, tokenizer = _from_text_model(source, config, revision, options)
    if tokenizer.chat_template:
        return LoadedDecoder(name, revision, of_model(model), tokenizer)
    # A base model goes on after its answer, so a line ends it.
    lines = (tokenizer(end, add_special_tokens=False)["input_ids"] for end in ("\n", "\n\n"))
    decoder = of_model(model, (line[0] for line in lines if len(line) == 1))
    return LoadedDecoder(name, revision, decoder, tokenizer)


def _from_video_model(source: ModelRef, options: LoadOptions) -> tuple[Any, Any]:
    resolved = choose(source, options)
    check_room(resolved, free_memory(resolved.device))
    model, processor = from_pretrained(resolved)
    tokenizer = processor.tokenizer
    tokenizer.chat_template = tokenizer.chat_template or getattr(processor, "chat_template", None)
    return model, tokenizer


def _from_text_model(
    source: ModelRef, config: Any, revision: str | None, options: LoadOptions
) -> tuple[Any, Any]:
    device, dtype = named_device(options.device), getattr(torch, options.dtype)
    built = _without_weights(source, config, dtype)
    resolved = ResolvedModel(
        source.name, source, config, revision, UNLISTED, device, dtype, options
    )
    check_room(resolved, free_memory(device), built=built)
    tokenizer = load_tokenizer(source, revision)
    return read_weights(resolved, AutoModelForCausalLM), tokenizer


def _from_gguf(path: Path, options: LoadOptions) -> tuple[Any, Any]:
    """The model of a GGUF file, dequantized, and its tokenizer."""
    with path.open("rb") as file:
        if file.read(len(_GGUF)) != _GGUF:
            raise ModelError(f"{path} isn't a GGUF file; give one, or the folder of a model")
    if options.revision is not None:
        raise UsageError("--revision is for models of the hub; drop it for a GGUF file")
    for package in ("gguf", "accelerate"):
        need(package, _EXTRA, f"{path.name}, a GGUF file,")
    source = ModelRef(str(path), str(path), None, local=True)
    device, dtype = named_device(options.device), getattr(torch, options.dtype)
    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    # The only output of the loader that `quiet_libraries` leaves: a progress bar.
    with explained(source, "the file"), redirect_stderr(StringIO()):
        config = AutoConfig.from_pretrained(**where)
        check_settings(CONFIG, config.to_diff_dict())
        built = _without_weights(source, config, dtype)
        needed, free = sum(one.nbytes for one in built.parameters()), free_memory(device)
        if free is not None and needed > free:
            raise OutOfMemoryError(
                f"the model {path.name} {in_words(needed, free)} on {device}; use a smaller one or "
                "--dtype bfloat16"
            )
        tokenizer = AutoTokenizer.from_pretrained(**where)
        if tokenizer.chat_template:
            check_template(tokenizer)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            **where, config=config, dtype=dtype, output_loading_info=True
        )
    model, info = loaded
    check_complete(source, info)
    return model.eval().to(device), tokenizer


def _without_weights(source: ModelRef, config: Any, dtype: torch.dtype) -> Any:
    """The stock decoder on the meta device, where weights have shapes but no storage."""
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"{source.name} is of the family {config.model_type!r}, which isn't a decoder; give a "
            "causal language model, or a video model of `dycoke models`"
        )
    with explained(source, "its configuration"), torch.device("meta"):
        # A copy, because `from_config` writes the dtype into the configuration.
        return AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype)
