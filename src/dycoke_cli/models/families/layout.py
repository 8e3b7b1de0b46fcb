"""What differs among families: pixels, towers, arguments per token, layouts of visual tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Layout:
    """Visual tokens of one video in one sequence, frame by frame in row-major order.

    Newline, separator and time stamp tokens count as text.
    """

    index: torch.Tensor  # `[V]`, int64, ascending: position of each visual token in the sequence
    frame: torch.Tensor  # `[V]`, int64: its frame
    position: torch.Tensor  # `[V]`, int64: its position in the frame's flattened grid

    @property
    def frames(self) -> int:
        """The number of frames."""
        return int(self.frame[-1]) + 1

    @property
    def tokens_per_frame(self) -> int:
        """The number of visual tokens per frame."""
        return len(self.index) // self.frames

    @classmethod
    def join(cls, layouts: Sequence[Layout]) -> Layout | None:
        """Join the layouts of all videos of a sequence; None without any.

        Frames of different videos may differ in size, so the result has no `tokens_per_frame`.
        """
        import torch

        if len(layouts) < 2:
            return layouts[0] if layouts else None
        starts = accumulate((layout.frames for layout in layouts[:-1]), initial=0)
        return cls(
            torch.cat([layout.index for layout in layouts]),
            torch.cat([x.frame + start for x, start in zip(layouts, starts, strict=True)]),
            torch.cat([layout.position for layout in layouts]),
        )

    def grid(self, rows: torch.Tensor) -> torch.Tensor:
        """Visual tokens of `rows[S, D]` as `[F, N, D]`."""
        visual = rows[self.index.to(rows.device)]
        return visual.view(self.frames, self.tokens_per_frame, -1)


# Layouts by `index`, `[V]`, int64, ascending: the positions of all placeholders. A UsageError says
# that frames are of unequal size, or that there is more than one video.


def frame_per_run(index: torch.Tensor) -> Layout:
    """Layout with one frame per run of placeholders: time stamps or separators divide frames."""
    # Prepending a value 2 below the first index makes the first placeholder start a run as well.
    return _equal(index, (index.diff(prepend=index[:1] - 2) > 1).nonzero().flatten())


def frames_of_size(index: torch.Tensor, tokens_per_frame: int) -> Layout:
    """Layout of frames of a known size in one run; a remainder is text."""
    import torch

    _check_one_run(index)
    frames = len(index) // tokens_per_frame
    index = index[: frames * tokens_per_frame]
    return _equal(index, torch.arange(frames, device=index.device) * tokens_per_frame)


def frames_by_grid(index: torch.Tensor, places: torch.Tensor) -> Layout:
    """Layout of frames in one run: a frame starts where the first grid position recurs.

    Args:
        places: `[2, V]`, int64: row and column of each token in its frame. They are those of text
            where a model isn't told which tokens are visual, which is an error as well.
    """
    _check_one_run(index)
    row, column = places - places[:, :1]
    # In a grid of more than one token, the second isn't on the diagonal.
    if len(index) > 1 and bool((row == column).all() and row[1]):
        raise UsageError(
            "the video's tokens have the positions of text, so its frames can't be told apart; "
            "call the processor with return_mm_token_type_ids=True, and give generate() all that "
            "it returns"
        )
    starts = (places == places[:, :1]).all(0).nonzero().flatten()
    return _equal(index, starts)


def _equal(index: torch.Tensor, starts: torch.Tensor) -> Layout:
    """Layout of frames of equal size that begin at `starts` in `index`."""
    import torch

    frames = len(starts)
    tokens = len(index) // frames
    if not torch.equal(starts, torch.arange(frames, device=starts.device) * tokens):
        raise UsageError(
            "the frames of this prompt have unequal numbers of tokens (more than one video, or "
            "frames that were thinned out before)"
        )
    order = torch.arange(len(index), device=index.device)
    return Layout(index, order // tokens, order % tokens)


def _check_one_run(index: torch.Tensor) -> None:
    if int(index[-1]) - int(index[0]) + 1 != len(index):
        raise UsageError("a prompt with more than one video isn't supported yet")


# Per-token arguments of a stock text decoder.


PER_TOKEN = ("inputs_embeds", "per_layer_inputs", "moe_mm_token_type_ids")
"""Arguments with one value per token, [B, S, ...].

In this order: embeddings, Gemma's per-layer inputs, ERNIE's token types.
"""

DEEPSTACK, VISUAL_MASK = "deepstack_visual_embeds", "visual_pos_masks"
"""Visual embeddings added after the first layers (DeepStack), and the mask of their tokens."""


def with_video(
    kwargs: dict[str, Any],
    places: torch.Tensor,
    embeddings: torch.Tensor,
    deepstack: Sequence[torch.Tensor],
) -> dict[str, Any]:
    """Insert the embeddings of an encoded video into decoder arguments.

    Args:
        kwargs: of the text decoder; `inputs_embeds` [B, S, D] is modified in place.
        places: `[B, S]`, bool: mask of the video's placeholders.
        embeddings: `[R, D]`: one per placeholder.
        deepstack: DeepStack embeddings `[R, D]`, one tensor per layer, if any.
    """
    embeds = kwargs["inputs_embeds"]
    places = places.to(embeds.device)
    embeds[places] = embeddings.to(embeds)
    if not deepstack:
        return kwargs
    return kwargs | {VISUAL_MASK: places, DEEPSTACK: list(deepstack)}


# Pixel formats of stock processors: how a video's pixels are cut into frames and normalised.


Inputs = dict[str, "torch.Tensor"]


def is_pixels(value: torch.Tensor) -> bool:
    """Whether an input is normalised encoder input, and not e.g. seconds per frame (1-D)."""
    return value.is_floating_point() and value.dim() > 1


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
        """Inputs of frames `start` … `stop` only."""
        return {
            name: inputs[name].narrow(self.axis, start, stop - start)
            for name in (self.key, *self.extra_inputs)
        }

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Per-channel numbers `[3]`, in a shape that broadcasts against [..., 3, height, width]."""
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
        """See `Stacked.part`."""
        import torch

        _, height, width = inputs["video_grid_thw"][0].tolist()
        patches = inputs[self.key][start * height * width : stop * height * width]
        grid = torch.tensor([[stop - start, height, width]])
        return {self.key: patches, "video_grid_thw": grid} | {n: inputs[n] for n in self.whole}

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """See `Stacked.by_channel`; for patches [N, C] whose channels are contiguous."""
        return numbers.repeat_interleave(pixels.shape[-1] // len(numbers))


@dataclass(frozen=True)
class Patched(Stacked):
    """Frames of patches `[..., F, patches, C]`, channels last in each patch."""

    axis: int = -3  # of the frames
    counts: tuple[str, ...] = ()  # inputs `[1]` that hold the number of frames

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """See `Stacked.part`."""
        import torch

        counts = {name: torch.tensor([stop - start]) for name in self.counts if name in inputs}
        return super().part(inputs, start, stop) | counts

    def by_channel(self, numbers: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """See `Stacked.by_channel`; for patches whose pixels are contiguous (channels last)."""
        return numbers.repeat(pixels.shape[-1] // len(numbers))


class Pooled(Patched):
    """Molmo2: patches, and for each visual token the patches `[F · N, K]` it is pooled from.

    Patches are numbered over all frames; -1 is padding.
    """

    def part(self, inputs: Inputs, start: int, stop: int) -> Inputs:
        """See `Stacked.part`."""
        import torch

        _, height, width = inputs["video_grids"][0].tolist()
        tokens, patches = height * width, inputs[self.key].shape[-2]
        # Without the frames before `start`, patch numbers begin again at 0; -1 must stay -1.
        pooling = inputs["video_token_pooling"][start * tokens : stop * tokens]
        return super().part(inputs, start, stop) | {
            "video_token_pooling": torch.where(pooling < 0, pooling, pooling - start * patches),
            "video_grids": torch.tensor([[stop - start, height, width]]),
        }


Pixels = Stacked | Grid
"""Format of the frames in a processor's output; `Patched` and `Pooled` are stacked."""


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


# Structure of vision towers that can encode part of a frame.


@dataclass(frozen=True)
class Tower:
    """Vision tower with frames along the batch axis, which can encode part of a frame.

    Each patch is one token in all layers, and position embeddings are added before the first one.
    """

    name: str  # submodule of the tower in `model.model`
    layers: str  # submodule of its transformer layers in the tower
    # called with `model.model` and one row per token of the tower's layers, `[1, P, D]`; returns,
    # for each of the N visual tokens of a frame, the sum or the mean of the rows it is pooled from:
    # `[1, N, D]`
    pooled: Callable[[Any, torch.Tensor], torch.Tensor]

    def pooling(self, model: Any, patches: int, device: torch.device) -> torch.Tensor:
        """Pooling matrix `[N, P]`, float32: weight of each patch in each visual token of a frame.

        Pooling is linear, so applying the model's own to the identity matrix yields its weights,
        and no family needs them written down.
        """
        import torch

        return self.pooled(model.model, torch.eye(patches, device=device)[None])[0]

    def last_used(self, model: Any) -> torch.nn.Module:
        """Last transformer layer whose output reaches the language model."""
        return self.transformer_layers(model)[self.depth(model.config) - 1]

    def transformer_layers(self, model: Any) -> Any:
        """Transformer layers of the tower."""
        return model.model.get_submodule(self.name).get_submodule(self.layers)

    def depth(self, config: Any) -> int:
        """Number of transformer layers up to and including `last_used`."""
        layers = config.vision_config.num_hidden_layers
        used = getattr(config, "vision_feature_layer", -1)
        # `vision_feature_layer` indexes the hidden states, of which there is one more than layers:
        # state 0 is the input of layer 0, state i the output of layer i - 1. So -2 of 12 layers is
        # state 11, and 11 layers are used.
        states = [used] if isinstance(used, int) else used
        return max(state % (layers + 1) for state in states)


def in_reading_order(config: Any, rows: int, columns: int) -> torch.Tensor:
    """Visual tokens `[N]`, int64, of a frame in row-major order."""
    import torch

    return torch.arange(rows * columns)


@dataclass(frozen=True)
class PackedTower:
    """Vision tower with the patches of all frames in one sequence, which can encode part of it.

    The patches of a visual token are contiguous, and no other patch contributes to it. Rotary
    position embeddings and sequence lengths (`cu_seqlens`) are arguments of each layer, so they can
    be cut together with the patches.
    """

    name: str  # submodule of the tower in `model.model`
    layers: str  # submodule of its transformer layers in the tower
    # submodules, or lists of them, that process layer outputs per patch or per token. Code after
    # them expects whole frames.
    outputs: tuple[str, ...]
    # called with the configuration of the tower and the rows and columns of visual tokens of a
    # frame; returns `[N]`, int64: the tokens in the order in which layers process them
    order: Callable[[Any, int, int], torch.Tensor] = in_reading_order
