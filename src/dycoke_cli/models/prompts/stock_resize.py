"""The resize inside a stock processor: found without frames, and answered with resized frames.

Stock processors compute the size of a frame in many ways, and all resize with
`torch.nn.functional.interpolate`. So a processor runs on a stand-in: a tensor of the frames' shape
without any data (device "meta"), which has to look like one on the CPU because processors choose
the interpolation by that. Its one call of `interpolate` is intercepted. In a first run that call
tells the resize; frames are then resized one by one as they are decoded; and in a second run the
call returns them. Everything else is computed from the original shape, by the stock code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate
from torch.overrides import TorchFunctionMode

from dycoke_cli.video.kept_frames import FrameResize

_ARGUMENTS = inspect.signature(interpolate)
_DEVICE_OF = torch.Tensor.device.__get__


class _FoundError(Exception):
    """Ends a processor's first run at its resize."""

    def __init__(self, resize: FrameResize) -> None:
        super().__init__()
        self.resize = resize


class _Intercepted(TorchFunctionMode):
    """Within the block and its thread, the resize of a stand-in is answered by a function."""

    def __init__(self, answer: Callable[[FrameResize, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._answer = answer

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func == _DEVICE_OF:
            return torch.device("cpu")
        if func is not interpolate:
            return func(*args, **(kwargs or {}))
        given = _ARGUMENTS.bind(*args, **(kwargs or {}))
        given.apply_defaults()
        called = given.arguments
        frames = called["input"]
        if not frames.is_meta:
            return func(*args, **(kwargs or {}))
        height, width = called["size"]
        resize = FrameResize(
            source=tuple(frames.shape[-2:]),
            size=(int(height), int(width)),
            mode=called["mode"],
            align_corners=called["align_corners"],
            antialias=bool(called["antialias"]),
            in_float=frames.is_floating_point(),
        )
        return self._answer(resize, frames)


class _WithoutData(_Intercepted):
    """The same where the run goes on: some processors read the size of a frame from an array."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.cpu and args[0].is_meta:
            return torch.zeros((), dtype=args[0].dtype).expand(args[0].shape)
        return super().__torch_function__(func, types, args, kwargs)


def found_resize(
    process: Callable[[torch.Tensor], object], frames: int, height: int, width: int
) -> FrameResize | None:
    """The first resize of a processor's run; None if it resizes nothing, or has to see the pixels.

    Args:
        process: runs the stock processor on frames `[F, 3, H, W]`, uint8.
        frames: F.
        height: H.
        width: W.
    """

    def found(resize: FrameResize, stand_in: torch.Tensor) -> torch.Tensor:
        if tuple(stand_in.shape) != (frames, 3, height, width):
            raise ValueError("frames aren't resized one by one, or not first of all")
        raise _FoundError(resize)

    stand_in = torch.empty(frames, 3, height, width, dtype=torch.uint8, device="meta")
    try:
        with _Intercepted(found):
            process(stand_in)
    except _FoundError as error:
        return error.resize
    # Whatever is wrong with the frames is reported when the processor runs on them.
    except Exception:
        return None
    return None


class OtherResizeError(Exception):
    """A processor resizes frames in another way than they were."""


@contextmanager
def as_video(frames: np.ndarray, resize: FrameResize | None) -> Iterator[torch.Tensor]:
    """Frames as a stock processor takes them; within the block they count as not resized.

    Args:
        frames: `[F, h, w, 3]`, uint8.
        resize: that was applied to them; None if they are as decoded.

    Yields:
        `[F, 3, H, W]`, uint8, H and W before the resize.

    Raises:
        OtherResizeError: the processor resizes frames in another way than `resize`.
    """
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if resize is None:
        yield video
        return

    def resized(requested: FrameResize, stand_in: torch.Tensor) -> torch.Tensor:
        if requested != resize:
            raise OtherResizeError
        return video.float() if requested.in_float else video

    with _Intercepted(resized):
        yield torch.empty(len(frames), 3, *resize.source, dtype=torch.uint8, device="meta")


@contextmanager
def without_data(
    frames: int, size: tuple[int, int], resize: FrameResize | None
) -> Iterator[torch.Tensor]:
    """A stand-in of frames; within the block a stock processor makes a prompt of it, and no pixels.

    Args:
        frames: F.
        size: H and W, before the resize.
        resize: of the frames; None for the processor's own.

    Yields:
        `[F, 3, H, W]`, uint8, without any data. Made from it, pixels have none either.
    """

    def resized(requested: FrameResize, stand_in: torch.Tensor) -> torch.Tensor:
        # A processor may resize in two steps, of which one was made.
        first = resize is not None and requested.source == resize.source
        height, width = resize.size if resize is not None and first else requested.size
        return stand_in.new_empty(*stand_in.shape[:-2], height, width)

    with _WithoutData(resized):
        yield torch.empty(frames, 3, *size, dtype=torch.uint8, device="meta")
