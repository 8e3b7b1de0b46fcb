"""Chunk sizes: frames per pass of the vision tower, tokens per pass of a layer.

Importing this doesn't import torch. The names are looked up here when they are used.
"""

from __future__ import annotations

# A frame of a real checkpoint is 3 · 384 · 384 numbers: on a CPU one at a time is fastest, an
# accelerator wants several. Smaller frames go together up to the same size.
CHUNK_NUMBERS_CPU = 3 * 384 * 384
CHUNK_NUMBERS_ACCELERATOR = 8 * CHUNK_NUMBERS_CPU
# Tokens of a prompt that is prefilled whole: stock attention needs no mask for it, and is fastest
# then; its MLPs take half a gigabyte in a model of 7 B.
LONGEST_WHOLE = 4096
# Tokens of a chunk: enough for matrix products to be as fast as they get.
CHUNK = 1024


def chunk_numbers(on_cpu: bool) -> int:
    """How many numbers of pixels go through the vision tower together."""
    return CHUNK_NUMBERS_CPU if on_cpu else CHUNK_NUMBERS_ACCELERATOR


def chunk_length(length: int, own_attention: bool) -> int:
    """How many tokens of a prompt go through a layer together, where it can be chunked."""
    longest = CHUNK if own_attention else LONGEST_WHOLE
    return length if length <= longest else CHUNK
