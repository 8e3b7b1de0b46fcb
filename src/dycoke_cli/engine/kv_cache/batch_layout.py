"""Positions of the visual tokens and the text of a batch, in layers that select for themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dycoke_cli.engine.kv_cache import visual_first


@dataclass(frozen=True)
class BatchLayout:
    """Where the visual tokens and the text of a batch are, and how many a step selects.

    A layer stores `[padding | visual | text and generated | spare]`, and a step attends to
    `[selected | text and generated]`; sequences with fewer tokens are masked behind the one, and in
    front of the other. Masks are None where there is nothing to mask.
    """

    length: int  # R, of the prompts with their padding
    text: int  # the first slot that has text in any sequence
    tokens: int  # visual tokens of all sequences
    most: int  # those that a step selects of the sequence with the most
    # for each sequence `[V]`, int64: where its visual tokens are, padding counted
    visual: Sequence[torch.Tensor]
    order: torch.Tensor  # `[B, R]`, int64: for each slot the token of the prompt that it gets
    first_slot: torch.Tensor  # `[B, 1, 1]`, int64: of the visual tokens of each
    first_token: torch.Tensor  # `[B, 1, 1]`, int64: the visual tokens of the sequences before each
    is_visual: torch.Tensor | None  # `[B, V]`, bool, with V of the sequence with the most
    is_text: torch.Tensor | None  # `[B, R - text]`, bool
    # `[B, most + R - text]`, bool: what a step attends to, but for generated tokens
    is_read: torch.Tensor | None
    # `[B, V]`, float: added to the attention logits of visual tokens; None for nothing
    bias: torch.Tensor | None

    @classmethod
    def of(
        cls,
        paddings: Sequence[int],
        visual: Sequence[torch.Tensor],
        counts: Sequence[int],
        length: int,
        bias: torch.Tensor | None = None,
    ) -> BatchLayout:
        """Of the tokens of padding in front of each sequence, and the rest of the arguments.

        `bias` is of all tokens of the prompts, `[B, R]`.
        """
        visual = [places.cpu() for places in visual]
        sizes, most = torch.tensor([len(places) for places in visual]), max(counts)
        first, each = torch.tensor(paddings), torch.tensor(counts)
        behind = first + sizes
        # A step copies `[most selected | from slot `text` on]`. In sequences with more visual
        # tokens, or more padding, the first of those slots still hold visual tokens: `is_text`
        # masks them (selected ones are in the first part already).
        text = int(behind.min())
        is_text = torch.arange(text, length) >= behind[:, None]
        is_active = torch.arange(most) < each[:, None]
        pairs = zip(paddings, visual, strict=True)
        return cls(
            length=length,
            text=text,
            tokens=int(sizes.sum()),
            most=most,
            visual=visual,
            order=torch.stack([visual_first(p, places, length) for p, places in pairs]),
            # [B, 1, 1] adds to a selection [B, H or 1, n].
            first_slot=first[:, None, None],
            # In main memory the visual tokens of all sequences stand one behind the other.
            first_token=(sizes.cumsum(0) - sizes)[:, None, None],
            is_visual=_unless_all(torch.arange(int(sizes.max())) < sizes[:, None]),
            is_text=_unless_all(is_text),
            is_read=_unless_all(torch.cat([is_active, is_text], 1)),
            bias=None if bias is None else _of_visual(bias, visual),
        )

    def to(self, device: torch.device) -> BatchLayout:
        """The same with its tensors on a device."""
        moved: dict[str, Any] = {
            name: part.to(device) for name, part in vars(self).items() if torch.is_tensor(part)
        }
        return replace(self, **moved)


def _of_visual(bias: torch.Tensor, visual: Sequence[torch.Tensor]) -> torch.Tensor:
    """What the visual tokens of each sequence have of `[B, R]`, with zeros behind shorter ones."""
    each = [one[places.to(one.device)] for one, places in zip(bias, visual, strict=True)]
    return torch.nn.utils.rnn.pad_sequence(each, batch_first=True)


def _unless_all(mask: torch.Tensor) -> torch.Tensor | None:
    # Without a mask, attention functions have a faster way. Tested once, on the CPU.
    return None if bool(mask.all()) else mask
