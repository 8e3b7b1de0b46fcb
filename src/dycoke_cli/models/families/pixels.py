"""The processor's output for one video: how it is cut into frames, and normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

Inputs = dict[str, "torch.Tensor"]


def is_pixels(value: torch.Tensor) -> bool:
    """Whether an input is what an encoder reads, normalised: not seconds per frame."""
    return value.is_floating_point() and value.dim() > 1


class Pixels(Protocol):
    """A processor's format of frames."""

    @property
    def key(self) -> str:
        """The input that holds the pixels."""

    def frames(self, inputs: Inputs) -> int:
        """How many frames (or pairs of frames, where the model merges pairs) there are."""

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """The inputs of frames `start` … `stop` alone."""

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """One number per channel, `[3]`, in the shape of the channels of `pixels`."""


@dataclass(frozen=True)
class Stacked:
    """Frames one behind the other along an axis of each input.

    Args:
        key: the input that holds the pixels.
        axis: of the frames.
        extra_inputs: other inputs with the same axis.
    """

    key: str = "pixel_values_videos"
    axis: int = 1
    extra_inputs: tuple[str, ...] = ()

    def frames(self, inputs: Inputs) -> int:
        """How many frames there are."""
        return inputs[self.key].shape[self.axis]

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """The inputs of frames `start` … `stop` alone."""
        return {
            name: inputs[name].narrow(self.axis, start, stop - start)
            for name in (self.key, *self.extra_inputs)
        }

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """One number per channel, for pixels [..., 3, height, width]."""
        return numbers[:, None, None]


@dataclass(frozen=True)
class Grid:
    """Patches `[T · h · w, C]`, frame by frame, and `video_grid_thw` [1, 3] = (T, h, w).

    Where the model merges pairs of frames, T counts the pairs, and each is cut as one frame.

    Args:
        key: the input that holds the pixels.
        whole: inputs that go with each part unchanged.
    """

    key: str = "pixel_values_videos"
    whole: tuple[str, ...] = ()

    def frames(self, inputs: Inputs) -> int:
        """How many frames, or pairs of frames, there are."""
        return int(inputs["video_grid_thw"][0, 0])

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """The inputs of frames `start` … `stop` alone."""
        import torch

        _, height, width = inputs["video_grid_thw"][0].tolist()
        patches = inputs[self.key][start * height * width : stop * height * width]
        grid = torch.tensor([[stop - start, height, width]])
        return {self.key: patches, "video_grid_thw": grid} | {n: inputs[n] for n in self.whole}

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """One number per channel, for patches [N, C] that hold one channel after the other."""
        return numbers.repeat_interleave(pixels.shape[-1] // len(numbers))


@dataclass(frozen=True)
class Patched(Stacked):
    """Frames of patches `[..., F, patches, C]`, channels last in each patch.

    Args:
        key: the input that holds the pixels.
        axis: of the frames.
        extra_inputs: other inputs with the same axis.
        counts: inputs `[1]` that say how many frames there are.
    """

    axis: int = -3
    counts: tuple[str, ...] = ()

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """The inputs of frames `start` … `stop` alone."""
        import torch

        counts = {name: torch.tensor([stop - start]) for name in self.counts if name in inputs}
        return super().part(inputs, start, stop) | counts

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """One number per channel, for patches that hold one pixel after the other."""
        return numbers.repeat(pixels.shape[-1] // len(numbers))


@dataclass(frozen=True)
class Pooled(Patched):
    """Molmo2: patches, and for each visual token the patches `[F · N, K]` it is pooled from.

    Those are counted over all frames; -1 is none.
    """

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """The inputs of frames `start` … `stop` alone."""
        import torch

        _, height, width = inputs["video_grids"][0].tolist()
        tokens, patches = height * width, inputs[self.key].shape[-2]
        pooling = inputs["video_token_pooling"][start * tokens : stop * tokens]
        return super().part(inputs, start, stop) | {
            "video_token_pooling": torch.where(pooling < 0, pooling, pooling - start * patches),
            "video_grids": torch.tensor([[stop - start, height, width]]),
        }


def shrunk(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """Pictures scaled down, by area, and up again to what they were.

    Args:
        pixels: `[..., 3, height, width]`, float, normalised.
        share: of both sides that is left in between, a pixel at least.
    """
    import torch.nn.functional as F

    size = pixels.shape[-2:]
    less = [max(1, round(side * share)) for side in size]
    small = F.interpolate(pixels.float().flatten(0, -4), less, mode="area")
    return F.interpolate(small, size, mode="bicubic").view(pixels.shape).to(pixels)


def normalised(pixels: torch.Tensor, video_processor: Any, layout: Pixels) -> torch.Tensor:
    """Pixels rescaled and normalised as the stock video processor does it.

    Until they are encoded they stay bytes, which take a quarter of the memory.

    Args:
        pixels: uint8, resized and cut by the processor; floats are returned as they are.
        video_processor: with its own mean, standard deviation and scale.
        layout: knows where channels stand.

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
    mean, std = (
        layout.by_channel(torch.tensor(numbers, device=pixels.device) * (1.0 / scale), pixels)
        for numbers in (video_processor.image_mean, video_processor.image_std)
    )
    return (values - mean) / std
