"""Whether a video is read in windows, and reading it so while it is decoded.

With `--max-tokens` it is; and where what a method keeps of all frames doesn't fit the model's
context, so that it could only be refused otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dycoke_cli.compression.bound import BoundMethod, is_windowed
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.errors import UsageError
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.frame_windows import WindowQueue, window_size
from dycoke_cli.video.kept_frames import shape_alone

if TYPE_CHECKING:
    from dycoke_cli.engine.visual_cache import VisualCache
    from dycoke_cli.engine.windowed_video import WindowedVideo
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.request import Request
    from dycoke_cli.runs.listener import Listener
    from dycoke_cli.video.clip import Plan


def windows_for(
    request: Request,
    plans: Sequence[Plan],
    check_whole: Callable[[Plan], None],
    *,
    whole: bool,
) -> WindowQueue | None:
    """Windows of a video; None where all its frames are held at once.

    Args:
        request: how it is asked about.
        plans: frames of each video that is shown.
        check_whole: raises a UsageError where all that is kept of the frames doesn't fit the
            model's context.
        whole: whether it is also asked about without compression, or its frames are shown.

    Raises:
        UsageError: the request can't be answered from windows, or from all frames.
    """
    why_not = _why_not(request, len(plans), whole=whole)
    if request.max_tokens is not None and why_not is not None:
        raise UsageError(why_not)
    if request.max_tokens is None:
        try:
            for plan in plans:
                check_whole(plan)
        except UsageError:
            if why_not is not None:
                raise
        else:
            return None
    return WindowQueue(window_size(len(plans[0].times_s)))


def _why_not(request: Request, videos: int, *, whole: bool) -> str | None:
    """A sentence where a request can't be answered from windows."""
    method = request.method
    if not is_windowed(type(method)):
        return (
            f"the method {method.name} needs the whole video at once, and max_tokens reads it in "
            f"windows; use one of --method {', '.join(windowed_methods())}"
        )
    if videos > 1:
        return "max_tokens takes one video: leave it out, or name one"
    if whole:
        return (
            "--compare asks about all tokens, and of a video that max_tokens reads in windows only "
            "some are left; drop one of them"
        )
    if request.guard is not None:
        return "--guard asks again with more tokens, and max_tokens limits them; drop one of them"
    return None


def windowed_methods() -> list[str]:
    """Names of the methods that select from each window alone."""
    return [name for name, method in METHODS.items() if is_windowed(method)]


def read_in_windows(
    loaded: LoadedModel,
    method: BoundMethod,
    plan: Plan,
    windows: WindowQueue,
    request: Request,
    listener: Listener,
    cache: VisualCache | None,
) -> WindowedVideo:
    """Encode a video while another thread decodes it.

    Args:
        loaded: the model.
        method: bound to it.
        plan: of the video.
        windows: that the other thread fills.
        request: how it is asked about.
        listener: receives progress.
        cache: of encoded windows on disk, or None.
    """
    from dycoke_cli.engine.windowed_video import read_windows

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
    return read_windows(
        loaded,
        method,
        planned,
        windows,
        windows.size,
        max_tokens=request.max_tokens,
        cache=cache,
        on_frames=lambda done, total: listener.stage("vision", done, total),
    )


def reads_in_windows(count: int, windows: WindowQueue) -> str:
    """A sentence where a video is read in windows although nobody asked for it."""
    return (
        f"{count} frames are read in windows of {windows.size}, and thinned to what fits the "
        "model's context; --max-tokens sets how many visual tokens are kept"
    )
