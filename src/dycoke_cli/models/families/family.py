"""A model family, as data: the layout of its visual tokens, its pixels and its positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import UsageError
from dycoke_cli.models.families.pixels import Inputs, Pixels, Stacked

if TYPE_CHECKING:
    import torch

TYPES, VIDEO_TYPE = "mm_token_type_ids", 2

PER_TOKEN = ("inputs_embeds", "per_layer_inputs", "moe_mm_token_type_ids")
"""Arguments of a text decoder with one value per token, [B, S, ...].

Embeddings; what Gemma adds in each layer; ERNIE's kinds of tokens.
"""


@dataclass(frozen=True)
class Layout:
    """The visual tokens of one video in one sequence, in reading order.

    Newline, separator and time stamp tokens are text for this purpose.

    Args:
        index: `[V]`, int64, ascending: the row of each visual token in the sequence.
        frame: `[V]`, int64: the frame it belongs to.
        position: `[V]`, int64: its position in the frame's grid.
    """

    index: torch.Tensor
    frame: torch.Tensor
    position: torch.Tensor

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
        """That of all videos of a sequence, whose frames needn't be equal; None without any."""
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
        """The visual tokens of `rows[S, D]` as `[F, N, D]`."""
        visual = rows[self.index.to(rows.device)]
        return visual.view(self.frames, self.tokens_per_frame, -1)


@dataclass(frozen=True)
class Tower:
    """A vision tower with frames along an axis of their own, which can encode part of a frame.

    Each patch is one token to all its layers, and has its position before the first of them.

    Args:
        name: of the tower in `model.model`.
        layers: of its transformer layers, by their name in the tower.
        pooled: called with `model.model` and one row per token of the tower's layers, `[1, P, D]`;
            returns, for each of the N visual tokens of a frame, the sum or the mean of the rows it
            is pooled from: `[1, N, D]`.
    """

    name: str
    layers: str
    pooled: Callable[[Any, torch.Tensor], torch.Tensor]

    def pooling(self, model: Any, patches: int, device: torch.device) -> torch.Tensor:
        """`[N, P]`, float32: how much of each of P patches is in each visual token of a frame."""
        import torch

        return self.pooled(model.model, torch.eye(patches, device=device)[None])[0]

    def last_used(self, model: Any) -> torch.nn.Module:
        """The last transformer layer whose output reaches the language model."""
        return self.transformer_layers(model)[self.depth(model.config) - 1]

    def transformer_layers(self, model: Any) -> Any:
        """All of its transformer layers."""
        return model.model.get_submodule(self.name).get_submodule(self.layers)

    def depth(self, config: Any) -> int:
        """How many of its transformer layers there are up to `last_used`.

        Args:
            config: of the whole model.
        """
        layers = config.vision_config.num_hidden_layers
        used = getattr(config, "vision_feature_layer", -1)
        # Of the states that towers hand out, the first is what goes into layer 0.
        states = [used] if isinstance(used, int) else used
        return max(state % (layers + 1) for state in states)


def in_reading_order(config: Any, rows: int, columns: int) -> torch.Tensor:
    """The visual tokens `[N]`, int64, of a frame of so many rows and columns, one after another."""
    import torch

    return torch.arange(rows * columns)


@dataclass(frozen=True)
class PackedTower:
    """A vision tower that has the patches of all frames in one sequence, and can encode part of it.

    The patches of a visual token follow each other, and a token is made of no others. What belongs
    to a patch (its position, which turns queries and keys) and which patches attend to each other
    are arguments of each layer, so they can be cut along with the patches.

    Args:
        name: of the tower in `model.model`.
        layers: of its transformer layers, by their name in the tower.
        outputs: modules of the tower, or lists of them, that work patch by patch, or token by
            token, on what layers put out; code behind them counts on whole frames.
        order: called with the configuration of the tower and the rows and columns of visual tokens
            of a frame; returns `[N]`, int64: the tokens in the order in which layers have them.
    """

    name: str
    layers: str
    outputs: tuple[str, ...]
    order: Callable[[Any, int, int], torch.Tensor] = in_reading_order


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
        stock_inputs: whether `generate()` is given all that the stock processor makes of video and
            question, as nothing is known of its pixels: a video is encoded with each question.
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
            return _frame_per_run(index)
        if self.per_frame is not None:
            return _frames_of_size(index, self.per_frame(config))
        if self.frames_told and frames:
            return _frames_of_size(index, len(index) // frames)
        if self.frames_told:
            raise UsageError(
                "nothing in the prompts of this family tells how many frames they show; ask by a "
                "VideoSession, which knows"
            )
        assert positions is not None
        places = positions[-2:, index.to(positions.device)].to(index.device)
        return _frames_by_grid(index, places, audio)

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


def _frame_per_run(index: torch.Tensor) -> Layout:
    """One frame per run of placeholders: time stamps or separators stand between frames.

    Args:
        index: `[V]`, int64, ascending: the rows of all placeholders.

    Raises:
        UsageError: runs of unequal length.
    """
    return _equal(index, (index.diff(prepend=index[:1] - 2) > 1).nonzero().flatten())


def _frames_of_size(index: torch.Tensor, tokens_per_frame: int) -> Layout:
    """Frames of a known size in one run; a remainder is text.

    Args:
        index: `[V]`, int64, ascending: the rows of all placeholders.
        tokens_per_frame: N.

    Raises:
        UsageError: more than one run: more than one video.
    """
    import torch

    _check_one_run(index)
    frames = len(index) // tokens_per_frame
    index = index[: frames * tokens_per_frame]
    return _equal(index, torch.arange(frames, device=index.device) * tokens_per_frame)


def _frames_by_grid(index: torch.Tensor, places: torch.Tensor, audio: torch.Tensor) -> Layout:
    """Frames in one run, by grid position: a frame starts where the first position comes back.

    Args:
        index: `[V]`, int64, ascending: the rows of all placeholders.
        places: `[2, V]`, int64: row and column of each token in its frame.
        audio: `[A]`, int64: rows of audio, which may stand between frames.

    Raises:
        UsageError: more than one run: more than one video.
    """
    _check_one_run(index, audio)
    starts = (places == places[:, :1]).all(0).nonzero().flatten()
    return _equal(index, starts)


def _equal(index: torch.Tensor, starts: torch.Tensor) -> Layout:
    """The layout of frames that begin at `starts` in `index`."""
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


def _check_one_run(index: torch.Tensor, audio: torch.Tensor | None = None) -> None:
    first, last = int(index[0]), int(index[-1])
    heard = 0 if audio is None else int(((audio > first) & (audio < last)).sum())
    if last - first + 1 != len(index) + heard:
        raise UsageError("a prompt with more than one video isn't supported yet")
