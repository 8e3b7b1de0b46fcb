"""A video that is read in windows: each is encoded, selected from and forgotten, one by one.

So the memory that a video takes doesn't grow with its length. What the windows keep goes into a
pool with a cap (`compression/pool.py`), which is all that is known of the video then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch

from dycoke_cli.answer.answer import ReportedWindows
from dycoke_cli.compression.method import Method, Selection, SelectionInputs
from dycoke_cli.compression.pool import Pool, PooledTokens
from dycoke_cli.compression.promises import selected
from dycoke_cli.engine.attention import with_tower
from dycoke_cli.engine.context import room_for_video
from dycoke_cli.engine.faults import RunningStage, faults_of, memory_faults
from dycoke_cli.engine.prefill import short_prompt
from dycoke_cli.engine.prompt_batch import Preselection, Prompt
from dycoke_cli.engine.vision import Encoded, VisualCache, encode_cached
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_processor import ClipLike
from dycoke_cli.models.prompts.stock_prompt import VideoPrompt, show, window_prompt
from dycoke_cli.video.frames import FrameWindow


@dataclass(frozen=True)
class ReadWindow:
    """What is left of a window."""

    tokens: PooledTokens  # that the method kept, as tokens of the whole video
    tail: Encoded  # what stands behind its last frame
    # what the method knows of the video up to its end; see `Method.so_far`
    so_far: tuple[torch.Tensor, ...]
    frames: int  # encoded ones
    warning: str | None  # a sentence where the cache can't be written; else None
    seconds: float  # that it took


def read_window(
    loaded: LoadedModel,
    method: Method,
    whole: VideoPrompt,
    window: FrameWindow,
    before: int,
    so_far: tuple[torch.Tensor, ...],
    cache: VisualCache | None,
    on_frames: Callable[[int, int], None],
) -> ReadWindow:
    """Encode a window, and select from it.

    Args:
        loaded: the model.
        method: that needs no question.
        whole: prompt of the video, without pixels.
        window: the frames.
        before: frames that were encoded before it.
        so_far: what the method knows of these.
        cache: of encoded windows on disk, or None.
        on_frames: called with (frames of the window done, its frames).
    """
    started = time.perf_counter()
    video = window_prompt(whole, loaded.family, loaded.model.config, window)
    encoded, warning = encode_cached(
        loaded,
        video,
        method,
        with_attention="attention" in method.needs,
        cache=cache,
        on_frames=on_frames,
    )
    rows, stacked, tokens = encoded.embeddings, encoded.deepstack, video.visual
    features = rows[:tokens].view(video.frames, video.tokens_per_frame, -1)
    so_far = method.so_far(features, so_far)
    selection = select_from_window(method, encoded, features, so_far)
    return ReadWindow(
        PooledTokens.of_window(selection, rows, stacked, before * video.tokens_per_frame),
        Encoded(rows[tokens:].clone(), tuple(layer[tokens:].clone() for layer in stacked)),
        so_far,
        video.frames,
        warning,
        time.perf_counter() - started,
    )


@torch.inference_mode()
def select_from_window(
    method: Method,
    encoded: Encoded,
    features: torch.Tensor,
    so_far: tuple[torch.Tensor, ...] = (),
) -> Selection:
    """A method's selection from one window.

    Args:
        method: that needs no question.
        encoded: the window.
        features: `[F, N, D]`, of its embeddings those of frames.
        so_far: of the video up to its end; see `Method.so_far`.
    """
    inputs = SelectionInputs(features, encoded=encoded.kept, merged=encoded.merged, so_far=so_far)
    if "attention" in method.needs:
        inputs = with_tower(inputs, encoded.tower)
    return selected(method, inputs)


@dataclass(frozen=True)
class WindowedVideo:
    """What is left of a video that was read in windows."""

    tokens: PooledTokens  # that windows kept and the pool has
    tail: Encoded  # what stands behind the last frame
    method: Method  # that selected
    count: int  # windows
    size: int  # frames per window
    kept: int  # visual tokens that all windows kept, before the pool
    max_tokens: int  # visual tokens that a prompt may have at most, if so many fit
    contiguous: bool  # whether the positions of the tokens that are read close the gaps
    seconds: dict[str, float]  # reading and encoding, by keys of `result.Seconds`
    warnings: tuple[str, ...] = ()  # one sentence each
    _at_most: dict[int, PooledTokens] = field(default_factory=dict, repr=False, compare=False)

    def check(self, method: Method) -> None:
        """Check that a question is asked by the method that selected."""
        if method != self.method:
            raise UsageError(
                f"this video was read in windows, by the method {self.method.name}, and its frames "
                "are gone; ask again with the other --method"
            )

    def prompt(
        self, loaded: LoadedModel, video: VideoPrompt, ids: torch.Tensor, max_new_tokens: int
    ) -> Callable[[], Prompt]:
        """The prompt of a question, made when it is called for.

        Args:
            loaded: the model.
            video: the whole video, without pixels.
            ids: `[1, S]`, int64: the whole prompt.
            max_new_tokens: of the answer.

        Raises:
            UsageError: the text alone is longer than the model's context.
        """
        room = room_for_video(loaded.context_length, ids.shape[1] - video.visual, max_new_tokens)
        cap = min(room, self.max_tokens)

        def make() -> Prompt:
            if cap not in self._at_most:
                self._at_most[cap] = self.tokens.at_most(cap, video.tokens_per_frame)
            return short_prompt(
                loaded.model,
                loaded.family,
                video,
                ids,
                self._at_most[cap],
                self.tail,
                cap,
                contiguous=self.contiguous,
            )

        return make

    def reported(self, preselection: Preselection) -> ReportedWindows:
        """As an answer reports it."""
        positions: Literal["kept", "renumbered"] = "renumbered" if self.contiguous else "kept"
        return ReportedWindows(self.count, self.size, self.kept, preselection.cap, positions)


def read_windows(
    loaded: LoadedModel,
    method: Method,
    planned: ClipLike,
    windows: Iterable[FrameWindow],
    size: int,
    *,
    max_tokens: int | None = None,
    max_new_tokens: int = 1,
    contiguous: bool = False,
    cache: VisualCache | None = None,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> WindowedVideo:
    """Encode a video window by window, as they come.

    Args:
        planned: the frames that are about to come: their times, and their shape alone.
        max_tokens: visual tokens that are kept at most; None for those of one window (of 32 frames,
            as many as `--frames` reads by default), for a context that is filled answers worse
            (docs/results.md, "Long videos").
        cache: of encoded windows on disk, or None.
    """
    if loaded.family.stock_inputs:
        raise UsageError(
            f"{loaded.name} can't be shown a video in windows: its processor reads all frames at "
            "once; use fewer --frames, without --max-tokens"
        )
    began, encoding = time.perf_counter(), 0.0
    with faults_of(loaded), memory_faults(RunningStage(), method, loaded.model):
        whole = show(loaded.processor, loaded.family, loaded.model.config, planned)
        per_frame = whole.tokens_per_frame
        # Any question is longer, so that no video is read for which there is no room.
        text = whole.input_ids("").shape[1] - whole.visual
        room_for_video(loaded.context_length, text, max_new_tokens)
        if max_tokens is None:
            max_tokens = whole.tokens.frames_in_window(len(planned.timestamps_s), size) * per_frame
        cap = min(loaded.context_length, max_tokens)
        pool = Pool(cap, per_frame)
        frames, count, kept, warning = 0, 0, 0, None
        so_far: tuple[torch.Tensor, ...] = ()

        def read_next(window: FrameWindow) -> ReadWindow:
            report = partial(_report, on_frames, frames, whole.frames)
            shared = cache if loaded.identity else None
            return read_window(loaded, method, whole, window, frames, so_far, shared, report)

        # By `map`, so that nothing here holds a window while the next one is waited for.
        for done in map(read_next, windows):
            started = time.perf_counter()
            pool.add(done.tokens)
            tail, so_far, warning = done.tail, done.so_far, done.warning
            kept, frames, count = kept + len(done.tokens), frames + done.frames, count + 1
            encoding += done.seconds + time.perf_counter() - started
    waiting = time.perf_counter() - began - encoding
    return WindowedVideo(
        tokens=pool.tokens(),
        tail=tail,
        method=method,
        count=count,
        size=size,
        kept=kept,
        max_tokens=max_tokens,
        contiguous=contiguous or method.renumbers(),
        seconds={"video_decode": waiting, "vision": encoding},
        warnings=() if warning is None else (warning,),
    )


def _report(
    on_frames: Callable[[int, int], None], before: int, frames: int, done: int, _: int
) -> None:
    """Count on from the windows before."""
    on_frames(before + done, frames)
