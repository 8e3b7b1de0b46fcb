"""One shortened sequence of a batch: where its visual tokens stand, and the choices of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dycoke_cli.compression.base import Selector
from dycoke_cli.engine.stats import DecodeStats
from dycoke_cli.engine.trace import Recorder


@dataclass
class Row:
    """A row of a batch.

    Args:
        padding: how many rows of padding stand in front, for all rows of a batch are equally long.
        visual: `[V]`, int64: where the visual tokens that the language model reads stand, padding
            counted; empty in a sequence without a video.
        stats: counts the choices.
        selector: the choice of each decoding step, or None.
        recorder: takes down each step, or None.
    """

    padding: int
    visual: torch.Tensor
    stats: DecodeStats
    selector: Selector | None = None
    recorder: Recorder | None = None

    def choose(self, attention: torch.Tensor) -> torch.Tensor:
        """The visual tokens `[A]`, int64, that this decoding step attends to.

        Args:
            attention: `[V]`, float32: of the step's query to each visual token.
        """
        assert self.selector is not None
        active = self.selector.step(attention)
        self.stats.step(active, self.selector.renewals)
        if self.recorder is not None:
            self.recorder.step(attention, active, self.selector.renewals)
        return active
