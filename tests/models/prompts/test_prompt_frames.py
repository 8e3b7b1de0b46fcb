"""What a stock processor is told of the frames of a prompt."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, pad

from dycoke_cli.errors import ModelError
from dycoke_cli.models.load import load
from dycoke_cli.models.prompts.stock_processor import processor_memory_limited
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from tests.natural import Pictures


class Noting:
    """A processor that notes what it is told of a video."""

    def __init__(self, processor):
        self._processor = processor

    def __getattr__(self, name):
        return getattr(self._processor, name)

    def __call__(self, **given):
        [self.told] = given["videos_kwargs"]["video_metadata"]
        return self._processor(**given)


def test_a_processor_is_told_times_to_the_nearest_millisecond():
    loaded = load("mini", device="cpu")
    processor = Noting(loaded.processor)
    clip = replace(
        Pictures.of(np.zeros((3, 8, 8, 3), np.uint8)), timestamps_s=(0.0, 0.0667, 0.1333)
    )
    make_prompt(processor, loaded.family, loaded.model.config, clip)
    indices, fps = processor.told["frames_indices"], processor.told["fps"]
    assert [index / fps for index in indices] == [0.0, 0.067, 0.133]
    assert all(type(index) is int for index in indices)


@pytest.mark.parametrize(
    "make",
    [
        lambda frames, side: interpolate(frames, size=(side, side)),
        lambda frames, side: interpolate(input=frames, size=(side, side), mode="bicubic"),
        lambda frames, side: pad(frames, [0, side - 8, 0, side - 8]),
    ],
)
def test_frames_that_a_processor_makes_too_large_are_refused(make):
    """Before they are allocated."""
    frames = torch.zeros(1, 3, 8, 8)
    with processor_memory_limited(frames.nbytes):
        assert make(frames, 100).shape == (1, 3, 100, 100)
        made = make(frames.to("meta"), 10_000)  # has no data
    assert made.nbytes == 1_200_000_000
    refused = pytest.raises(ModelError, match="more of the frames than this machine should give")
    with refused, processor_memory_limited(frames.nbytes):
        make(frames, 10_000)
