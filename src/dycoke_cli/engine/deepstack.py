"""DeepStack: rows from inside the vision tower, added behind each of the first decoder layers.

Stock decoders add them by a mask of the whole sequence, which doesn't fit a shortened one. So an
attached method takes them out of the call and adds them itself, before the next layer.
"""

from __future__ import annotations

from typing import Any

import torch

from dycoke_cli.engine.encode import DEEPSTACK, VISUAL_ROWS


class DeepStack:
    """What is added where, for shortened sequences.

    Args:
        places: `[B, R]`, bool: the rows that are added to.
        stacked: for each of the first layers `[V, D]`: what is added behind it.
    """

    def __init__(self, places: torch.Tensor, stacked: list[torch.Tensor]) -> None:
        self._places, self._stacked = places, stacked

    def of_stretch(self, start: int, stop: int) -> DeepStack:
        """What is added to the rows `start` … `stop` - 1, read alone."""
        places, stacked = _cut(self._places, self._stacked, start, stop)
        return DeepStack(places, stacked)

    def add(self, hidden: torch.Tensor, layer: int, rows: torch.Tensor | None) -> torch.Tensor:
        """The input `[B, R, D]` of a layer, with what is added behind the layer before it.

        Args:
            hidden: what the layer before put out.
            layer: number of the layer, 1 or more.
            rows: `[R']`, int64: which of the R rows a choice inside the model has left, if any.
        """
        if layer > len(self._stacked):
            return hidden
        places, values = self._places, self._stacked[layer - 1]
        if rows is not None:
            values = values[torch.isin(places[0].nonzero().flatten(), rows.to(places.device))]
            places = places[:, rows.to(places.device)]
        hidden = hidden.clone()
        hidden[places.to(hidden.device)] += values.to(hidden)
        return hidden


def taken_out(
    kwargs: dict[str, Any], at: torch.Tensor, visual: list[torch.Tensor]
) -> tuple[dict[str, Any], DeepStack | None]:
    """The arguments of the text decoder without DeepStack, and DeepStack for shortened sequences.

    Args:
        kwargs: of the text decoder, for S rows.
        at: `[B, R]`, int64: which rows are read.
        visual: for each sequence `[V]`, int64: which of the R are visual.
    """
    stacked, mask = kwargs.get(DEEPSTACK), kwargs.get(VISUAL_ROWS)
    if stacked is None or mask is None:
        return kwargs, None
    number = _numbers(mask).to(at.device)
    places = torch.zeros(at.shape, dtype=torch.bool, device=at.device)
    for row, index in enumerate(visual):
        places[row, index.to(at.device)] = True
    which = number.gather(1, at)[places]
    deepstack = DeepStack(places, [values[which.to(values.device)] for values in stacked])
    return kwargs | {DEEPSTACK: None, VISUAL_ROWS: None}, deepstack


def deepstack_of_stretch(kwargs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """DeepStack's arguments of the text decoder for the rows `start` … `stop` - 1, read alone.

    Args:
        kwargs: of the text decoder, for the whole prompt.
        start: the first row.
        stop: behind the last row.

    Returns:
        None for both where no row is visual; nothing where the call has none.
    """
    stacked, mask = kwargs.get(DEEPSTACK), kwargs.get(VISUAL_ROWS)
    if stacked is None or mask is None:
        return {}
    places, values = _cut(mask, stacked, start, stop)
    if not places.any():
        return {VISUAL_ROWS: None, DEEPSTACK: None}
    return {VISUAL_ROWS: places, DEEPSTACK: values}


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
