"""Frames of a clip as they are kept: at the size that the model reads, or as they were decoded.

All are kept, or they are handed on in windows, of which no more than a few are in memory.

A vision tower reads a 4K frame at 384 × 384 or so. So each frame is resized as soon as it arrives,
and the decoded one is dropped. The resize is that of the model's stock processor
(`models/prompts/stock_prompt.py`). It runs in this process and not in the one that decodes, because
importing torch there takes ten times as long and as much memory as decoding a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dycoke_cli.video.limits import check_clip

if TYPE_CHECKING:
    import numpy as np

BACKLOG_BYTES = 64 * 1024**2
"""Decoded frames that are held while the model's processor, which knows the size, is loaded."""


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


WINDOWS_HELD = 3
"""Windows in memory: one that is decoded, one that waits, one that is encoded."""


class Windows(Protocol):
    """Takes the frames of a clip in windows."""

    @property
    def size(self) -> int:
        """Frames per window; the last one may have fewer."""

    def put(self, frames: np.ndarray, resize: FrameResize | None) -> None:
        """Take the next window `[W, h, w, 3]`, uint8, and the resize that was applied to it."""


Fit = Callable[[int, int, int], FrameResize | None]
"""Resize for a number of frames of a height and width; None keeps them as they are."""


def known(fit: Fit) -> Future[Fit]:
    """The resize of a model that is loaded."""
    future = Future[Fit]()
    future.set_result(fit)
    return future


class KeptFrames:
    """The frames of one clip, as they arrive.

    Args:
        fit: resize of the model's processor, once that is loaded; None keeps decoded frames.
        windows: where frames are handed on; None to keep all.
    """

    def __init__(
        self,
        name: str,
        count: int,
        size: tuple[int, int],
        fit: Future[Fit] | None,
        *,
        by_rate: bool,
        windows: Windows | None = None,
    ) -> None:
        self._name, self._planned, self._size = name, count, size
        self._fit, self._by_rate, self._windows = fit, by_rate, windows
        # Frames in memory: all of a clip, or those of the window that is being filled.
        self._most = count if windows is None else min(count, windows.size)
        self._resize: FrameResize | None = None
        self._frames: np.ndarray | None = None
        self._waiting: list[np.ndarray] = []
        self._room: np.ndarray | None = None
        self._count = self._handed_on = 0

    def __len__(self) -> int:
        return self._handed_on + self._count + len(self._waiting)

    @property
    def nbytes(self) -> int:
        """Bytes of all frames in memory; before `catch_up`, of those that wait for it at most."""
        if self._frames is not None:
            return self._frames.nbytes * (1 if self._windows is None else WINDOWS_HELD)
        decoded = self._planned * self._size[0] * self._size[1] * 3
        return decoded if self._fit is None else min(decoded, BACKLOG_BYTES)

    @property
    def waits(self) -> bool:
        """Whether `catch_up` has to be called before the next frame."""
        if self._frames is not None:
            return self._windows is not None and self._count == self._most
        held = sum(frame.nbytes for frame in self._waiting)
        return self._fit is None or self._fit.done() or held >= BACKLOG_BYTES

    def catch_up(self) -> None:
        """Wait until the size is known, and resize the frames that waited for it.

        Later on, wait until a full window can be handed on.
        """
        if self._frames is not None:
            if self.waits:
                self._hand_on()
            return
        if self._fit is not None:
            self._resize = self._fit.result()(self._planned, *self._size)
        height, width = self._size if self._resize is None else self._resize.size
        check_clip(self._name, (width, height), self._most, self._by_rate)
        self._frames = self._buffer()
        waiting, self._waiting = self._waiting, []
        for frame in waiting:
            if self.waits:
                self._hand_on()
            self._frames[self._count] = frame if self._resize is None else self._resize(frame)
            self._count += 1
        if self.waits:
            self._hand_on()

    def _buffer(self) -> np.ndarray:
        import numpy as np

        height, width = self._size if self._resize is None else self._resize.size
        return np.empty((self._most, height, width, 3), np.uint8)

    def _hand_on(self) -> None:
        assert self._windows is not None, "checked before"
        assert self._frames is not None, "caught up"
        self._windows.put(self._frames[: self._count], self._resize)
        self._handed_on += self._count
        self._frames, self._count = self._buffer(), 0

    def room(self) -> np.ndarray:
        """Array `[H, W, 3]`, uint8, that the next frame is written to; then call `keep`."""
        import numpy as np

        if self._frames is not None and self._resize is None:
            return self._frames[self._count]
        if self._room is None:
            self._room = np.empty((*self._size, 3), np.uint8)
        return self._room

    def keep(self) -> None:
        """Keep the frame that was written."""
        if self._frames is None:
            assert self._room is not None, "`room` is called first"
            self._waiting.append(self._room)
            self._room = None
            return
        if self._resize is not None:
            assert self._room is not None, "`room` is called first"
            self._frames[self._count] = self._resize(self._room)
        self._count += 1

    def finish(self) -> tuple[np.ndarray, FrameResize | None] | None:
        """The frames `[F, h, w, 3]`, uint8, and their resize; None if it is that of another count.

        There may be fewer frames than planned, and some models read fewer frames at a larger size.
        Of frames that were handed on only the shape is left.
        """
        self.catch_up()
        assert self._frames is not None, "caught up"
        if self._windows is not None:
            if self._count:
                self._hand_on()
            return shape_alone(self._handed_on, self._frames.shape[1:3]), self._resize
        of_fewer = self._resize
        if self._fit is not None and self._count < self._planned:
            of_fewer = self._fit.result()(self._count, *self._size)
        if of_fewer != self._resize:
            return None
        return self._frames[: self._count], self._resize


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
