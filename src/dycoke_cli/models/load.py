"""Loads a model, stored or with random weights: `load` returns it with its processor and family."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from dycoke_cli.errors import ModelError, check_kind
from dycoke_cli.kernels.quantize import (
    by_bitsandbytes,
    import_bitsandbytes,
    quantization,
    stored_quantized,
    tensor_bytes,
)
from dycoke_cli.kernels.replacing import (
    INT8_IS_SLOWER,
    choose_kernels,
    packed_bytes,
    use_custom_attention,
    use_int8,
    use_packed,
)
from dycoke_cli.models.catalog import Entry, ModelRef, PublishedConfig, published
from dycoke_cli.models.devices import (
    device_names,
    free_memory,
    free_memory_of_all,
    has_device_map,
    input_device,
    working_devices,
)
from dycoke_cli.models.families import UNLISTED, Family, ModelInfo, remember
from dycoke_cli.models.families.discovery import find_layout
from dycoke_cli.models.files.hub import explained, whole_folder
from dycoke_cli.models.load_memory import check_room
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.stock_processor import load_processor
from dycoke_cli.models.prompts.stock_prompt import fit_of
from dycoke_cli.models.resolve import ResolvedModel, resolve_model
from dycoke_cli.param import checks_keywords
from dycoke_cli.stock.private_api import auto_class, without_initialisation
from dycoke_cli.stock.quiet import quiet_libraries
from dycoke_cli.video.clip import Fit

# Settings of a checkpoint's generation_config.json that change how a model runs, not what it
# generates. They are reset, because a checkpoint could start a compiler or replace the KV cache.
_RUNTIME_SETTINGS = (
    "cache_implementation",
    "cache_config",
    "compile_config",
    "continuous_batching_config",
    "max_time",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "prefill_chunk_size",
    "use_cache",
)


def from_pretrained(resolved: ResolvedModel, fit: Future[Fit] | None = None) -> tuple[Any, Any]:
    """Load a stored model to its device, and its processor: safetensors only, no remote code."""
    source, options = resolved.source, resolved.options
    processor = load_processor(source, resolved.revision)
    if fit is not None:
        fit.set_result(fit_of(processor, resolved.info.family, resolved.config))
    weight_options = device_map_options(
        options.device_map, options.quantize, resolved.config, resolved.device
    )
    if options.quantize is not None and by_bitsandbytes(options.quantize, resolved.device):
        weight_options["quantization_config"] = quantization(options.quantize, resolved.config)
    if "quantization_config" in weight_options or stored_quantized(resolved.config):
        import_bitsandbytes()
    with explained(source, "its weights"):
        loaded: Any = auto_class(resolved.config).from_pretrained(
            whole_folder(source, resolved.revision),
            config=resolved.config,
            dtype=resolved.dtype,
            use_safetensors=True,  # other formats are pickled, and unpickling runs code
            ignore_mismatched_sizes=True,  # reported by us, with the name of the tensor
            output_loading_info=True,
            **weight_options,
            trust_remote_code=False,
        )
    model, info = loaded
    _check_complete(source, info)
    for name in _RUNTIME_SETTINGS:
        setattr(model.generation_config, name, None)
    model = model.eval()
    # With a device map the weights are in place, and accelerate's hooks forbid moving them.
    if "device_map" not in weight_options:
        model = model.to(resolved.device)
    quantized = options.quantize is not None or stored_quantized(resolved.config)
    if resolved.device.type == "cpu" and not quantized and not has_device_map(model):
        _fault_in(model)
    return model, processor


def device_map_options(
    device_map: str | None, quantize: str | None, config: Any, device: torch.device
) -> dict[str, Any]:
    """Arguments of `from_pretrained` that place the weights; empty if `load` moves them itself."""
    if device_map is not None:
        return {"device_map": device_map}
    if stored_quantized(config) or (quantize is not None and by_bitsandbytes(quantize, device)):
        return {"device_map": {"": str(device)}}  # such weights can't be moved afterwards
    return {}


def _fault_in(model: Any) -> None:
    """Read one number of every page of the weights, which are memory-mapped and not yet read.

    Otherwise the disk reads are part of the first question, and of its measured time.
    """
    page = 4096
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().flatten()[:: page // tensor.element_size()].sum()


def _check_complete(source: ModelRef, info: dict[str, Any]) -> None:
    # transformers initialises such weights at random and only warns; the model would run, and
    # generate nonsense.
    for what, keys in (
        ("lacks weights", info["missing_keys"]),
        ("has weights of a wrong shape", info["mismatched_keys"]),
    ):
        if keys:
            first = min(str(key[0] if isinstance(key, tuple) else key) for key in keys)
            others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise ModelError(f"{source.name} {what}: {first}{others}; download it again")


# `--random-weights`: published configurations with random weights, to measure speed and memory.
#
# Nothing is downloaded. The package doesn't contain the vocabularies, so a byte tokenizer replaces
# the model's: one token per byte makes questions about four times as long. Special tokens have
# their published ids.


MEANINGLESS = "the weights are random, so the answer means nothing; only speed and memory are real"

WEIGHT_STD = 0.02
"""Standard deviation of the weights: `initializer_range` of most families."""

# Random numbers that are repeated to fill all matrices. The length is prime, so rows of a matrix
# begin at different places in it and no two rows are equal.
_BLOCK = 1_000_003


def with_random_weights(resolved: ResolvedModel) -> tuple[Any, Any]:
    """Build a published model with random weights, and a processor for it."""
    model = random_model(resolved.config, resolved.device, resolved.dtype)
    vocabulary = resolved.config.get_text_config().vocab_size
    return model, byte_processor(published(resolved.name), vocabulary)


def random_model(config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Build the stock model of a configuration in place, without memory beyond its weights.

    The weights are the same each time. The model has no end token, so every answer has the
    requested length.
    """
    with torch.device(device), without_initialisation():
        model = auto_class(config).from_config(config, dtype=dtype)
    model.tie_weights()  # normally part of the initialisation, which is skipped here
    _fill(model)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.eval()


def byte_processor(model: PublishedConfig, vocabulary: int) -> Any:
    """Build the stock processor of a model, with its published settings and a byte tokenizer."""
    described = model.processor
    parts = {name: _part(described[name]) for name in ("image_processor", "video_processor")}
    return getattr(transformers, described["class"])(
        **parts,
        **described["settings"],
        tokenizer=byte_tokenizer(described["tokenizer"], vocabulary),
        chat_template="".join(described["chat_template"]),
    )


def byte_tokenizer(described: dict[str, Any], vocabulary: int) -> Any:
    """Build a stock tokenizer of bytes and special tokens, with a placeholder for each other id."""
    special: dict[str, int] = described["special"]
    ids = dict(special)
    taken = set(special.values())
    free = (number for number in range(vocabulary) if number not in taken)
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        ids[byte] = next(free)
    ids |= {f"<unused{number}>": number for number in free}
    core = Tokenizer(models.BPE(vocab=ids, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(special))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=described["pad"],
        padding_side="left",
        extra_special_tokens=described["named"],
    )


@torch.no_grad()
def _fill(model: Any) -> None:
    """Set matrices to normal numbers, norms to 1 and biases to 0.

    Sampling billions of numbers takes minutes, so one block of them is repeated.
    """
    parameters = dict(model.named_parameters())
    first = next(iter(parameters.values()))
    generator = torch.Generator().manual_seed(0)
    block = torch.empty(_BLOCK).normal_(0, WEIGHT_STD, generator=generator).to(first)
    for name, parameter in parameters.items():
        if parameter.dim() == 1 and name.endswith("bias"):
            parameter.zero_()
        elif parameter.dim() == 1 and name.endswith("weight"):
            parameter.fill_(1)
        else:
            for part in parameter.view(-1).split(_BLOCK):
                part.copy_(block[: len(part)])
            block = block.roll(-(parameter.numel() % _BLOCK))


def _part(described: dict[str, Any]) -> Any:
    settings = {name: value for name, value in described.items() if name != "class"}
    return getattr(transformers, described["class"])(**settings)


@dataclass(frozen=True)
class LoadedModel:
    """Model in memory, with its processor and properties."""

    name: str  # as the user gave it
    revision: str | None  # commit of a hub model, or None
    entry: Entry | None  # of the catalog, or None
    model: Any  # a stock `transformers` model in evaluation mode
    processor: Any  # its stock processor
    family: Family  # its layout
    seconds_load: float  # duration of `load`
    # "int8" or "int4" if its weights were quantized at load time, or None
    quantize: str | None = None
    kernels: str = "fast"  # "fast" or "stock", as in `LoadOptions`
    warnings: tuple[str, ...] = ()  # sentences that are added to every answer of this model
    # free memory of the device before loading; None if unknown, and for a model on several devices
    free_bytes: int | None = None
    # identifies weights, dtype and device in caches; None for random weights
    identity: dict[str, Any] | None = None

    @property
    def device(self) -> str:
        """Device of the model, such as "cpu" or "cuda:0"; all devices with a device map."""
        return ", ".join(device_names(self.model))

    @property
    def input_device(self) -> torch.device:
        """Device that token ids and pixels are moved to."""
        return input_device(self.model)

    @property
    def dtype(self) -> str:
        """Dtype of the language model's weights, such as "bfloat16" or "int8"."""
        return self.quantize or str(self.model.dtype).removeprefix("torch.")

    @cached_property
    def info(self) -> ModelInfo:
        """What the configuration says; read once, for each request settles its method."""
        return ModelInfo.of(self.model.config, self.name, self.family)

    @cached_property
    def fit(self) -> Fit:
        """Resize of frames to the size that the model reads."""
        return fit_of(self.processor, self.family, self.model.config)

    @property
    def context_length(self) -> int:
        """Context length of the language model, in tokens."""
        return self.info.context or self.processor.tokenizer.model_max_length

    @property
    def weights_bytes(self) -> int:
        """Bytes of all parameters and buffers, including packed weights."""
        return sum(map(tensor_bytes, self._tensors)) + packed_bytes(self.model)

    @property
    def working_weights_bytes(self) -> int:
        """Bytes of the weights on the devices on which the model computes (not offloaded)."""
        if not has_device_map(self.model):
            return self.weights_bytes
        devices = working_devices(self.model)
        return sum(tensor_bytes(tensor) for tensor in self._tensors if tensor.device in devices)

    @property
    def _tensors(self) -> list[torch.Tensor]:
        return [*self.model.parameters(), *self.model.buffers()]


@checks_keywords
def load(
    name: str | os.PathLike[str] | ModelRef | ResolvedModel,
    *,
    on_stage: Callable[[str, int, int], None] | None = None,
    fit: Future[Fit] | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    revision: str | None = None,
    random_weights: bool = False,
    device_map: Literal["auto"] | None = None,
    quantize: Literal["int8", "int4"] | None = None,
    kernels: Literal["fast", "stock"] = "fast",
) -> LoadedModel:
    """Load a model by catalog name, folder or hub id.

    Args:
        name: what `--model` takes, or what `catalog.find` found by that; or a model that was
            resolved with its options already.
        on_stage: called with ("pack", layers done, layers in total) while weights are quantized.
        fit: receives `LoadedModel.fit` before the weights are read; not with random weights.
        device: and the others: fields of `LoadOptions`, whose text is that of `--help-all`. A model
            that was resolved has them already.

    Raises:
        ModelError: it can't be found or loaded.
        OutOfMemoryError: it doesn't fit on the device; nothing is allocated then.
        UsageError: a device or dtype that isn't there, or options that don't go together.
    """
    started = time.perf_counter()
    options = LoadOptions(device, dtype, revision, random_weights, device_map, quantize, kernels)
    wanted = "load() takes a name of `dycoke models`, a folder or a hub id"
    check_kind(name, (str, os.PathLike, ModelRef, ResolvedModel), wanted)
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    resolved = name if isinstance(name, ResolvedModel) else resolve_model(name, options)
    options, source, family = resolved.options, resolved.source, resolved.info.family
    own_int8 = options.quantize is not None and not by_bitsandbytes(
        options.quantize, resolved.device
    )
    # Weights in the dtype of the file stay mapped until they are quantized. The rest is converted
    # at the end.
    read, built = resolved, None
    if own_int8 and family is not UNLISTED and not options.random_weights:
        stored = getattr(torch, resolved.info.dtype or "float32")
        if resolved.dtype.itemsize > stored.itemsize:
            read, built = replace(resolved, dtype=stored), resolved.build()
    # Before anything is allocated: the system kills a process that runs out of main memory, and the
    # user would see no message.
    free = None if options.device_map else free_memory(resolved.device)
    check_room(resolved, free_memory_of_all() if options.device_map else free, built=built)
    with quiet_libraries():
        if options.random_weights:
            model, processor = with_random_weights(read)
        else:
            model, processor = from_pretrained(read, fit)
        if family is UNLISTED:
            family = find_layout(model, processor, source.name)
            # Methods attach to a plain stock model, which has its configuration alone.
            remember(model.config, family)
    identity = None if options.random_weights else resolved.describe()
    warnings = [MEANINGLESS] if options.random_weights else []
    chosen = choose_kernels(model if built is None else built, own_int8)
    # int8 first: it replaces stock linear layers, and `use_packed` packs those that are left.
    if own_int8:
        on_rounded = None if on_stage is None else partial(on_stage, "pack")
        use_int8(model, chosen.int8, on_rounded, None if built is None else resolved.dtype)
    # A discovered model that takes no method runs entirely stock. Whatever kept its layout from
    # being proven, such as attention masks of its own, may break our kernels as well.
    stock = options.kernels == "stock" or (family.stock_inputs and bool(family.only_none))
    if not stock:
        use_custom_attention(model, chosen.attention)
        if not has_device_map(model):
            use_packed(model, chosen.packed)
    if chosen.int8_is_slower:
        warnings.append(INT8_IS_SLOWER)
    return LoadedModel(
        source.name,
        resolved.revision,
        source.entry,
        model,
        processor,
        family,
        time.perf_counter() - started,
        quantize=options.quantize,
        kernels="stock" if stock else options.kernels,
        warnings=tuple(warnings),
        free_bytes=free,
        # The identity is the key of cached embeddings, which are the same on all devices. Except
        # for our own int8 on a CPU: unlike bitsandbytes, it quantizes the vision tower as well.
        identity=identity and {**identity, "device": "cpu" if own_int8 else None},
    )
