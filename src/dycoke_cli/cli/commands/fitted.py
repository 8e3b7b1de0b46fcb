"""`--fit` of a command: its videos are opened, and the choice is applied to its request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dycoke_cli.cli.commands.estimate import plan_of_video
from dycoke_cli.cli.flags.param_flags import speaking_of_flags
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.request import Request
from dycoke_cli.video.file_names import STDIN

if TYPE_CHECKING:
    from dycoke_cli.engine.memory.fit import Budget
    from dycoke_cli.runs.fitting import Fitting
    from dycoke_cli.video.clip import FramePlan
    from dycoke_cli.video.pictures import Source


def fitting_of(
    videos: Iterable[Source],
    request: Request,
    budget: Budget,
    *,
    free_method: bool,
    memory: int | None = None,
    questions: Sequence[str] = (),
) -> Fitting:
    """The settings to choose from for videos, of which the largest counts.

    Args:
        videos: at least one; those that can't be read are passed over.
        memory: bytes of the device; None for what is free on this machine.
        questions: of which the longest counts; none where they aren't known.
    """
    from dycoke_cli.runs.fitting import AskedFrames, fitting

    if request.guard is not None:
        raise UsageError("--fit plans one answer, and --guard may ask again; leave one of them out")
    plans: list[FramePlan] = []
    unreadable: VideoError | None = None
    for video in videos:
        if video == STDIN:
            raise UsageError("--fit opens the video twice, and stdin can't be; name a file")
        try:
            plans.append(plan_of_video(video, request))
        except VideoError as error:
            unreadable = unreadable or error
    if unreadable is not None and not plans:
        raise unreadable
    counts = [min(len(one.times_s), one.info.frame_count or len(one.times_s)) for one in plans]
    largest = max(plans, key=lambda one: one.height * one.width)
    longest = max(questions, key=len, default=None)
    asked = AskedFrames(max(counts), largest.height, largest.width, longest)
    with speaking_of_flags():
        return fitting(request, budget, asked, free_method=free_method, memory=memory)
