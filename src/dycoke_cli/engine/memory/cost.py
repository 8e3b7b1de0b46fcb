"""What an answer would cost, as an object for `--json` and for the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.json_schema import Doc
from dycoke_cli.result import Amount, Count, Version
from dycoke_cli.version import __version__

SCHEMA = "dycoke.estimate/1"


@dataclass(frozen=True)
class EstimatedTokens:
    """Tokens of the prompt, and of a decoding step."""

    frames: Annotated[Count, Doc("As the model sees them: pairs of frames, where it merges them.")]
    per_frame: Count
    visual: Annotated[Count, Doc("Visual tokens before compression.")]
    visual_kept: Annotated[Count, Doc("Visual tokens at prefill.")]
    visual_read_per_step: Annotated[
        Amount, Doc("Visual tokens attended per step, mean over layers.")
    ]
    text: Annotated[Count, Doc("Assumed, for the tokenizer isn't loaded.")]


@dataclass(frozen=True)
class EstimatedContext:
    """What the language model reads and generates, beside what it was made for."""

    length: Annotated[int | None, Doc("Tokens; null where its configuration doesn't tell.")]
    needed: Annotated[Count, Doc("Tokens of the prompt that are read, and max_new_tokens.")]
    fits: bool


@dataclass(frozen=True)
class EstimatedBytes:
    """Memory in bytes."""

    weights: Annotated[Count, Doc("Once they are loaded, in the form that each layer has then.")]
    loading: Annotated[Count, Doc("Weights at the peak of loading.")]
    kv_cache: Annotated[Count, Doc("Of the prompt and of max_new_tokens.")]
    kv_cache_uncompressed: Count
    peak: Annotated[Count, Doc("Peak memory of an answer or of loading, weights included.")]
    peak_uncompressed: Count


@dataclass(frozen=True)
class EstimatedSeconds:
    """Time on this machine, from kernels that were measured; null where one wasn't."""

    vision: Annotated[float | None, Doc(minimum=0)]
    prefill: Annotated[float | None, Doc(minimum=0)]
    decode: Annotated[float | None, Doc("Of max_new_tokens.", minimum=0)]

    @property
    def answering(self) -> float | None:
        """Of prefill and decode, where both are known."""
        known = self.prefill is not None and self.decode is not None
        return (self.prefill or 0) + (self.decode or 0) if known else None

    @property
    def total(self) -> float | None:
        """Of all stages, where all are known."""
        rest = self.answering
        return None if self.vision is None or rest is None else self.vision + rest


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
    video: Annotated[str | None, Doc("As given.")]
    model: str
    dtype: Annotated[str, Doc("Of the weights, or the quantization.")]
    method: Annotated[dict[str, Any], Doc("Its name and every parameter.")]
    max_new_tokens: Count
    device: Annotated[str, Doc("That it is estimated for.", enum=["cuda", "mps", "cpu"])]
    tokens: EstimatedTokens
    context: EstimatedContext
    bytes: EstimatedBytes
    flops: EstimatedFlops
    seconds: Annotated[
        EstimatedSeconds | None, Doc("Null for another device than this machine's CPU.")
    ]
    seconds_uncompressed: EstimatedSeconds | None
    free: Annotated[int | None, Doc("Bytes of the device that are free, or as given.", minimum=0)]
    fits: Annotated[
        str | None,
        Doc("Where it fits in free memory.", enum=["gpu", "ram", "no", None]),
    ]
    would_fit: Annotated[
        tuple[str, ...], Doc("Flags with each of which it would fit, where it doesn't.")
    ]
    warnings: Annotated[tuple[str, ...], Doc("Sentences for a person.")]
