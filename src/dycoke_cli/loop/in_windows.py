"""Whether a video is read in windows, and reading it so while it is decoded.

With `--video-tokens` it is; and where what a method keeps of all frames doesn't fit the model's
context, so that it could only be refused otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dycoke_cli.compression.method import Method, is_windowed
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.errors import UsageError
from dycoke_cli.video.clip import WINDOW, Clip, WindowQueue, shape_alone

if TYPE_CHECKING:
    from dycoke_cli.engine.vision import VisualCache
    from dycoke_cli.engine.windows import WindowedVideo
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.request import Request
    from dycoke_cli.video.clip import FramePlan


def windows_for(
    request: Request,
    plans: Sequence[FramePlan],
    check_whole: Callable[[FramePlan], None],
    *,
    whole: bool,
) -> WindowQueue | None:
    """Windows of a video; None where all its frames are held at once.

    Args:
        check_whole: raises a UsageError where all that is kept of the frames doesn't fit the
            model's context.
    """
    check_windows(request, len(plans), whole=whole)
    why_not = why_not_in_windows(request, len(plans), whole=whole)
    if request.video_tokens is None:
        try:
            for plan in plans:
                check_whole(plan)
        except UsageError:
            if why_not is not None:
                raise
        else:
            return None
    return WindowQueue(WINDOW)


def check_windows(request: Request, videos: int = 1, *, whole: bool = False) -> None:
    """Check that a request with `video_tokens` can be answered from windows."""
    why_not = why_not_in_windows(request, videos, whole=whole)
    if request.video_tokens is not None and why_not is not None:
        raise UsageError(why_not)


def why_not_in_windows(request: Request, videos: int = 1, *, whole: bool = False) -> str | None:
    """A sentence where a request can't be answered from windows; None where it can."""
    method = request.method
    if not is_windowed(type(method)):
        others = ", ".join(name for name, other in METHODS.items() if is_windowed(other))
        return (
            f"the method {method.name} needs the whole video at once, and video_tokens reads it in "
            f"windows; use one of --method {others}"
        )
    if "frame_attention" in method.needs:
        return (
            "with frames_by question the whole video is read first, and video_tokens reads it in "
            "windows; drop one of them"
        )
    if videos > 1:
        return "video_tokens takes one video: leave it out, or name one"
    if whole:
        return (
            "--compare asks about all tokens, and of a video that video_tokens reads in windows "
            "only some are left; drop one of them"
        )
    return None


def encode_in_windows(
    loaded: LoadedModel,
    method: Method,
    plan: FramePlan,
    windows: WindowQueue,
    request: Request,
    cache: VisualCache | None,
    on_frames: Callable[[int, int], None],
) -> WindowedVideo:
    """Encode a video while another thread decodes it.

    Args:
        windows: that the other thread fills.
        cache: of encoded windows on disk, or None.
    """
    from dycoke_cli.engine.windows import read_windows

    count = len(plan.times_s)
    resize = loaded.fit(count, plan.height, plan.width)
    size = (plan.height, plan.width) if resize is None else resize.size
    planned = Clip(
        frames=shape_alone(count, size),
        timestamps_s=plan.times_s,
        info=plan.info,
        warnings=(),
        part_s=request.sampling.part_s(plan.info.duration_s),
        resize=resize,
        window=windows.size,
    )

    info = loaded.info.in_windows if count > windows.size else loaded.info
    # Methods that drop nothing before the language model have no parameter for what the pool does.
    positions = method.parameters().get("positions", info.defaults["positions"])
    return read_windows(
        loaded,
        method,
        planned,
        windows,
        windows.size,
        video_tokens=request.video_tokens,
        max_tokens=request.generation.max_tokens,
        contiguous=positions == "renumbered",
        cache=cache,
        on_frames=on_frames,
    )


def reads_in_windows(count: int, windows: WindowQueue) -> str:
    """A sentence where a video is read in windows although nobody asked for it."""
    return (
        f"{count} frames are read in windows of {windows.size}, and thinned to as many visual "
        "tokens as one window has; --video-tokens sets how many are kept"
    )
