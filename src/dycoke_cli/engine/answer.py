"""An answer with everything that is reported of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli import __version__

if TYPE_CHECKING:
    from dycoke_cli.engine.trace import Trace

SCHEMA = "dycoke.answer/1"


@dataclass(frozen=True)
class Answer:
    """One answered question; all fields but `trace` are keys of the `--json` object.

    Args:
        question: as asked.
        answer: the text, without special tokens.
        finish_reason: "stop", or "length" where `max_new_tokens` cut it.
        seed: of sampling, or None for greedy decoding.
        model: name, revision, dtype, device.
        method: name and every parameter.
        frames: count, and true time stamps in seconds.
        tokens: visual, visual_kept, visual_active_in_decode (mean over steps, in pruned layers),
            visual_read_per_step (mean over steps and layers; None where layers don't attend to
            every token), text, generated.
        decode: steps, choices_renewed, tokens_evicted, tokens_recalled.
        flops: "paper FLOPs": prefill, decode, uncompressed.
        seconds: load, video_decode, vision, prefill, first_token, decode, total.
        tokens_per_second: (generated - 1) / decode, or None for one token.
        bytes: weights, kv_cache, kv_host (of it), kv_active, read_per_token (by a decoding step),
            peak_working, peak_total.
        warnings: sentences for a person.
        trace: what each decoding step looked at, where it was asked for.
    """

    question: str
    answer: str
    finish_reason: str
    seed: int | None
    model: dict[str, Any]
    method: dict[str, Any]
    frames: dict[str, Any]
    tokens: dict[str, Any]
    decode: dict[str, int]
    flops: dict[str, float]
    seconds: dict[str, float]
    tokens_per_second: float | None
    bytes: dict[str, int | None]
    warnings: tuple[str, ...]
    trace: Trace | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object of `--json`, without the keys that only the caller knows (video, id)."""
        keys = {name: value for name, value in vars(self).items() if name != "trace"}
        return {
            "schema": SCHEMA,
            "version": __version__,
            **keys,
            "warnings": list(self.warnings),
        }
