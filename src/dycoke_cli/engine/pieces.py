"""Reads a long prompt in pieces, so that what its layers make on their way stays small.

The middle of an MLP is several times as wide as the rows that a layer reads: of a video of 128
frames in a model of 7 B, 1.3 GB, where the keys and values of the whole prompt take 0.7. A piece
reads what came before from the cache. So all pieces but the last go through the text decoder in a
hook before its forward, and the last one is what that forward is called with.
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
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.engine.thread_hook import Arguments, before_forward
from dycoke_cli.models.private_api import attention_implementation

# Rows of a prompt that is read whole: it needs no mask, for which attention is fastest, and its
# MLPs take half a gigabyte in a model of 7 B.
LONGEST_WHOLE = 4096
# Rows of a piece: enough for matrix products to be as fast as they get.
PIECE = 1024


def rows_at_once(length: int) -> int:
    """How many rows of a prompt go through a layer together, where it can be read in pieces."""
    return length if length <= LONGEST_WHOLE else PIECE


class InPieces:
    """Reads prompts in pieces.

    Attributes:
        reading: whether a piece is being read; hooks before the decoder leave it as it is.
    """

    def __init__(self) -> None:
        self.reading = False

    def last(self, decoder: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Read a prompt up to its last piece; return the arguments for that one.

        Args:
            decoder: the text decoder.
            kwargs: with which it is about to read the whole prompt, `[B, S, D]`.
        """
        length = kwargs["inputs_embeds"].shape[1]
        *starts, last = range(0, length, PIECE)
        self.reading = True
        try:
            for start in starts:
                decoder(**_piece(kwargs, start, start + PIECE))
        finally:
            self.reading = False
        return _piece(kwargs, last, length)


def fit(decoder: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a prompt is long, and can be read in pieces: under a mask that is just causal.

    Args:
        decoder: the text decoder.
        kwargs: with which it is about to read the prompt.
    """
    embeds, mask = kwargs.get("inputs_embeds"), kwargs.get("attention_mask")
    return (
        embeds is not None
        and embeds.shape[1] > LONGEST_WHOLE
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
def in_pieces(model: Any) -> Iterator[None]:
    """Within the block, this thread's `generate()` without a method reads long prompts in pieces.

    Args:
        model: a stock model.
    """
    pieces = InPieces()

    def read(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments | None:
        cache = kwargs.get("past_key_values")
        if pieces.reading or args or type(cache) is not DynamicCache or cache.get_seq_length():
            return None
        return (args, pieces.last(module, kwargs)) if fit(module, kwargs) else None

    hook = before_forward(model.get_decoder(), read)
    try:
        yield
    finally:
        hook.remove()


def _piece(kwargs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The arguments with which the rows `start` … `stop` - 1 are read, behind those before."""
    call: Call | None = kwargs.get(CALL_ARGUMENT)
    return (
        kwargs
        | stretch(kwargs, start, stop)
        | deepstack_of_stretch(kwargs, start, stop)
        | ({} if call is None else {CALL_ARGUMENT: call.of_stretch(start, stop)})
    )
