"""DeepStack: embeddings from inside the vision tower, added behind the first decoder layers.

Stock decoders add them by a mask of the whole sequence, which doesn't fit a shortened one. So an
attached method takes them out of the call and adds them itself, before the next layer.
"""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.models.families.layout import DEEPSTACK, VISUAL_MASK


class DeepStack:
    """DeepStack embeddings and their places in shortened sequences.

    Args:
        places: `[B, R]`, bool: the tokens that are added to.
        stacked: for each of the first layers `[V, D]`: what is added behind it.
    """

    def __init__(self, places: torch.Tensor, stacked: list[torch.Tensor]) -> None:
        self._places, self._stacked = places, stacked

    def of_chunk(self, start: int, stop: int) -> DeepStack:
        """What is added to the tokens `start` … `stop` - 1, prefilled alone."""
        places, stacked = _cut(self._places, self._stacked, start, stop)
        return DeepStack(places, stacked)

    def add(self, hidden: torch.Tensor, layer: int, tokens: torch.Tensor | None) -> torch.Tensor:
        """The input `[B, R, D]` of a layer, with what is added behind the layer before it.

        Args:
            hidden: what the layer before put out.
            layer: number of the layer, 1 or more.
            tokens: `[R']`, int64: which of the R tokens in-LLM token pruning has kept, if any.
        """
        if layer > len(self._stacked):
            return hidden
        places, values = self._places, self._stacked[layer - 1]
        # Behind in-LLM pruning hidden states are of R' tokens: dropped visual tokens have no place
        # there, and their values are left out.
        if tokens is not None:
            values = values[torch.isin(places[0].nonzero().flatten(), tokens.to(places.device))]
            places = places[:, tokens.to(places.device)]
        hidden = hidden.clone()
        hidden[places.to(hidden.device)] += values.to(hidden)
        return hidden


def without_deepstack(
    kwargs: dict[str, Any], at: torch.Tensor, visual: list[torch.Tensor]
) -> tuple[dict[str, Any], DeepStack | None]:
    """The arguments of the text decoder without DeepStack, and DeepStack for shortened sequences.

    Args:
        kwargs: of the text decoder, for S tokens.
        at: `[B, R]`, int64: which tokens are read.
        visual: for each sequence `[V]`, int64: which of the R are visual.
    """
    stacked, mask = kwargs.get(DEEPSTACK), kwargs.get(VISUAL_MASK)
    if stacked is None or mask is None:
        return kwargs, None
    # `stacked` has a row for each visual token of the S, not for each token: its number among them.
    number = _numbers(mask).to(at.device)
    places = torch.zeros(at.shape, dtype=torch.bool, device=at.device)
    for sequence, index in enumerate(visual):
        places[sequence, index.to(at.device)] = True
    which = number.gather(1, at)[places]
    deepstack = DeepStack(places, [values[which.to(values.device)] for values in stacked])
    return kwargs | {DEEPSTACK: None, VISUAL_MASK: None}, deepstack


def deepstack_of_chunk(kwargs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """DeepStack's arguments of the text decoder for the tokens `start` … `stop` - 1 alone.

    Returns:
        None for both where no token is visual; nothing where the call has none.
    """
    stacked, mask = kwargs.get(DEEPSTACK), kwargs.get(VISUAL_MASK)
    if stacked is None or mask is None:
        return {}
    places, values = _cut(mask, stacked, start, stop)
    if not places.any():
        return {VISUAL_MASK: None, DEEPSTACK: None}
    return {VISUAL_MASK: places, DEEPSTACK: values}


def _cut(
    places: torch.Tensor, stacked: list[torch.Tensor], start: int, stop: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Of places `[B, R]` those from `start` to `stop`, and what is added there."""
    cut = places[:, start:stop]
    which = _numbers(places)[:, start:stop][cut]
    return cut, [values[which.to(values.device)] for values in stacked]


def _numbers(places: torch.Tensor) -> torch.Tensor:
    """For each true place of `[B, R]` its number among them."""
    return (places.flatten().cumsum(0) - 1).view(places.shape)
