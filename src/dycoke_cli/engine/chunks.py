"""Chunk sizes: frames per pass of the vision tower, tokens per pass of a layer.

Importing this doesn't import torch. The names are looked up here when they are used.
"""

from __future__ import annotations

from dycoke_cli.stock.sizes import Sizes, VisionSizes

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


def chunk_length(length: int, own_attention: bool, flash: bool = False) -> int:
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
