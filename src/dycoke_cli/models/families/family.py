"""Model family: layout of visual tokens, pixel format and positions; and what discovery adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import UsageError
from dycoke_cli.models.families.layout import (
    Inputs,
    Layout,
    PackedTower,
    Pixels,
    Stacked,
    Tower,
    frame_per_run,
    frames_by_grid,
    frames_of_size,
)

if TYPE_CHECKING:
    import torch

TYPES, VIDEO_TYPE = "mm_token_type_ids", 2


@dataclass(frozen=True)
class Family:
    """Layout of a model family, as data for the engine; how to fill it in: docs/dev/families.md."""

    pixels: Pixels = field(default_factory=Stacked)  # how the processor's output is cut into frames
    # tokens per frame, by the configuration: of families whose videos are one run of placeholders
    # without grid positions
    per_frame: Callable[[Any], int] | None = None
    one_run: bool = False  # whether a video is one run of placeholders
    tail: int = 0  # placeholders after the last frame, which the model fills with text embeddings
    placeholder: str = "video_token_id"  # attribute of the configuration: id of a visual token
    # inputs, besides the token ids, from which positions in time, height and width are computed;
    # empty where positions count tokens
    rope: tuple[str, ...] = ()
    least_frames: int = 1  # a shorter clip repeats its last frame
    # more options for the processor, by the configuration and the stock video processor
    video_options: Callable[[Any, Any], dict[str, Any]] = lambda config, video_processor: {}
    # vision tower that can encode part of a frame (merging before vision): with frames along an
    # axis of their own, which returns its attention, or with all frames in one sequence
    tower: Tower | None = None
    packed_tower: PackedTower | None = None
    # whether the KV cache of each language model layer keeps every token. With sliding windows or
    # linear attention it doesn't, and pruning inside the model is refused.
    keeps_every_token: bool = True
    causal: bool = True  # else attention is bidirectional between frames
    several_videos: bool = True  # whether a prompt may contain several videos
    only_none: str = ""  # why no method can be attached; empty where one can
    # releases of transformers that lack the family or fail on it: from the first up to, but not
    # including, the second
    cannot_run_on: tuple[str, str] = ("0", "0")
    # whether each question runs the stock processor, and `generate()` encodes the video, as of all
    # families outside the table. The fields behind it are theirs, found by trials.
    stock_inputs: bool = False
    token_id: int | None = None  # of the placeholder; None until it is found, and in the table
    temporal_patch_size: int = 1  # input frames per encoded frame
    # whether a run is cut by the frame count that the model's inputs state (`video_grid_thw`)
    needs_frame_count: bool = False

    @property
    def counts_tokens(self) -> bool:
        """Whether positions count tokens, so that they can be renumbered."""
        return not self.rope

    @property
    def encodes_parts(self) -> bool:
        """Whether its vision tower can encode part of a frame."""
        return self.tower is not None or self.packed_tower is not None

    @property
    def has_pictures(self) -> bool:
        """Whether frames are whole images, which can be scaled, and not patches."""
        return type(self.pixels) is Stacked and not self.stock_inputs

    @property
    def positions(self) -> str:
        """Default of `--positions`.

        Positions that count tokens become contiguous, as in the published code that produced the
        paper's figures. Positions in time, height and width have no contiguous numbering, so tokens
        keep their original ones. A checkpoint may ask for others (`defaults_of`), but not of a
        video in several windows (`ModelInfo.in_windows`).
        """
        return "renumbered" if self.counts_tokens else "kept"

    def token(self, config: Any) -> int:
        """Token id of a visual placeholder in a prompt."""
        return getattr(config, self.placeholder) if self.token_id is None else self.token_id

    def placeholders(
        self, config: Any, input_ids: torch.Tensor, extra_inputs: Inputs
    ) -> torch.Tensor:
        """Mask of the visual placeholders: bool, of the shape of `input_ids`.

        Args:
            input_ids: `[..., S]`, int64.
            extra_inputs: other model inputs; of these, `mm_token_type_ids` of the same shape, if
                any.
        """
        mask = input_ids == self.token(config)
        types = extra_inputs.get(TYPES)
        # Families whose placeholder is the image token use it for images and videos alike; the type
        # ids distinguish them.
        if types is not None and self.placeholder == "image_token_id":
            mask = mask & (types.to(mask.device) == VIDEO_TYPE)
        return mask

    def layouts(
        self,
        config: Any,
        input_ids: torch.Tensor,
        positions: torch.Tensor | None = None,
        types: torch.Tensor | None = None,
        rows: Sequence[int] | None = None,
        frames: int | None = None,
    ) -> list[Layout]:
        """Layouts of the visual tokens of a sequence, one per video.

        Args:
            input_ids: `[S]`, int64.
            positions: `[3 or more, S]`, int64, the last two height and width; only for families
                with grid positions.
            types: `[S]`, int64: `mm_token_type_ids`, if any.
            rows: number of placeholders of each video; None where there is one video at most.
            frames: number of frames of the video; only where `needs_frame_count`.

        Raises:
            UsageError: frames of unequal size, or more than one video where `rows` is None.
        """
        extra_inputs = {} if types is None else {TYPES: types}
        index = self.placeholders(config, input_ids, extra_inputs).nonzero().flatten()
        if not len(index):
            return []
        each = [index] if rows is None else index.split([*rows])
        return [self._layout(config, of_video, positions, frames) for of_video in each]

    def _layout(
        self,
        config: Any,
        index: torch.Tensor,
        positions: torch.Tensor | None,
        frames: int | None,
    ) -> Layout:
        """Layout of one video, given its placeholders `[R]`, ascending."""
        if not self.one_run:
            return frame_per_run(index)
        if self.per_frame is not None:
            return frames_of_size(index, self.per_frame(config))
        if self.needs_frame_count and frames:
            return frames_of_size(index, len(index) // frames)
        if self.needs_frame_count:
            raise UsageError(
                "nothing in the prompts of this family tells how many frames they show; ask by a "
                "VideoSession, which knows"
            )
        assert positions is not None
        places = positions[-2:, index.to(positions.device)].to(index.device)
        return frames_by_grid(index, places)

    def chunk(
        self, config: Any, inputs: Inputs, start: int, stop: int, tokens_per_frame: int
    ) -> tuple[Inputs, slice]:
        """Inputs of a video that encode frames `start` … `stop`, and the slice of rows to keep."""
        import torch

        tokens = (stop - start) * tokens_per_frame
        ids = torch.full((1, tokens + self.tail), self.token(config))
        last = stop == self.pixels.frames(inputs)
        # The stock forward requires positions. Their values don't matter: the vision tower derives
        # its own from the grid, and the language model doesn't run. The tail is part of the last
        # frame's output only, so every other chunk cuts it off again.
        model_inputs = {"input_ids": ids, "position_ids": torch.arange(ids.shape[1])[None]}
        return model_inputs | self.pixels.part(inputs, start, stop), slice(None if last else tokens)


UNLISTED = Family(
    stock_inputs=True,
    several_videos=False,
    only_none="its layout is unknown before the model is loaded",
)
"""A family that isn't in the table, before discovery."""
