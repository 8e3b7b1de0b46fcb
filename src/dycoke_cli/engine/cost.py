"""What an answer would cost: tokens, memory and FLOPs, from configuration and video alone.

Needs no torch and loads no model: `--estimate` and `dycoke models info --frames`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.chunks import chunk_length
from dycoke_cli.engine.flops import paper_flops
from dycoke_cli.engine.memory.estimate import (
    Work,
    estimate,
    patches_together,
    sizes_of,
)
from dycoke_cli.engine.tower_needs import check_family
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.json_schema import Doc
from dycoke_cli.models.catalog import Entry
from dycoke_cli.models.frame_tokens import ClipTokens
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.memory import Machine
from dycoke_cli.models.on_disk import StoredConfig, stored_config
from dycoke_cli.models.resolve import ModelRef
from dycoke_cli.models.weight_files import loaded_files
from dycoke_cli.result import Amount, Count, Version
from dycoke_cli.version import __version__

SCHEMA = "dycoke.estimate/1"
TEXT_TOKENS = 64
"""Of a prompt beside the video: a chat template and a question of one or two sentences."""
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_QUANTIZED_BYTES = {"int8": 1.0, "int4": 0.5}


@dataclass(frozen=True)
class EstimatedTokens:
    """Tokens of the prompt, and of a decoding step."""

    frames: Annotated[Count, Doc("As the model sees them: pairs of frames, where it merges them.")]
    per_frame: Count
    visual: Annotated[Count, Doc("Before any are dropped.")]
    visual_kept: Annotated[Count, Doc("Read by the language model.")]
    visual_read_per_step: Annotated[
        Amount, Doc("Attended to by a decoding step, mean over layers.")
    ]
    text: Annotated[Count, Doc("Assumed, for the tokenizer isn't loaded.")]


@dataclass(frozen=True)
class EstimatedBytes:
    """Memory in bytes."""

    weights: Annotated[Count, Doc("In the chosen dtype or quantization.")]
    kv_cache: Annotated[Count, Doc("Of the prompt and of max_new_tokens.")]
    kv_cache_uncompressed: Count
    peak: Annotated[Count, Doc("Weights and the most that is needed beside them.")]
    peak_uncompressed: Count


@dataclass(frozen=True)
class EstimatedFlops:
    """The language model's FLOPs for the visual tokens, by the paper's formula (section 3.4)."""

    prefill: Amount
    prefill_uncompressed: Amount
    decode: Annotated[Amount, Doc("Of max_new_tokens.")]
    decode_uncompressed: Amount


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an answer would cost: the JSON object of `--estimate`."""

    schema: str = SCHEMA
    version: Version = __version__
    video: Annotated[str | None, Doc("As it was given.")]
    model: str
    dtype: Annotated[str, Doc("Of the weights, or the quantization.")]
    method: Annotated[dict[str, Any], Doc("Its name and every parameter.")]
    max_new_tokens: Count
    tokens: EstimatedTokens
    bytes: EstimatedBytes
    flops: EstimatedFlops
    fits: Annotated[
        str | None,
        Doc("Where it fits by the memory that is free.", enum=["gpu", "ram", "no", None]),
    ]


def estimate_cost(
    source: ModelRef,
    clip: ClipTokens,
    method: Method,
    loading: LoadOptions,
    max_new_tokens: int,
    machine: Machine,
    video: str | None = None,
) -> Cost:
    """What an answer would cost.

    Args:
        source: the model.
        clip: its visual tokens of the video.
        method: what is dropped; parameters that are None take the model's defaults.
        loading: dtype and quantization.
        max_new_tokens: of the answer.
        machine: memory that is free.
        video: as it was given.

    Raises:
        ModelError: its configuration isn't on this machine, or doesn't tell its sizes.
        UsageError: the model doesn't have a layer that a parameter names, or its vision tower
            doesn't give what the method needs.
    """
    stored = stored_config(source)
    if stored is None:
        raise ModelError(
            f"the configuration of {source.name} isn't on this machine, so nothing can be "
            f"estimated: dycoke models pull {source.name}"
        )
    text, vision = stored.as_objects()
    if stored.layers is None or not hasattr(text, "hidden_size"):
        raise ModelError(
            f"the config.json of {source.name} leaves its sizes to the stock class, so nothing can "
            "be estimated before it is loaded"
        )
    if stored.family is not None:
        check_family(stored.values["model_type"], stored.family, method)
    method = method.suited(stored.method_defaults or {}, stored.layers, source.name)
    dtype = _dtype(stored, loading, machine)
    weights = _weights(source, source.entry, stored, loading, dtype)
    sizes = sizes_of(text, vision, weights, _DTYPE_BYTES[dtype])
    kept = method.kept_tokens(clip.frames, clip.per_frame)
    attended = method.attended_tokens(kept)
    choice = method.inside() or method.pruning()
    below = choice.layer if choice else stored.layers
    inside = method.inside() is not None
    read = (below * kept + (stored.layers - below) * attended) / stored.layers

    on_cpu = _on_cpu(loading, machine)
    ours = on_cpu and loading.kernels == "fast"

    def memory(dropping: Method, tokens: int, whole: bool) -> Any:
        length = tokens + TEXT_TOKENS
        work = Work(
            visual=clip.visual,
            kept=tokens,
            text=TEXT_TOKENS,
            chunk_len=length if whole else chunk_length(length, ours),
            spare=max_new_tokens,
            patches=patches_together(dropping, vision, clip.frames, clip.per_frame, on_cpu=on_cpu),
        )
        return estimate(sizes, work)

    compressed, plain = memory(method, kept, inside), memory(Method(), clip.visual, False)
    flops = paper_flops(
        text,
        text=0,
        visual=clip.visual,
        visual_kept=kept,
        visual_last=attended if inside else kept,
        visual_active=attended,
        prune_layer=below,
        generated=max_new_tokens,
    )
    whole = paper_flops(
        text,
        text=0,
        visual=clip.visual,
        visual_kept=clip.visual,
        visual_last=clip.visual,
        visual_active=clip.visual,
        prune_layer=stored.layers,
        generated=max_new_tokens,
    )
    return Cost(
        video=video,
        model=source.name,
        dtype=loading.quantize or dtype,
        method={"name": method.name, **method.parameters()},
        max_new_tokens=max_new_tokens,
        tokens=EstimatedTokens(clip.frames, clip.per_frame, clip.visual, kept, read, TEXT_TOKENS),
        bytes=EstimatedBytes(
            weights=weights,
            kv_cache=compressed.kv,
            kv_cache_uncompressed=plain.kv,
            peak=compressed.total(),
            peak_uncompressed=plain.total(),
        ),
        flops=EstimatedFlops(flops.prefill, whole.prefill, flops.decode, whole.decode),
        fits=machine.fits(compressed.total()),
    )


def clip_tokens(source: ModelRef, frames: int, height: int, width: int) -> ClipTokens:
    """The visual tokens of a clip, by what the catalog has of the model's family.

    Args:
        source: the model.
        frames: pictures that are shown.
        height: of each, in pixels.
        width: of each, in pixels.

    Raises:
        UsageError: the model's processor has to be asked.
    """
    known = None if source.entry is None else source.entry.clip_tokens(frames, height, width)
    if known is None:
        raise UsageError(
            f"how many tokens {source.name} has per frame is known by its processor alone: "
            "`dycoke probe VIDEO --model …` asks it"
        )
    return known


def _on_cpu(loading: LoadOptions, machine: Machine) -> bool:
    return loading.device == "cpu" or (loading.device == "auto" and not machine.gpu_bytes)


def _dtype(stored: StoredConfig, loading: LoadOptions, machine: Machine) -> str:
    if loading.dtype != "auto":
        return loading.dtype
    dtype = (stored.dtype or "float32").removeprefix("torch.")
    dtype = dtype if dtype in _DTYPE_BYTES else "bfloat16"
    return "bfloat16" if dtype == "float16" and _on_cpu(loading, machine) else dtype


def _weights(
    source: ModelRef, entry: Entry | None, stored: StoredConfig, loading: LoadOptions, dtype: str
) -> int:
    """Bytes of the weights once they are loaded.

    Raises:
        ModelError: nothing tells their number.
    """
    held = _DTYPE_BYTES.get((stored.dtype or "float32").removeprefix("torch."), 2)
    if entry is not None and entry.parameters is not None:
        parameters: float = entry.parameters
    elif stored.folder is not None:
        files = loaded_files(Path(stored.folder))
        parameters = sum(path.stat().st_size for path in files if path.exists()) / held
    else:
        raise ModelError(f"nothing tells how many parameters {source.name} has")
    # Embeddings and norms aren't quantized: a few per cent.
    each = _DTYPE_BYTES[dtype] if loading.quantize is None else _QUANTIZED_BYTES[loading.quantize]
    return int(parameters * each)
