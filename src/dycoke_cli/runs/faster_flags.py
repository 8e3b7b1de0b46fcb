"""The flags that would have made an answer on a CPU faster, for somebody who waited for it.

How much is estimated from the answer's own stages and from kernels that were timed on this machine;
where linear layers in 8 bits never were, what was measured elsewhere is named as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dycoke_cli.answer.answer import Answer
from dycoke_cli.engine.binding import bind
from dycoke_cli.errors import UsageError
from dycoke_cli.instruction_sets import instructions, is_slow_in_bfloat16
from dycoke_cli.models.traits import traits_of
from dycoke_cli.request import Request

SLOW_S = 30.0
WORTH_IT = 0.85
"""Flags are named where an answer would have taken less than this share of its time."""
_EARLY, _INT8 = "--merge-stage vision", "--quantize int8"


@dataclass(frozen=True)
class ReferenceTimes:
    """Seconds that an answer about 32 frames took elsewhere (docs/speed.md)."""

    machine: str  # where
    taken: Mapping[tuple[str, ...], float]  # by the flags beside `--method dycoke`


AVX2 = ReferenceTimes(
    "2 cores of AMD EPYC (avx2)", {(): 176, (_EARLY,): 102, (_EARLY, _INT8): 65.3}
)
AVX512 = ReferenceTimes(
    "2 cores of AMD EPYC (avx512_bf16)", {(): 73.6, (_EARLY,): 41.0, (_EARLY, _INT8): 38.4}
)


def faster_flags(answer: Answer, request: Request, loaded: Any) -> str | None:
    """A sentence that names the flags, or None of an answer that came soon, or had them all."""
    if answer.refused:
        return None
    if answer.model.device != "cpu" or answer.seconds.total < SLOW_S:
        return None
    from dycoke_cli.kernels.choice import int8_shares

    config = loaded.model.config
    encoded = encoded_early(request.method, config)
    shares = None
    stored_rounded = getattr(config, "quantization_config", None) is not None
    rounds = request.loading.quantize is None and not stored_rounded
    if rounds:
        shares = int8_shares(answer.model.dtype)
        rounds = shares[0] < 1 if shares is not None else "amx_bf16" not in instructions()
    flags = (*([] if encoded is None else [_EARLY]), *([_INT8] if rounds else []))
    if not flags:
        return None
    if rounds and shares is None:
        published = AVX2 if is_slow_in_bfloat16(instructions()) else AVX512
        had = () if encoded is not None else (_EARLY,)
        before, after = published.taken[had], published.taken[(_EARLY, _INT8)]
        where = f"on another machine, {published.machine}"
    else:
        prompt, token = shares if rounds and shares is not None else (1.0, 1.0)
        taken = answer.seconds
        before = taken.total
        after = before - taken.vision * (1 - (encoded or 1) * prompt)
        after -= taken.prefill * (1 - prompt) + taken.decode * (1 - token)
        where = "as estimated from what was measured on this machine"
    if after > WORTH_IT * before:
        return None
    return f"Faster: {' '.join(flags)} ({after:.0f} s in place of {before:.0f} s, {where})"


def encoded_early(method: Any, config: Any) -> float | None:
    """Of the visual tokens, those that are encoded with `--merge-stage vision`.

    Returns:
        the fraction, or None where the flag was given, or isn't for the method or the model.
    """
    if getattr(method, "merge_stage", "vision") == "vision":
        return None
    try:
        early = bind(replace(method, merge_stage="vision"), traits_of(config))
    except UsageError:
        return None
    merging = early.before_vision
    if merging is None:
        return None
    import torch

    frames = torch.ones(merging.window, 100, 8)
    return len(merging.keep(frames)) / frames[..., 0].numel()
