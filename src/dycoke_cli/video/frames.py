"""Frames of a clip as they arrive: resized for the model, and kept or handed on in windows.

A vision tower reads a 4K frame at 384 × 384 or so. So each frame is resized as soon as it arrives,
and the decoded one is dropped. The resize is that of the model's stock processor
(`models/prompts/stock_prompt.py`). It runs in this process and not in the one that decodes, because
importing torch there takes ten times as long and as much memory as decoding a clip.

A window is decoded while the one before it is encoded. No more than these two and one that waits
are in memory, however long the video is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.video.clip import Clip, FramePlan, FrameResize
from dycoke_cli.video.limits import Limits, check_clip

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.video.sampling import Sampling
    from dycoke_cli.video.subtitles import Subtitles

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

    def several(self, frames: int) -> bool:
        """Whether a video of so many frames is more than one window."""
        return frames > self.size

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
        fit: resize of the model's processor, which is waited for; None keeps decoded frames.
        windows: where frames are handed on; None to keep all.

    Attributes:
        count: number of frames that are planned.
        times_s: times of the frames so far, in seconds from the video's first frame.

    Raises:
        VideoError: they take more memory than the limit.
    """

    def __init__(
        self,
        plan: FramePlan,
        sampling: Sampling,
        fit: Future[Fit] | None,
        windows: WindowQueue | None = None,
    ) -> None:
        import numpy as np

        self._plan, self._sampling, self._fit, self._windows = plan, sampling, fit, windows
        self.count = len(plan.times_s)
        # Frames in memory: all of a clip, or those of the window that is being filled.
        self._most = self.count if windows is None else min(self.count, windows.size)
        self._size = plan.height, plan.width
        self._resize = None if fit is None else fit.result()(self.count, *self._size)
        height, width = self._shape
        check_clip(plan.info.path, (width, height), self._most, sampling.fps is not None)
        self.times_s: list[float] = []
        self._kept, self._filled = self._new(), 0  # of which so many are filled
        self._room = None if self._resize is None else np.empty((*self._size, 3), np.uint8)

    @property
    def waits(self) -> bool:
        """Whether `hand_on` has to be called before the next frame."""
        return self._windows is not None and self._filled == self._most

    def admit(self, limits: Limits, admit: Callable[[int], None], more: int) -> None:
        """Check and admit the memory of the frames.

        Args:
            more: bytes that reading takes beside them.
        """
        held = self._kept.nbytes * (1 if self._windows is None else WINDOWS_HELD)
        info, needed = self._plan.info, held + more
        limits.check_memory(info.path, (info.width, info.height), needed, self.count)
        admit(needed)

    @property
    def _shape(self) -> tuple[int, int]:
        return self._size if self._resize is None else self._resize.size

    def _new(self) -> np.ndarray:
        import numpy as np

        return np.empty((self._most, *self._shape, 3), np.uint8)

    def hand_on(self) -> None:
        """Hand on a window, once the one before it was taken."""
        assert self._windows is not None, "checked before"
        self._windows.put(self._kept[: self._filled], self._resize)
        self._kept, self._filled = self._new(), 0

    def room(self) -> np.ndarray:
        """Array `[H, W, 3]`, uint8, that the next frame is written to; then call `keep`."""
        return self._kept[self._filled] if self._room is None else self._room

    def keep(self, time_s: float) -> None:
        """Keep the frame that was written, which is displayed at a time."""
        self.times_s.append(time_s)
        if self._resize is not None and self._room is not None:
            self._kept[self._filled] = self._resize(self._room)
        self._filled += 1

    def clip(self, warnings: tuple[str, ...], subtitles: Subtitles | None = None) -> Clip:
        """The clip, once all frames came; of frames that were handed on only the shape is left.

        There may be fewer than planned, where some can't be decoded. A processor that reads so few
        at another size resizes these.
        """
        count, window, resize = len(self.times_s), None, self._resize
        frames = self._kept[:count]
        if self._windows is not None:
            if self._filled:
                self.hand_on()
            frames, window = shape_alone(count, self._shape), self._windows.size
        elif self._fit is not None and count < self.count:
            resize = resize if resize == self._fit.result()(count, *self._size) else None
        return Clip(
            frames,
            tuple(self.times_s),
            self._plan.info,
            warnings,
            subtitles,
            part_s=self._sampling.part_s(self._plan.info.duration_s),
            resize=resize,
            window=window,
        )


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
