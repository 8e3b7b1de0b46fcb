"""The work of an answer: FLOPs, how many this machine does, and the chunks that it is done in.

"Paper FLOPs" are the formula by which the field compares methods. Source: DyCoke (arXiv
2411.15024), section 3.4, after FastV (arXiv 2403.06764). It ignores grouped KV heads and the third
matrix of gated MLPs.

Chunks are frames per pass of the vision tower, and tokens per pass of a layer. Importing this
doesn't import torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import version
from itertools import pairwise
from statistics import median
from typing import Literal

from dycoke_cli.answer.answer import Flops
from dycoke_cli.compression.method import Method, attended_by_layer, read_by_layer
from dycoke_cli.engine.memory.sizes import Sizes, VisionSizes
from dycoke_cli.kernels.processor import processor_name
from dycoke_cli.models.catalog import ClipTokens
from dycoke_cli.resources import usable_cpus
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


TIMED_S = 0.25
"""Seconds within which the last timed product of a stage begins."""
BUSY = "the machine is busy now, and an answer may take longer or less than estimated"
"""Warning where `is_overloaded`."""
Stage = Literal["prefill", "decode"]


def product_rate(dtype: str, device: str, stage: Stage) -> float | None:
    """Multiplications per second of a matrix product; None without the device on this machine.

    An addition isn't counted beside its multiplication, as in the formula of `flops.py`.

    Args:
        dtype: such as "bfloat16"; "int8" for the layers that a CPU has for it.
        device: "cpu", "cuda" or "mps".
        stage: "prefill" for many rows; "decode" for one, whose rate is that of reading weights.
    """
    processor = processor_name() if device == "cpu" else _accelerator(device)
    if processor is None:
        return None
    threads = usable_cpus(), os.environ.get("OMP_NUM_THREADS")
    about = json.dumps([processor, *threads, version("torch"), dtype, stage])
    file = kept("estimates") / f"rate-{hashlib.sha256(about.encode()).hexdigest()[:24]}.json"
    with contextlib.suppress(OSError, ValueError, RecursionError):
        rate = json.loads(read_own(file))
        if isinstance(rate, float) and 0 < rate < math.inf:
            return rate
    rate = _timed(dtype, device, stage)
    if rate is not None and not is_overloaded():  # else it would stay too low
        with contextlib.suppress(OSError, RuntimeError):  # the next estimate times it again
            write_whole(file, json.dumps(rate))
    return rate


def is_overloaded() -> bool:
    """Whether the load average of the last minute exceeds the number of CPUs, where it is known."""
    try:
        import psutil

        return psutil.getloadavg()[0] > (psutil.cpu_count() or 1)
    except (ImportError, OSError):
        return False


def _accelerator(device: str) -> str | None:
    """Name of this machine's accelerator of a kind; None if there is none."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return f"{processor_name()} GPU" if torch.backends.mps.is_available() else None


@cache  # once per process, where it isn't kept
def _timed(dtype: str, device: str, stage: Stage) -> float | None:
    """Time products of a matrix; None where the device is out of memory."""
    import torch
    from torch import nn
    from torch.nn.functional import linear

    from dycoke_cli.kernels.linear import Bfloat16Linear, can_pack, int8_kernels

    side = 1024 if device == "cpu" else 4096  # which keep the device busy
    try:
        # Times don't depend on the values, and random ones would change what is sampled later.
        # One row reads weights that no cache holds.
        rows, width = (side, side) if stage == "prefill" else (1, 65_536)
        of_states = torch.float32 if dtype == "int8" else getattr(torch, dtype)
        weights = torch.full((width, side), 0.01, dtype=of_states, device=device)
        part, states = weights[:64, :64], weights[:rows]
        # As layers multiply, with packed weights where a CPU's are.
        product: Callable[[torch.Tensor], torch.Tensor] = partial(linear, weight=weights)
        if dtype == "int8" or (dtype == "bfloat16" and device == "cpu" and can_pack()):
            layer = nn.utils.skip_init(nn.Linear, side, width, bias=False)
            layer.weight = nn.Parameter(weights, requires_grad=False)
            kernels = [*int8_kernels().values()] if dtype == "int8" else [Bfloat16Linear]
            product = kernels[0 if stage == "prefill" else -1](layer)
        float(linear(part, part)[0, 0])  # the first product also starts threads and loads libraries
        moments = [time.perf_counter()]
        while moments[-1] - moments[0] < TIMED_S:
            float(product(states)[0, 0])  # a GPU is waited for
            moments.append(time.perf_counter())
    except RuntimeError:
        return None
    # Not the fastest: a model computes for minutes, which no processor does at its highest clock.
    return rows * width * side / median(end - begin for begin, end in pairwise(moments))


# A frame of a real checkpoint is 3 · 384 · 384 numbers: on a CPU one at a time is fastest. Smaller
# frames go together up to the same size.
CHUNK_NUMBERS_CPU = 3 * 384 * 384
# Frames that an accelerator encodes together, with FlashAttention and without: of a tower of 400 M,
# 8 take about as long to compute as their launches do, and 32 take half a gigabyte.
FRAMES_FLASH, FRAMES_GPU = 32, 8
# Tokens of a prompt that is prefilled whole anywhere: stock attention needs no mask for it, and is
# fastest then; its MLPs take half a gigabyte in a model of 7 B. Of a longer one the tokens of a
# chunk with FlashAttention.
LONGEST_WHOLE = 4096
# Tokens of a chunk elsewhere, where attention's scores may be in memory: enough for matrix products
# to be as fast as they get on a CPU.
CHUNK = 1024
# Of one token, at the widest point of an MLP: gate, up, and their product.
MLP_STATES = 3
# Around it: the residual, its norm, and what the layer was given.
HIDDEN_STATES = 3
# Of one patch, in attention: residual, norm, query, key, value, output, and the layer that is
# handed on; and in the MLP the first three of them, beside the two sides of its middle.
VISION_ATTENTION_STATES, VISION_HIDDEN_STATES, VISION_MLP_STATES = 7, 3, 2
# Of one number of a patch: it is normalised in float32, whatever the model's dtype.
PIXEL_BYTES = 4


def chunk_numbers(on_cpu: bool, flash: bool = False) -> int:
    """How many numbers of pixels go through the vision tower together.

    Args:
        flash: whether the device has FlashAttention.
    """
    return CHUNK_NUMBERS_CPU * (1 if on_cpu else FRAMES_FLASH if flash else FRAMES_GPU)


def chunk_length(length: int, own_attention: bool, flash: bool) -> int:
    """How many tokens of a prompt go through a layer together, where it can be chunked.

    Args:
        flash: whether attention has no matrix of scores, and no mask.
    """
    if length <= (CHUNK if own_attention else LONGEST_WHOLE):
        return length
    return LONGEST_WHOLE if flash else CHUNK


def token_bytes(sizes: Sizes, dtype_bytes: int) -> int:
    """Bytes of one token in a layer of the language model, at the peak."""
    return (MLP_STATES * sizes.mlp + HIDDEN_STATES * sizes.hidden) * dtype_bytes


def patch_bytes(vision: VisionSizes, dtype_bytes: int) -> int:
    """Bytes of one patch in a layer of the vision tower, at the peak."""
    attention = VISION_ATTENTION_STATES * vision.hidden
    mlp = VISION_HIDDEN_STATES * vision.hidden + VISION_MLP_STATES * vision.mlp
    # Attention and MLP of a layer run one after the other, so the larger one is the peak.
    return vision.patch * PIXEL_BYTES + max(attention, mlp) * dtype_bytes
