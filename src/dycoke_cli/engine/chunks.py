"""Chunk sizes: frames per pass of the vision tower, tokens per pass of a layer.

On a CPU they are as large as is fast. On a GPU each pass costs launches, so they are as large as
the free memory allows.

Importing this doesn't import torch. The names are looked up here when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dycoke_cli.models.devices import free_on_gpu
from dycoke_cli.stock.sizes import Sizes, VisionSizes

if TYPE_CHECKING:
    import torch

# A frame of a real checkpoint is 3 · 384 · 384 numbers: on a CPU one at a time is fastest. Smaller
# frames go together up to the same size.
CHUNK_NUMBERS_CPU = 3 * 384 * 384
# Frames that a GPU encodes together: of a tower of 400 M, 8 take about as long to compute as their
# launches do, and 32 take half a gigabyte.
FRAMES_GPU = (32, 8)
# Tokens of a prompt that is prefilled whole anywhere: stock attention needs no mask for it, and is
# fastest then; its MLPs take half a gigabyte in a model of 7 B.
LONGEST_WHOLE = 4096
# Tokens of a chunk: enough for matrix products to be as fast as they get on a CPU, and on a GPU
# that has room for more.
CHUNK, LARGE_CHUNK = 1024, 8192
# The share of a GPU's free memory that a pass may take. The rest is for what isn't counted.
SHARE = 0.8
# Of one token, at the widest point of an MLP: gate, up, and their product.
MLP_STATES = 3
# Around it: the residual, its norm, and what the layer was given.
HIDDEN_STATES = 3
# Of one patch, in attention: residual, norm, query, key, value, output, and the layer that is
# handed on; and in the MLP the first three of them, beside the two sides of its middle.
VISION_ATTENTION_STATES, VISION_HIDDEN_STATES, VISION_MLP_STATES = 7, 3, 2
# Of one number of a patch: it is normalised in float32, whatever the model's dtype.
PIXEL_BYTES = 4
# Of one query and key: a mask, as the boolean that transformers makes, and in 16 bits for SDPA.
MASK_BYTES = 3


def free_for_passes(device: torch.device, dtype: torch.dtype) -> int:
    """Free bytes that large passes may count on: of a GPU that has FlashAttention; 0 of any other.

    Elsewhere attention's scores, which grow with the square of a pass, may be in memory.
    """
    from dycoke_cli.kernels.attention import has_flash_attention

    return free_on_gpu(device) if has_flash_attention(device, dtype) else 0


def chunk_numbers(on_cpu: bool, room: float = 0) -> int:
    """How many numbers of pixels go through the vision tower together.

    Args:
        room: how many fit on a GPU (`pixel_room`); 0 on other accelerators.
    """
    if on_cpu:
        return CHUNK_NUMBERS_CPU
    many, few = (frames * CHUNK_NUMBERS_CPU for frames in FRAMES_GPU)
    return many if many <= room else few


def chunk_length(length: int, own_attention: bool, room: float = 0) -> int:
    """How many tokens of a prompt go through a layer together, where it can be chunked.

    Args:
        room: how many fit on a GPU (`token_room`); 0 on other devices, and with attention that has
            a matrix of scores.
    """
    longest = CHUNK if own_attention else LONGEST_WHOLE
    if length <= max(longest, room):
        return length
    return LARGE_CHUNK if room >= LARGE_CHUNK else CHUNK


def token_bytes(sizes: Sizes, dtype_bytes: int) -> int:
    """Bytes of one token in a layer of the language model, at the peak."""
    return (MLP_STATES * sizes.mlp + HIDDEN_STATES * sizes.hidden) * dtype_bytes


def patch_bytes(vision: VisionSizes, dtype_bytes: int) -> int:
    """Bytes of one patch in a layer of the vision tower, at the peak."""
    attention = VISION_ATTENTION_STATES * vision.hidden
    mlp = VISION_HIDDEN_STATES * vision.hidden + VISION_MLP_STATES * vision.mlp
    # Attention and MLP of a layer run one after the other, so the larger one is the peak.
    return vision.patch * PIXEL_BYTES + max(attention, mlp) * dtype_bytes


def pixel_room(vision: VisionSizes, dtype_bytes: int, free: int) -> float:
    """How many numbers of pixels fit through the vision tower together in so many free bytes."""
    return SHARE * free / patch_bytes(vision, dtype_bytes) * vision.patch


def token_room(
    sizes: Sizes, dtype_bytes: int, free: int, length: int, batch: int = 1, masked: bool = False
) -> float:
    """How many tokens of each prompt fit through a layer together in so many free bytes.

    Args:
        length: tokens of each prompt; the keys and values of all of them have to fit, too.
        batch: prompts.
        masked: whether attention gets a mask, of each token and all keys.
    """
    each = token_bytes(sizes, dtype_bytes) + (MASK_BYTES * length if masked else 0)
    left = SHARE * free / batch - sizes.kv * dtype_bytes * length
    if left < each * length:
        # Behind others each head of a layer gets its own copy of shared keys and values.
        left -= 2 * sizes.heads * sizes.head_width * dtype_bytes * length
    return left / each
