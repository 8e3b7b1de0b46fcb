""" "Paper FLOPs", the formula by which the field compares methods, and how many this machine does.

Source: DyCoke (arXiv 2411.15024), section 3.4, after FastV (arXiv 2403.06764). It ignores grouped
KV heads and the third matrix of gated MLPs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

from dycoke_cli.answer.answer import Flops
from dycoke_cli.compression.method import Method, attended_by_layer, read_by_layer
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.resources import is_overloaded, processor_name, usable_cpus
from dycoke_cli.storage.cache_folder import kept, write_whole
from dycoke_cli.storage.output_file import read_own


def prefill_flops(tokens_by_layer: Sequence[int], *, hidden: int, mlp: int) -> float:
    """Prefill: Σ over layers of 4nd² + 2n²d + 2ndm."""
    return sum(
        4 * n * hidden**2 + 2 * n**2 * hidden + 2 * n * hidden * mlp for n in tokens_by_layer
    )


def decode_flops(
    generated: int, tokens_by_layer: Sequence[float], *, hidden: int, mlp: int
) -> float:
    """Decode of R tokens: Σ over layers of R·((4d² + 2dm) + 2(dn + d(R+1)/2))."""
    per_token = 4 * hidden**2 + 2 * hidden * mlp + hidden * (generated + 1)
    return generated * sum(per_token + 2 * hidden * tokens for tokens in tokens_by_layer)


def expected_flops(
    method: Method,
    clip: ClipTokens,
    *,
    text: int,
    generated: int,
    layers: int,
    hidden: int,
    mlp: int,
    kept: int | None = None,
) -> Flops:
    """FLOPs of an answer about a clip that isn't encoded yet.

    Args:
        text: tokens of the prompt that aren't visual; 0 as in the paper.
        kept: visual tokens that are read; None for those that the method keeps.
    """
    kept = method.kept_tokens(clip.frames, clip.per_frame) if kept is None else kept
    return paper_flops(
        hidden=hidden,
        mlp=mlp,
        text=text,
        visual=clip.visual,
        read=read_by_layer(method, kept, layers),
        attended=attended_by_layer(method, kept, layers),
        generated=generated,
        reads_before=method.reads_before,
    )


def paper_flops(
    *,
    hidden: int,
    mlp: int,
    text: int,
    visual: int,
    read: Sequence[int],
    attended: Sequence[float],
    generated: int,
    reads_before: bool = False,
) -> Flops:
    """The three figures that are reported.

    Args:
        text: tokens of the prompt that aren't visual.
        visual: tokens of the video before anything is dropped.
        read: visual tokens of the prompt that each layer reads.
        attended: visual tokens that each layer attends to in a decoding step.
        reads_before: whether the whole prompt is read once more, before the selection.
    """
    whole = [text + visual] * len(read)
    before = whole if reads_before else []
    return Flops(
        prefill=prefill_flops([*before, *(text + count for count in read)], hidden=hidden, mlp=mlp),
        decode=decode_flops(
            generated, [text + count for count in attended], hidden=hidden, mlp=mlp
        ),
        uncompressed=prefill_flops(whole, hidden=hidden, mlp=mlp)
        + decode_flops(generated, whole, hidden=hidden, mlp=mlp),
    )


TIMED_S = 0.5
"""Seconds within which the last timed product begins."""


def product_rate(dtype: str, device: str) -> float | None:
    """Multiplications per second of a matrix product; None without the device on this machine.

    An addition isn't counted beside its multiplication, as in the formula of `flops.py`.

    Args:
        dtype: such as "bfloat16".
        device: "cpu", "cuda" or "mps".
    """
    processor = processor_name() if device == "cpu" else _accelerator(device)
    if processor is None:
        return None
    threads = usable_cpus(), os.environ.get("OMP_NUM_THREADS")
    about = json.dumps([processor, *threads, version("torch"), dtype])
    file = kept("estimates") / f"rate-{hashlib.sha256(about.encode()).hexdigest()[:24]}.json"
    with contextlib.suppress(OSError, ValueError, RecursionError):
        rate = json.loads(read_own(file))
        if isinstance(rate, float) and 0 < rate < math.inf:
            return rate
    rate = _timed(dtype, device)
    if rate is not None and not is_overloaded():  # else it would stay too low
        with contextlib.suppress(OSError, RuntimeError):  # the next estimate times it again
            write_whole(file, json.dumps(rate))
    return rate


def _accelerator(device: str) -> str | None:
    """Name of this machine's accelerator of a kind; None if there is none."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return f"{processor_name()} GPU" if torch.backends.mps.is_available() else None


@cache  # once per process, where it isn't kept
def _timed(dtype: str, device: str) -> float | None:
    """Time products of square matrices; None where the device is out of memory."""
    import torch

    side = 1024 if device == "cpu" else 4096  # which keep the device busy
    try:
        # Times don't depend on the values, and random ones would change what is sampled later.
        one = torch.full((side, side), 0.01, dtype=getattr(torch, dtype), device=device)
        part = one[:64, :64]
        float((part @ part)[0, 0])  # the first product also starts threads and loads libraries
        count, began = 0, time.perf_counter()
        while (taken := time.perf_counter() - began) < TIMED_S:
            float((one @ one)[0, 0])  # a GPU is waited for
            count += 1
    except RuntimeError:
        return None
    return count * side**3 / taken
