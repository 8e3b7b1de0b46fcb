"""Results of reading a video: its metadata, the plan, the clip and the frames as they arrive.

A vision tower reads a 4K frame at 384 × 384 or so. So each frame is resized as soon as it arrives,
and the decoded one is dropped. The resize is that of the model's stock processor
(`models/prompts/stock_prompt.py`). It runs in this process and not in the one that decodes, because
importing torch there takes ten times as long and as much memory as decoding a clip.

A window is decoded while the one before it is encoded. No more than these two and one that waits
are in memory, however long the video is. Imports no PyAV.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.answer.json_schema import NOT_A_KEY
from dycoke_cli.video.limits import Limits, check_clip

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.video.sampling import Sampling
    from dycoke_cli.video.subtitles import Subtitles


@dataclass(frozen=True)
class FrameResize:
    """Resize of a decoded frame: one call of `torch.nn.functional.interpolate`."""

    source: tuple[int, int]  # height and width of the decoded frame
    size: tuple[int, int]  # height and width of the resized one
    mode: str  # of the interpolation, such as "bicubic"
    align_corners: bool | None  # of the interpolation
    antialias: bool  # of the interpolation
    in_float: bool  # whether it is computed in float32 and rounded; else in uint8

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Resize a frame, uint8 `[H, W, 3]`."""
        import torch
        from torch.nn.functional import interpolate

        picture = torch.from_numpy(frame).permute(2, 0, 1)[None]
        resized = interpolate(
            picture.float() if self.in_float else picture,
            self.size,
            mode=self.mode,
            align_corners=self.align_corners,
            antialias=self.antialias,
        )
        if self.in_float:
            resized = resized.round().clamp(0, 255).to(torch.uint8)
        return resized[0].permute(1, 2, 0).numpy()


@dataclass(frozen=True)
class StreamInfo:
    """A video stream of the container."""

    index: int  # its number in the container, as `--stream` takes it
    codec: str  # name of its codec
    width: int  # in pixels as stored, before turning
    height: int  # in pixels as stored, before turning
    default: bool  # whether the container marks it as the default


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Metadata of a video."""

    path: Annotated[str, NOT_A_KEY]  # the file, escaped for a terminal
    container: str  # FFmpeg's name of the container format
    stream: int  # index of the video stream that is read
    codec: str  # name of its codec
    width: int  # in pixels as shown: turned, and with square pixels
    height: int  # in pixels as shown
    fps: float | None = None  # average frames per second, None where the file doesn't say
    # whether frames are unevenly spaced, None of a live source
    variable_rate: bool | None = None
    frame_count: int | None = None  # number of frames, None of a live source
    # length in seconds, measured: the end of the last frame that is really there. None of a live
    # source.
    duration_s: float | None = None
    # time of the first frame in the file's own clock; all other times count from there
    start_s: float = 0.0
    # by which the first frame comes after the start of the file, from which players count
    lead_s: float = 0.0
    hdr: bool = False  # whether brightness is coded for HDR screens (PQ or HLG)
    # all video streams of the container, cover art left out
    video_streams: tuple[StreamInfo, ...] = ()
    audio_streams: int = 0  # number of audio streams
    subtitle_streams: int = 0  # number of subtitle streams


@dataclass(frozen=True)
class FramePlan:
    """Frames that would be read, determined by decoding the first one only."""

    # wanted times in seconds from the first frame, ascending; the frames nearest to them are read,
    # each once, so there may be fewer frames
    times_s: tuple[float, ...]
    width: int  # of a frame as it is read, in pixels: that of `info`, or less where it is scaled
    height: int  # likewise
    info: VideoInfo  # what is known of the video, its `duration_s` measured
    warnings: tuple[str, ...]  # one sentence each


@dataclass(frozen=True)
class Clip:
    """Frames that were read, with subtitles."""

    # RGB as displayed, uint8 [F, H, W, 3], at least one frame; at the size of the plan, or as
    # `resize` left them
    frames: np.ndarray
    # presentation times of the frames in seconds from the video's first frame, [F], ascending
    timestamps_s: tuple[float, ...]
    info: VideoInfo  # metadata of the video, with a measured `duration_s`
    warnings: tuple[str, ...]  # one sentence each
    # lines that are displayed at these frames; None if not requested, or the video has none
    subtitles: Subtitles | None = None
    # start and end of the sampled part (`--start`, `--end`), in seconds from the video's first
    # frame; None for the whole video
    part_s: tuple[float, float] | None = None
    # of the model that the frames are for; None if they are as decoded
    resize: FrameResize | None = None
    # frames per window, where they were handed on in windows: then `frames` has their shape alone.
    # None for a clip that has its frames.
    window: int | None = None
    # of a live source, the parts that were skipped before this one; else None
    dropped: int | None = None


WINDOW = 32
"""Frames of a window, however long the video is: as many as are sampled by default, which so are
one window; a multiple of pairs of frames, and of the windows of merging methods. Of 1,024 frames,
windows of 32 answered better than of 8; windows of 64 take 40 MB more of the bundled model."""
WINDOWS_HELD = 3
"""Windows in memory: one that is decoded, one that waits, one that is encoded."""


Fit = Callable[[int, int, int], FrameResize | None]
"""Resize for a number of frames of a height and width; None keeps them as they are."""


def known(fit: Fit) -> Future[Fit]:
    """The resize of a model that is loaded."""
    future = Future[Fit]()
    future.set_result(fit)
    return future


@dataclass(frozen=True)
class FrameWindow:
    """Consecutive frames of a video."""

    frames: np.ndarray  # `[W, h, w, 3]`, uint8, RGB
    resize: FrameResize | None  # that was applied to them; None if they are as decoded


class ClosedError(Exception):
    """Nobody takes windows any more."""


class WindowQueue:
    """A place for one window: it is put there by one thread, and taken by another.

    Attributes:
        size: frames per window; the last one may have fewer.
        began: whether a window was taken.
    """

    def __init__(self, size: int) -> None:
        self.size, self.began = size, False
        self._changed = threading.Condition()
        self._waiting: FrameWindow | None = None
        self._ended = self._closed = False

    def put(self, frames: np.ndarray, resize: FrameResize | None) -> None:
        """Put a window, once the one before it was taken.

        Args: as of `FrameWindow`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or self._closed)
            if self._closed:
                raise ClosedError
            self._waiting = FrameWindow(frames, resize)
            self._changed.notify_all()

    def end(self) -> None:
        """Note that no more windows come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Note that no more windows are taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[FrameWindow]:
        """Itself: a generator would hold a window until the next one is there."""
        return self

    def __next__(self) -> FrameWindow:
        """Take the next window, once it is there."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._ended)
            window, self._waiting = self._waiting, None
            self._changed.notify_all()
        if window is None:
            raise StopIteration
        self.began = True
        return window


class Frames:
    """The frames of one clip, as they arrive; the only maker of a `Clip`.

    Args:
        fit: resize of the model's processor, which the first frame waits for; None keeps decoded
            frames.
        windows: where frames are handed on; None to keep all.

    Attributes:
        count: number of frames that are planned.
        times_s: times of the frames so far, in seconds from the video's first frame.
    """

    def __init__(
        self,
        plan: FramePlan,
        sampling: Sampling,
        fit: Future[Fit] | None,
        windows: WindowQueue | None = None,
    ) -> None:
        self._plan, self._sampling, self._fit, self._windows = plan, sampling, fit, windows
        self.count, self.times_s = len(plan.times_s), list[float]()
        # Frames in memory: all of a clip, or those of the window that is being filled.
        self._most = self.count if windows is None else min(self.count, windows.size)
        self._size = plan.height, plan.width
        self._filled = 0  # so many of `_kept`

    @cached_property
    def _resize(self) -> FrameResize | None:
        # The processor may still be loading: it is waited for by the thread that draws frames,
        # where their size is first needed, and not by the one that makes this.
        resize = None if self._fit is None else self._fit.result()(self.count, *self._size)
        height, width = self._size if resize is None else resize.size
        by_rate = self._sampling.fps is not None
        check_clip(self._plan.info.path, (width, height), self._most, by_rate)
        return resize

    @cached_property
    def _kept(self) -> np.ndarray:
        return self._empty(self._most, *self._shape)

    @cached_property
    def _decoded(self) -> np.ndarray:
        return self._empty(*self._size)

    @property
    def waits(self) -> bool:
        """Whether `hand_on` has to be called before the next frame."""
        return self._windows is not None and self._filled == self._most

    def admit(self, limits: Limits, admit: Callable[[int], None], more: int) -> None:
        """Check and admit the memory of the frames, before it is taken.

        Args:
            more: bytes that reading takes beside them.

        Raises:
            VideoError: they take more memory than the limit.
        """
        frames = self._most * (1 if self._windows is None else WINDOWS_HELD)
        info, needed = self._plan.info, frames * math.prod(self._shape) * 3 + more
        limits.check_memory(info.path, (info.width, info.height), needed, self.count)
        admit(needed)

    @property
    def _shape(self) -> tuple[int, int]:
        return self._size if self._resize is None else self._resize.size

    @staticmethod
    def _empty(*size: int) -> np.ndarray:
        import numpy as np

        return np.empty((*size, 3), np.uint8)

    def hand_on(self) -> None:
        """Hand on a window, once the one before it was taken."""
        assert self._windows is not None, "checked before"
        kept, self._filled = self._kept[: self._filled], 0
        del self._kept  # the next window has another array
        self._windows.put(kept, self._resize)

    def room(self) -> np.ndarray:
        """Array `[H, W, 3]`, uint8, that the next frame is written to; then call `keep`."""
        return self._kept[self._filled] if self._resize is None else self._decoded

    def keep(self, time_s: float) -> None:
        """Keep the frame that was written, which is displayed at a time."""
        self.times_s.append(time_s)
        if self._resize is not None:
            self._kept[self._filled] = self._resize(self._decoded)
        self._filled += 1

    def clip(self, warnings: tuple[str, ...], subtitles: Subtitles | None = None) -> Clip:
        """The clip, once all frames came; of frames that were handed on only the shape is left.

        There may be fewer than planned, where some can't be decoded. A processor that reads so few
        at another size resizes these.
        """
        count, window, resize = len(self.times_s), None, self._resize
        if self._windows is not None:
            if self._filled:
                self.hand_on()
            frames, window = shape_alone(count, self._shape), self._windows.size
        else:
            frames = self._kept[:count]
            if self._fit is not None and count < self.count:
                resize = resize if resize == self._fit.result()(count, *self._size) else None
        info, times = self._plan.info, tuple(self.times_s)
        part = self._sampling.part_s(info.duration_s)
        return Clip(frames, times, info, warnings, subtitles, part, resize, window)


def shape_alone(frames: int, size: Sequence[int]) -> np.ndarray:
    """An array of frames `[F, h, w, 3]`, uint8, that takes no memory: all are the same number."""
    import numpy as np

    return np.broadcast_to(np.uint8(0), (frames, *size, 3))


def decoded_size(clip: Any) -> tuple[int, int]:
    """Height and width of a clip's frames before they were resized for a model.

    Args:
        clip: frames `[F, H, W, 3]` as `frames`; a `Clip` also knows its resize.
    """
    resize: FrameResize | None = getattr(clip, "resize", None)
    height, width = clip.frames.shape[1:3]
    return (height, width) if resize is None else resize.source
