"""Runs a method's selection for each sequence, with the inputs that it requests.

Tests check what a bundled method promises; that of a plug-in is checked at its first selection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch

from dycoke_cli import plugins
from dycoke_cli.compression.method import (
    MergedFrames,
    Method,
    Selection,
    SelectionInputs,
    counted_on,
    into_itself,
)
from dycoke_cli.engine.attention import TowerAttention, TowerRecorder, split_by_video, with_tower
from dycoke_cli.engine.model_inputs import EmbeddedPrompts, ModelInputs
from dycoke_cli.engine.state import Videos
from dycoke_cli.engine.tower import FramesInTower
from dycoke_cli.engine.vision import Encoded
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.models.families import Layout

_NOTHING = Selection(torch.arange(0))
"""Of a prompt without a video."""
_PACKAGE = f"{__name__.partition('.')[0]}."
_checked: set[type[Method]] = set()


class EncodedVideos(Videos):
    """Videos that were encoded before: each is selected from alone, once for all questions.

    Args:
        config: of the model.
        videos: of each sequence of the batch.
        frames: of the first video, where that can't be told from the inputs.
    """

    def __init__(
        self, config: Any, videos: Sequence[Sequence[Encoded]], frames: int | None = None
    ) -> None:
        self._config, self._videos, self._frames = config, videos, frames

    def find(self, inputs: ModelInputs | None, kwargs: dict[str, Any]) -> list[list[Layout]]:
        """See `Videos.find`."""
        if inputs is None:
            return []
        placeholders = [[len(video.embeddings) for video in shown] for shown in self._videos]
        return inputs.layouts(self._config, kwargs, placeholders, self._frames)

    @torch.no_grad()
    def select(self, method: Method, prompts: EmbeddedPrompts) -> list[Selection]:
        """See `Videos.select`."""
        found = []
        for number, layouts in enumerate(prompts.layouts):
            of_videos = []
            first_frame = 0
            for layout, video in zip(layouts, self._videos[number] if layouts else (), strict=True):
                selection = video.selections.get(method)
                if selection is None:
                    encoded = video.tower, video.kept, video.merged
                    inputs = _inputs(method, prompts, number, layout, *encoded, first_frame)
                    selection = selected(method, inputs)
                    # Without the question the selection follows from the video alone: the next
                    # question about it, and other sequences of this batch, take the same one.
                    if "question" not in method.needs and not method.reads_before:
                        video.selections[method] = selection
                of_videos.append(selection)
                first_frame += layout.frames
            found.append(_joined(of_videos, layouts, prompts.embeddings[number]))
        return found


class VideosInGenerate(Videos):
    """Videos that `generate()` encodes, all of a batch in one pass of the vision tower.

    Args:
        frames: of the first video, where that can't be told from the inputs.
    """

    def __init__(self, model: Any, method: Method, frames: int | None) -> None:
        self._config, self._frames = model.config, frames
        merging = method.merge_frames()
        self._tower = TowerRecorder(model) if "attention" in method.needs else None
        self._merging = None if merging is None else FramesInTower(model, merging)
        self._recorded: TowerAttention | None = None
        self._merged: MergedFrames | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Record and merge in the tower.

        It runs before the decoder within one forward of the model, so what it records and merges
        is there when the prompts are found.
        """
        with self._tower or nullcontext(), self._merging or nullcontext():
            yield

    def find(self, inputs: ModelInputs | None, kwargs: dict[str, Any]) -> list[list[Layout]]:
        """See `Videos.find`."""
        # Taken: what the tower recorded of this prompt must not count for the next one.
        self._recorded = None if self._tower is None else self._tower.take()
        self._merged = None
        if self._merging is not None:
            self._recorded, self._merged = self._merging.take(self._recorded)
        if inputs is None:
            return []
        return inputs.layouts(self._config, kwargs, frames=self._frames)

    @torch.no_grad()
    def select(self, method: Method, prompts: EmbeddedPrompts) -> list[Selection]:
        """See `Videos.select`."""
        # What the tower attended to can be split by frames; what it merged can't, for a window may
        # span two videos.
        if method.merge_frames() is not None and sum(map(len, prompts.layouts)) > 1:
            raise UsageError(
                f"the method {method.name} takes one video at a time in generate(), whose vision "
                "encoder has the frames of all together; VideoSession takes several"
            )
        towers = _recorded_towers(method, prompts.layouts, self._recorded)
        return [
            _NOTHING
            if layout is None
            else selected(method, _inputs(method, prompts, i, layout, tower, merged=self._merged))
            for i, (layout, tower) in enumerate(zip(prompts.joined, towers, strict=True))
        ]


def kept_of_each(kept: torch.Tensor, layouts: Sequence[Layout]) -> tuple[int, ...]:
    """How many visual tokens of each video of a prompt a selection keeps.

    Args:
        kept: `[M]`, int64, of all of them, one video behind the other.
        layouts: of the videos.
    """
    ends = torch.tensor([len(layout.index) for layout in layouts]).cumsum(0)
    video = torch.bucketize(kept.cpu(), ends, right=True)
    return tuple(video.bincount(minlength=len(layouts)).tolist())


def _joined(each: Sequence[Selection], layouts: Sequence[Layout], rows: torch.Tensor) -> Selection:
    """The selections of a prompt's videos as one; indices count on from one to the next.

    Args:
        rows: `[S, D]`: embeddings of the prompt.
    """
    if len(each) < 2:
        return each[0] if each else _NOTHING
    starts = accumulate((len(layout.index) for layout in layouts[:-1]), initial=0)
    kept = torch.cat([one.kept + start for one, start in zip(each, starts, strict=True)])
    if all(one.features is None for one in each):
        return Selection(kept)
    # One video has merged tokens, so the result has features for all: of a video without any they
    # are the embeddings that its tokens have in the prompt.
    features = [
        rows[layout.index[one.kept.to(layout.index.device)].to(rows.device)]
        if one.features is None
        else one.features.to(rows)
        for one, layout in zip(each, layouts, strict=True)
    ]
    return Selection(kept, torch.cat(features), _into_of_all(each, layouts))


def _into_of_all(each: Sequence[Selection], layouts: Sequence[Layout]) -> torch.Tensor:
    """What represents each token of several videos, counted on from one to the next."""
    parts, start = [], 0
    for one, layout in zip(each, layouts, strict=True):
        tokens = len(layout.index)
        into = into_itself(one.kept, tokens) if one.into is None else one.into
        parts.append(counted_on(into, start))
        start += tokens
    return torch.cat(parts)


def _recorded_towers(
    method: Method, layouts: Sequence[Sequence[Layout]], recorded: TowerAttention | None
) -> Iterator[TowerAttention | None]:
    """What the tower attended to in each prompt's video; None for a prompt without one."""
    frames = [layout.frames for of_prompt in layouts for layout in of_prompt]
    each = iter(split_by_video(recorded, frames) if "attention" in method.needs else ())
    for of_prompt in layouts:
        yield next(each, None) if of_prompt else None


def _inputs(
    method: Method,
    prompts: EmbeddedPrompts,
    number: int,
    layout: Layout,
    tower: TowerAttention | None,
    encoded: torch.Tensor | None = None,
    merged: MergedFrames | None = None,
    first_frame: int = 0,
) -> SelectionInputs:
    rows = prompts.embeddings[number]
    inputs = SelectionInputs(layout.grid(rows), encoded=encoded, merged=merged)
    if "attention" in method.needs:
        inputs = with_tower(inputs, tower)
    if "question" in method.needs:
        # The question is all text behind the last video, the end of the chat template included:
        # where in it the user's own words are depends on the template.
        behind = int(prompts.layouts[number][-1].index[-1]) + 1 + prompts.tail
        is_text = prompts.stays[number, behind:].to(rows.device)
        inputs = replace(inputs, question=rows[behind:][is_text])
    if method.reads_before:
        assert prompts.frame_attention is not None, "read before, for the method needs it"
        of_video = prompts.frame_attention[first_frame : first_frame + layout.frames]
        inputs = replace(inputs, frame_attention=of_video)
    return inputs


def selected(method: Method, inputs: SelectionInputs) -> Selection:
    """The tokens that the language model gets by a method; dropped ones merged if it asks so."""
    selection = method.choose(inputs)
    kind = type(method)
    if not kind.__module__.startswith(_PACKAGE) and kind not in _checked:
        check_selection(method, inputs, selection)
        _checked.add(kind)
    return method.finish(inputs, selection)


def check_selection(method: Method, inputs: SelectionInputs, selection: Any) -> None:
    """Check a selection against what `Selection` and `kept_tokens` promise of it."""
    code = plugins.version("method", method.name)
    name = method.name if code is None else f"{method.name} ({code.rpartition(' ')[0]})"
    frames, per_frame, width = inputs.features.shape
    count, call = method.kept_tokens(frames, per_frame), f"kept_tokens({frames}, {per_frame})"
    if type(count) is not int or not isinstance(selection, Selection):
        raise DycokeError(
            f"the method {name} returned {_kind(selection)} from choose and {count!r} from {call}; "
            "promised: a Selection and an int"
        )
    tokens, features, into = frames * per_frame, selection.features, selection.into
    # Merged tokens may be read in another order, for each has features of its own.
    is_merged = features is not None and torch.is_tensor(selection.kept)
    kept = selection.kept.sort().values if is_merged else selection.kept
    if torch.is_tensor(kept) and kept.dtype == torch.int64 and kept.shape == (count,):
        ends = kept.new_tensor([-1]), kept.new_tensor([tokens])
        is_right = bool((torch.cat([ends[0], kept, ends[1]]).diff() > 0).all())
    else:
        is_right = False
    if not is_right:
        shown = f": {kept.tolist()[:8]} …" if torch.is_tensor(kept) else ""
        raise DycokeError(
            f"the method {name} returned {_kind(kept)}{shown}; promised, by {call}: {count} "
            f"ascending indices from 0 to {tokens - 1}, int64, each once"
        )
    for made, shape in ((features, (count, width)), (into, (tokens,))):
        whole = torch.is_tensor(made) and made.shape == shape and made.isfinite().all()
        if made is not None and not whole:
            raise DycokeError(
                f"the method {name} returned features or `into` that are {_kind(made)}; promised: "
                f"{[*shape]}, without NaN or infinity"
            )


def _kind(value: Any) -> str:
    """A value in words: the dtype and shape of a tensor, the type of anything else."""
    if not hasattr(value, "shape"):
        return f"a {type(value).__name__}"
    return f"a {type(value).__name__} {[*value.shape]} of {value.dtype}"
