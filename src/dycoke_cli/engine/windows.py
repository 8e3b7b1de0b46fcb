"""A video that is read in windows: each is encoded, selected from and forgotten, one by one.

So the memory that a video takes doesn't grow with its length. What the windows keep goes into a
pool with a cap (`compression/pool.py`), which is all that is known of the video then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch

from dycoke_cli.answer.answer import ReportedWindows
from dycoke_cli.compression.method import Method, SelectionInputs
from dycoke_cli.compression.pool import Pool, PooledTokens
from dycoke_cli.engine.attention import with_tower
from dycoke_cli.engine.context import room_for_video
from dycoke_cli.engine.explaining import faults_of
from dycoke_cli.engine.prefill import short_prompt
from dycoke_cli.engine.selecting import selected
from dycoke_cli.engine.vision import Encoded, Preselection, Prompt, VisualCache, encode_cached
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_processor import ClipLike
from dycoke_cli.models.prompts.stock_prompt import VideoPrompt, show, window_prompt
from dycoke_cli.video.clip import FrameWindow


@dataclass(frozen=True)
class WindowedVideo:
    """What is left of a video that was read in windows."""

    tokens: PooledTokens  # that windows kept and the pool has
    tail: Encoded  # what stands behind the last frame
    method: Method  # that selected
    count: int  # windows
    size: int  # frames per window
    kept: int  # visual tokens that all windows kept, before the pool
    video_tokens: int  # visual tokens that a prompt may have at most, if so many fit
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
        self, loaded: LoadedModel, video: VideoPrompt, ids: torch.Tensor, max_tokens: int
    ) -> Callable[[], Prompt]:
        """The prompt of a question, made when it is called for.

        Args:
            loaded: the model.
            video: the whole video, without pixels.
            ids: `[1, S]`, int64: the whole prompt.
            max_tokens: of the answer.

        Raises:
            UsageError: the text alone is longer than the model's context.
        """
        room = room_for_video(loaded.context_length, ids.shape[1] - video.visual, max_tokens)
        cap = min(room, self.video_tokens)

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
    video_tokens: int | None = None,
    max_tokens: int = 1,
    contiguous: bool = False,
    cache: VisualCache | None = None,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> WindowedVideo:
    """Encode a video window by window, as they come.

    Args:
        planned: the frames that are about to come: their times, and their shape alone.
        video_tokens: that are kept at most; None for those of one window (of 32 frames,
            as many as `--frames` reads by default), for a context that is filled answers worse
            (docs/results.md, "Long videos").
        cache: of encoded windows on disk, or None.
    """
    if loaded.family.stock_inputs:
        raise UsageError(
            f"{loaded.name} can't be shown a video in windows: its processor reads all frames at "
            "once; use fewer frames, without --video-tokens"
        )
    began, encoding = time.perf_counter(), 0.0
    with faults_of(loaded):
        family, config = loaded.family, loaded.model.config
        whole = show(loaded.processor, family, config, planned)
        per_frame = whole.tokens_per_frame
        # Any question is longer, so that no video is read for which there is no room.
        text = whole.input_ids("").shape[1] - whole.visual
        room_for_video(loaded.context_length, text, max_tokens)
        if video_tokens is None:
            video_tokens = (
                whole.tokens.frames_in_window(len(planned.timestamps_s), size) * per_frame
            )
        pool = Pool(min(loaded.context_length, video_tokens), per_frame)
        shared = cache if loaded.identity else None
        frames, kept, warning, tail = 0, 0, None, Encoded(torch.empty(0))
        so_far: tuple[torch.Tensor, ...] = ()

        def read(window: FrameWindow) -> None:
            """Put into the pool what the method keeps of a window."""
            nonlocal encoding, frames, kept, so_far, tail, warning
            started, before = time.perf_counter(), frames
            video = window_prompt(whole, family, config, window)
            encoded, warning = encode_cached(
                loaded,
                video,
                method,
                with_attention="attention" in method.needs,
                cache=shared,
                on_frames=lambda done, _: on_frames(before + done, whole.frames),
            )
            rows, stacked, tokens = encoded.embeddings, encoded.deepstack, video.visual
            features = rows[:tokens].view(video.frames, per_frame, -1)
            so_far = method.so_far(features, so_far)
            inputs = SelectionInputs(
                features, encoded=encoded.kept, merged=encoded.merged, so_far=so_far
            )
            if "attention" in method.needs:
                inputs = with_tower(inputs, encoded.tower)
            with torch.inference_mode():
                selection = selected(method, inputs)
            found = PooledTokens.of_window(selection, rows, stacked, before * per_frame)
            pool.add(found)
            # What stands behind the last frame of all.
            tail = Encoded(rows[tokens:].clone(), tuple(x[tokens:].clone() for x in stacked))
            kept, frames = kept + len(found), before + video.frames
            encoding += time.perf_counter() - started

        # By `map`, so that nothing here holds a window while the next one is waited for.
        count = sum(1 for _ in map(read, windows))
    waiting = time.perf_counter() - began - encoding
    return WindowedVideo(
        tokens=pool.tokens(),
        tail=tail,
        method=method,
        count=count,
        size=size,
        kept=kept,
        video_tokens=video_tokens,
        contiguous=contiguous or method.renumbers(),
        seconds={"video_decode": waiting, "vision": encoding},
        warnings=() if warning is None else (warning,),
    )
