"""Pixel formats of stock processors: how a video's pixels are cut into frames and normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

Inputs = dict[str, "torch.Tensor"]


def is_pixels(value: torch.Tensor) -> bool:
    """Whether an input is normalised encoder input, and not e.g. seconds per frame (1-D)."""
    return value.is_floating_point() and value.dim() > 1


class Pixels(Protocol):
    """Format of the frames in a processor's output."""

    @property
    def key(self) -> str:
        """Name of the input that holds the pixels."""

    def frames(self, inputs: Inputs) -> int:
        """Number of frames (or of pairs of frames, where the model merges pairs)."""

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """Inputs of frames `start` … `stop` only."""

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Per-channel numbers `[3]`, in a shape that broadcasts against `pixels`."""


@dataclass(frozen=True)
class Stacked:
    """Whole frames, stacked along one axis of each input."""

    key: str = "pixel_values_videos"  # name of the input that holds the pixels
    axis: int = 1  # of the frames
    extra_inputs: tuple[str, ...] = ()  # other inputs with the same axis

    def frames(self, inputs: Inputs) -> int:
        """Number of frames."""
        return inputs[self.key].shape[self.axis]

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """See `Pixels.part`."""
        return {
            name: inputs[name].narrow(self.axis, start, stop - start)
            for name in (self.key, *self.extra_inputs)
        }

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """See `Pixels.by_channel`; for pixels [..., 3, height, width]."""
        return numbers[:, None, None]


@dataclass(frozen=True)
class Grid:
    """Patches `[T · h · w, C]`, frame by frame, and `video_grid_thw` [1, 3] = (T, h, w).

    Where the model merges pairs of frames, T counts pairs, and a pair is cut as one frame.
    """

    key: str = "pixel_values_videos"  # name of the input that holds the pixels
    whole: tuple[str, ...] = ()  # inputs that every part gets unchanged

    def frames(self, inputs: Inputs) -> int:
        """Number of frames, or of pairs of frames."""
        return int(inputs["video_grid_thw"][0, 0])

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """See `Pixels.part`."""
        import torch

        _, height, width = inputs["video_grid_thw"][0].tolist()
        patches = inputs[self.key][start * height * width : stop * height * width]
        grid = torch.tensor([[stop - start, height, width]])
        return {self.key: patches, "video_grid_thw": grid} | {n: inputs[n] for n in self.whole}

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """See `Pixels.by_channel`; for patches [N, C] whose channels are contiguous."""
        return numbers.repeat_interleave(pixels.shape[-1] // len(numbers))


@dataclass(frozen=True)
class Patched(Stacked):
    """Frames of patches `[..., F, patches, C]`, channels last in each patch."""

    axis: int = -3  # of the frames
    counts: tuple[str, ...] = ()  # inputs `[1]` that hold the number of frames

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """See `Pixels.part`."""
        import torch

        counts = {name: torch.tensor([stop - start]) for name in self.counts if name in inputs}
        return super().part(inputs, start, stop) | counts

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """See `Pixels.by_channel`; for patches whose pixels are contiguous (channels last)."""
        return numbers.repeat(pixels.shape[-1] // len(numbers))


@dataclass(frozen=True)
class Pooled(Patched):
    """Molmo2: patches, and for each visual token the patches `[F · N, K]` it is pooled from.

    Patches are numbered over all frames; -1 is padding.
    """

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """See `Pixels.part`."""
        import torch

        _, height, width = inputs["video_grids"][0].tolist()
        tokens, patches = height * width, inputs[self.key].shape[-2]
        # Without the frames before `start`, patch numbers begin again at 0; -1 must stay -1.
        pooling = inputs["video_token_pooling"][start * tokens : stop * tokens]
        return super().part(inputs, start, stop) | {
            "video_token_pooling": torch.where(pooling < 0, pooling, pooling - start * patches),
            "video_grids": torch.tensor([[stop - start, height, width]]),
        }


def shrunk(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """Downscale images by area averaging, then upscale them to their original size (bicubic).

    The size stays, so the encoder's token count does, too; only detail is lost.

    Args:
        pixels: `[..., 3, height, width]`, float, normalised.
        share: scale of both sides, with a minimum of one pixel.
    """
    import torch.nn.functional as F

    size = pixels.shape[-2:]
    less = [max(1, round(side * share)) for side in size]
    small = F.interpolate(pixels.float().flatten(0, -4), less, mode="area")
    return F.interpolate(small, size, mode="bicubic").view(pixels.shape).to(pixels)


def normalised(pixels: torch.Tensor, video_processor: Any, layout: Pixels) -> torch.Tensor:
    """Rescale and normalise pixels as the stock video processor does.

    Pixels stay uint8 until they are encoded: a quarter of the memory of float32.

    Args:
        pixels: uint8, resized and cropped by the processor; floats are returned unchanged.
        video_processor: has the mean, standard deviation and scale.
        layout: pixel format, which has the axis of the channels.

    Returns:
        float32, of the same shape.
    """
    import torch

    if pixels.is_floating_point():
        return pixels
    scale = video_processor.rescale_factor if video_processor.do_rescale else 1.0
    values = pixels.float()
    if not video_processor.do_normalize:
        return values * scale
    # The stock processor folds the scale into mean and std. Scaling first would round differently.
    mean, std = (
        layout.by_channel(torch.tensor(numbers, device=pixels.device) * (1.0 / scale), pixels)
        for numbers in (video_processor.image_mean, video_processor.image_std)
    )
    return (values - mean) / std
