"""Reads a long prompt in pieces, so that what its layers make on their way stays small.

The middle of an MLP is several times as wide as the rows that a layer reads: of a video of 128
frames in a model of 7 B, 1.3 GB, where the keys and values of the whole prompt take 0.7. A piece
reads what came before from the cache. So all pieces but the last go through the text decoder in a
hook before its forward, and the last one is what that forward is called with. The same way, what
all questions about a video begin with is read once (`prefix.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import DynamicCache

from dycoke_cli.engine.call import CALL_ARGUMENT, Call
from dycoke_cli.engine.decoder_arguments import stretch
from dycoke_cli.engine.deepstack import deepstack_of_stretch
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.prefix import VideoPrefix, key_of
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.engine.thread_hook import Arguments, before_forward
from dycoke_cli.kernels.registry import NAME as OURS
from dycoke_cli.models.private_api import attention_implementation

# Rows of a prompt that is read whole: stock attention needs no mask for it, and is fastest then;
# its MLPs take half a gigabyte in a model of 7 B.
LONGEST_WHOLE = 4096
# Rows of a piece: enough for matrix products to be as fast as they get.
PIECE = 1024


def rows_at_once(length: int, decoder: Any) -> int:
    """How many rows of a prompt go through a layer together, where it can be read in pieces.

    Args:
        length: of the prompt.
        decoder: the text decoder. Our own attention needs no mask behind a cache either, and what
            is small stays in the cache of the processor.
    """
    # By itself, or beneath the name of a twin of it.
    ours = attention_implementation(decoder).endswith(OURS)
    longest = PIECE if ours else LONGEST_WHOLE
    return length if length <= longest else PIECE


class InPieces:
    """Reads prompts in pieces.

    Attributes:
        reading: whether a piece is being read; hooks before the decoder leave it as it is.
        prefix: of the video that the prompts are about: what was read of it isn't read again; None
            to read each prompt as a whole.
    """

    def __init__(self, prefix: VideoPrefix | None = None) -> None:
        self.reading = False
        self.prefix = prefix

    def last(self, decoder: Any, kwargs: dict[str, Any], visual: int) -> dict[str, Any]:
        """Read a prompt up to its last piece; return the arguments for that one.

        Args:
            decoder: the text decoder.
            kwargs: with which it is about to read the whole prompt, `[B, R, D]`.
            visual: rows up to the last visual one.
        """
        length = kwargs["inputs_embeds"].shape[1]
        alone = len(kwargs["inputs_embeds"]) == 1
        prefix = self.prefix if alone and visual > 0 else None
        long = rows_at_once(length, decoder) < length
        if not can_be_cut(decoder, kwargs) or not (prefix or long):
            return kwargs
        cache = kwargs["past_key_values"]
        if isinstance(cache, KVStore):
            cache.expect_chunks()
        begin = 0
        if prefix is not None:
            begin, key = visual, key_of(kwargs, visual)
            if not prefix.restore(key, cache):
                self._read(decoder, kwargs, _cut(0, visual, decoder))
                prefix.keep(key, cache)
        *pieces, last = _cut(begin, length, decoder)
        self._read(decoder, kwargs, pieces)
        return _piece(kwargs, *last)

    def _read(self, decoder: Any, kwargs: dict[str, Any], pieces: list[tuple[int, int]]) -> None:
        self.reading = True
        try:
            for piece in pieces:
                decoder(**_piece(kwargs, *piece))
        finally:
            self.reading = False


def can_be_cut(decoder: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a prompt can be read in pieces: under a mask that is just causal.

    Args:
        decoder: the text decoder.
        kwargs: with which it is about to read the prompt.
    """
    mask = kwargs.get("attention_mask")
    return (
        kwargs.get("inputs_embeds") is not None
        and (mask is None or (torch.is_tensor(mask) and mask.dim() == 2))
        and kwargs.get("use_cache") is not False
        # What is asked of all rows would come of the last piece alone.
        and not any(
            kwargs.get(name) or getattr(decoder.config, name, False)
            for name in ("output_hidden_states", "output_attentions")
        )
        # Each piece would need a mask compiled anew.
        and "flex" not in attention_implementation(decoder)
        and not other_caches(decoder.config)
    )


@contextmanager
def in_pieces(
    model: Any, prefix: VideoPrefix | None = None, placeholders: torch.Tensor | None = None
) -> Iterator[None]:
    """Within the block, this thread's `generate()` without a method reads prompts in pieces.

    Args:
        model: a stock model.
        prefix: of the video that the prompts are about, or None.
        placeholders: `[B, S]`, bool: where it stands; None where that isn't known.
    """
    pieces = InPieces(prefix)
    visual = 0 if placeholders is None else last_of(placeholders[0].nonzero().flatten())

    def read(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        cache = kwargs.get("past_key_values")
        if pieces.reading or args or type(cache) is not DynamicCache or cache.get_seq_length():
            return None
        return args, pieces.last(module, kwargs, visual)

    hook = before_forward(model.get_decoder(), read)
    try:
        yield
    finally:
        hook.remove()


def last_of(rows: torch.Tensor) -> int:
    """How many rows there are up to the last of these, `[V]`, ascending; 0 for none."""
    return int(rows[-1]) + 1 if len(rows) else 0


def _cut(begin: int, end: int, decoder: Any) -> list[tuple[int, int]]:
    """First and last row of each piece."""
    size = rows_at_once(end - begin, decoder)
    return [(start, min(start + size, end)) for start in range(begin, end, size)]


def _piece(kwargs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The arguments with which the rows `start` … `stop` - 1 are read, behind those before."""
    call: Call | None = kwargs.get(CALL_ARGUMENT)
    return (
        kwargs
        | stretch(kwargs, start, stop)
        | deepstack_of_stretch(kwargs, start, stop)
        | ({} if call is None else {CALL_ARGUMENT: call.of_stretch(start, stop)})
    )
