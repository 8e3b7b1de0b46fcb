"""A family of models, as data: what differs between them is where their visual tokens stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dycoke_cli.models.layouts.layout import Layout, a_run_a_frame, one_run, one_run_of_grids
from dycoke_cli.models.layouts.pixels import Inputs, Pixels, Stacked
from dycoke_cli.models.layouts.towers import Tower

if TYPE_CHECKING:
    import torch

TYPES, VIDEO_TYPE = "mm_token_type_ids", 2


@dataclass(frozen=True)
class Family:
    """What the engine needs to know of a family.

    Args:
        pixels: how the processor's output is cut into frames.
        per_frame: tokens a frame, by the configuration: for families whose videos are one run of
            placeholders without places. None where a run is a frame, or where places tell.
        one_run: whether a video is one run of placeholders.
        tail: placeholders behind the last frame, which the model fills with text of its own.
        placeholder: attribute of the configuration: the token id of a visual token.
        rope: inputs beside the token ids from which positions in time, height and width are made;
            empty where positions count tokens.
        least_frames: a shorter clip is shown its last frame again.
        video_options: more options for the processor, by the model's configuration and its stock
            video processor.
        tower: of vision, where it can run a frame in part, for merging before vision; else None.
        only_none: why no method can be attached; empty where one can.
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
    only_none: str = ""

    @property
    def counts_tokens(self) -> bool:
        """Whether positions count tokens, so that they can be renumbered."""
        return not self.rope

    @property
    def positions(self) -> str:
        """The default of `--positions`.

        Positions that count tokens are renumbered, as in the published code, which the paper's
        figures come from. Places in time, height and width can't be: they are kept.
        """
        return "renumbered" if self.counts_tokens else "kept"

    def token(self, config: Any) -> int:
        """The token id that stands for a visual token in a prompt."""
        return getattr(config, self.placeholder)

    def placeholders(self, config: Any, input_ids: torch.Tensor, beside: Inputs) -> torch.Tensor:
        """Which token ids stand for what the vision side makes of a video: bool, of their shape.

        Args:
            config: of the model.
            input_ids: `[..., S]`, int64.
            beside: what goes with them: `mm_token_type_ids` of the same shape, if there are any.
        """
        shown = input_ids == self.token(config)
        types = beside.get(TYPES)
        # Some families use the same token for pictures.
        if types is not None and self.placeholder == "image_token_id":
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
        beside = {} if types is None else {TYPES: types}
        index = self.placeholders(config, input_ids, beside).nonzero().flatten()
        if not len(index):
            return None
        if not self.one_run:
            return a_run_a_frame(index)
        if self.per_frame is not None:
            return one_run(index, self.per_frame(config))
        assert positions is not None
        return one_run_of_grids(index, positions[-2:, index.to(positions.device)].to(index.device))

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
        fed = {"input_ids": ids, "position_ids": torch.arange(ids.shape[1])[None]}
        return fed | self.pixels.part(inputs, start, stop), slice(None if last else tokens)
