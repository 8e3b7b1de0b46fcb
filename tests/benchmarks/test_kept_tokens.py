"""The picture of kept tokens: what is kept looks as it did, what is dropped is nearly white."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.kept_tokens import kept_figure


def test_kept_tokens_are_seen_and_dropped_ones_faded() -> None:
    frames = np.full((2, 8, 8, 3), 40, np.uint8)
    figure = kept_figure(frames, 4, {"one": torch.tensor([0, 7]), "all": torch.arange(8)})
    one, every = (axes.images[0].get_array() for axes in figure.axes)
    # Each frame has a line of one pixel around it; they lie below each other.
    first, second = one[1:9, 1:9, 0], one[11:19, 1:9, 0]
    assert (first[:4, :4] == 40).all()
    assert (second[4:, 4:] == 40).all()
    assert (first[4:] > 200).all()
    assert (second[:4] > 200).all()
    assert (every[1:9, 1:9] == 40).all()
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["one\n25% kept", "all\n100% kept"]
