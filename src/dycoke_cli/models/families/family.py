"""A model family, as data: the layout of its visual tokens, its pixels and its positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import UsageError
from dycoke_cli.models.families.layout import (
    Layout,
    frame_per_run,
    frames_by_grid,
    frames_of_size,
)
from dycoke_cli.models.families.pixels import Inputs, Pixels, Stacked
from dycoke_cli.models.families.tower import PackedTower, Tower

if TYPE_CHECKING:
    import torch

TYPES, VIDEO_TYPE = "mm_token_type_ids", 2


@dataclass(frozen=True)
class Family:
    """A model family, as data for the engine.

    Args:
        pixels: how the processor's output is cut into frames.
        per_frame: tokens per frame, by the configuration: for families whose videos are one run of
            placeholders without places. None where a run is a frame, or where places tell.
        one_run: whether a video is one run of placeholders.
        tail: placeholders behind the last frame, which the model fills with text of its own.
        placeholder: attribute of the configuration: the token id of a visual token.
        rope: inputs beside the token ids from which positions in time, height and width are made;
            empty where positions count tokens.
        least_frames: a shorter clip is shown its last frame again.
        video_options: more options for the processor, by the model's configuration and its stock
            video processor.
        tower: its vision tower, where that can encode part of a frame (merging before vision) and
            gives its attention.
        packed_tower: its vision tower, where that can encode part of a frame, but has all frames in
            one sequence.
        keeps_every_token: whether the cache of each layer of the language model does. Else (sliding
            windows, linear attention) there is little to choose from inside it.
        causal: whether tokens attend to earlier ones only; else frames see each other both ways.
        several_videos: whether a prompt may show several.
        only_none: why no method can be attached; empty where one can.
        cannot_run_on: releases of transformers that lack the family or fail on it: from the first
            up to, but not including, the second.
        token_id: the placeholder id itself, where it was found and no attribute is known.
        stock_inputs: whether the stock processor makes the prompt of each question anew, as nothing
            is known of its pixels.
        vision_inputs: of those, the ones that a question can be asked without where the video was
            encoded before; empty where `generate()` has to encode it with each question.
        exact_frames: the only number of frames that it takes; a clip is thinned out, or its last
            frame shown again; None for any.
        typed: whether the processor has to be asked for the kinds of tokens that the model needs.
        as_pictures: whether frames are shown as pictures, one after the other.
        merged: frames that become one frame of the model, of a layout that was found.
        frames_told: whether the model's inputs say how many frames a run has (`video_grid_thw`).
    """

    pixels: Pixels = field(default_factory=Stacked)
    per_frame: Callable[[Any], int] | None = None
    one_run: bool = False
    tail: int = 0
    placeholder: str = "video_token_id"
    rope: tuple[str, ...] = ()
    least_frames: int = 1
    video_options: Callable[[Any, Any], dict[str, Any]] = lambda config, video_processor: {}
    tower: Tower | None = None
    packed_tower: PackedTower | None = None
    keeps_every_token: bool = True
    causal: bool = True
    several_videos: bool = True
    only_none: str = ""
    cannot_run_on: tuple[str, str] = ("0", "0")
    token_id: int | None = None
    stock_inputs: bool = False
    vision_inputs: tuple[str, ...] = ()
    exact_frames: int | None = None
    typed: bool = False
    as_pictures: bool = False
    merged: int = 1
    frames_told: bool = False

    @property
    def counts_tokens(self) -> bool:
        """Whether positions count tokens, so that they can be renumbered."""
        return not self.rope

    @property
    def encoded_once(self) -> bool:
        """Whether a video is encoded once, whatever is asked about it."""
        return bool(self.vision_inputs) or not self.stock_inputs

    @property
    def encodes_parts(self) -> bool:
        """Whether its vision tower can encode part of a frame."""
        return self.tower is not None or self.packed_tower is not None

    @property
    def has_pictures(self) -> bool:
        """Whether its frames come as pictures, which can be scaled, and not as patches."""
        return type(self.pixels) is Stacked and not self.stock_inputs

    @property
    def positions(self) -> str:
        """The default of `--positions`.

        Positions that count tokens are renumbered, as in the published code, which the paper's
        figures come from. Places in time, height and width can't be: they are kept.
        """
        return "renumbered" if self.counts_tokens else "kept"

    def token(self, config: Any) -> int:
        """The placeholder id of a visual token in a prompt."""
        return getattr(config, self.placeholder) if self.token_id is None else self.token_id

    def placeholders(
        self, config: Any, input_ids: torch.Tensor, extra_inputs: Inputs
    ) -> torch.Tensor:
        """Which token ids are placeholders of visual tokens: bool, of their shape.

        Args:
            config: of the model.
            input_ids: `[..., S]`, int64.
            extra_inputs: inputs beside them: `mm_token_type_ids` of the same shape, if any.
        """
        shown = input_ids == self.token(config)
        types = extra_inputs.get(TYPES)
        # Some families use the same token for pictures.
        if types is not None and self.token_id is None and self.placeholder == "image_token_id":
            shown = shown & (types.to(shown.device) == VIDEO_TYPE)
        return shown

    def layout(
        self,
        config: Any,
        input_ids: torch.Tensor,
        positions: torch.Tensor | None = None,
        types: torch.Tensor | None = None,
    ) -> Layout | None:
        """Where the visual tokens of a sequence stand, or None where there is no video.

        Args:
            config: of the model.
            input_ids: `[S]`, int64.
            positions: `[3 or more, S]`, int64, the last two height and width, for families that
                have places; else not needed.
            types: `[S]`, int64: `mm_token_type_ids`, where there are any.

        Raises:
            UsageError: more than one video, or frames of unequal size.
        """
        found = self.layouts(config, input_ids, positions, types)
        return found[0] if found else None

    def layouts(
        self,
        config: Any,
        input_ids: torch.Tensor,
        positions: torch.Tensor | None = None,
        types: torch.Tensor | None = None,
        rows: Sequence[int] | None = None,
        frames: int | None = None,
    ) -> list[Layout]:
        """The same of each video of a sequence.

        Args:
            config: see `layout`, as for the others.
            input_ids: the same.
            positions: the same.
            types: the same.
            rows: of each video, its placeholders; None where there is one video at most.
            frames: of the video, where the model's inputs say it and a family needs that.

        Raises:
            UsageError: see `layout`.
        """
        extra_inputs = {} if types is None else {TYPES: types}
        index = self.placeholders(config, input_ids, extra_inputs).nonzero().flatten()
        if not len(index):
            return []
        each = [index] if rows is None else index.split([*rows])
        heard = getattr(config, "audio_token_id", None)
        audio = (
            input_ids.new_zeros(0) if heard is None else (input_ids == heard).nonzero().flatten()
        )
        return [self._layout(config, of_video, positions, frames, audio) for of_video in each]

    def _layout(
        self,
        config: Any,
        index: torch.Tensor,
        positions: torch.Tensor | None,
        frames: int | None,
        audio: torch.Tensor,
    ) -> Layout:
        """That of one video, by its placeholders `[R]` and those of audio, int64, ascending."""
        if not self.one_run:
            return frame_per_run(index)
        if self.per_frame is not None:
            return frames_of_size(index, self.per_frame(config))
        if self.frames_told and frames:
            return frames_of_size(index, len(index) // frames)
        if self.frames_told:
            raise UsageError(
                "nothing in the prompts of this family tells how many frames they show; ask by a "
                "VideoSession, which knows"
            )
        assert positions is not None
        places = positions[-2:, index.to(positions.device)].to(index.device)
        return frames_by_grid(index, places, audio)

    def chunk(
        self, config: Any, inputs: Inputs, start: int, stop: int, tokens_per_frame: int
    ) -> tuple[Inputs, slice]:
        """The inputs that encode frames `start` … `stop` alone, and which rows are theirs.

        Args:
            config: of the model.
            inputs: what the processor made of one video.
            start: first frame.
            stop: behind the last frame.
            tokens_per_frame: N.
        """
        import torch

        tokens = (stop - start) * tokens_per_frame
        ids = torch.full((1, tokens + self.tail), self.token(config))
        last = stop == self.pixels.frames(inputs)
        # No place is asked for: the vision side gets its own from the grid.
        model_inputs = {"input_ids": ids, "position_ids": torch.arange(ids.shape[1])[None]}
        return model_inputs | self.pixels.part(inputs, start, stop), slice(None if last else tokens)


UNLISTED = Family(
    stock_inputs=True,
    several_videos=False,
    only_none="its layout is unknown before the model is loaded",
)
"""A family that isn't in the table."""
