"""`--estimate`: what an answer would cost, from configuration and video alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.cli import output, render
from dycoke_cli.cli.param_flags import speaking_of_flags
from dycoke_cli.errors import UsageError
from dycoke_cli.json_schema import to_dict
from dycoke_cli.models.resolve import find
from dycoke_cli.request import Request

if TYPE_CHECKING:
    from dycoke_cli.engine.memory.cost import Cost

Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Load nothing: print the tokens, memory and FLOPs of an answer. They follow from the "
        "model's configuration and the video.",
        rich_help_panel="Output",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Estimate for a device with so much memory, such as 8GB or 24GiB; the one that "
        "--device names need not be on this machine. Default: what is free here.",
        show_default=False,
        rich_help_panel="Output",
    ),
]


def check_memory(memory: str | None, estimate: bool) -> None:
    """Refuse --memory where nothing is estimated.

    Raises:
        UsageError: it is given without --estimate.
    """
    if memory is not None and not estimate:
        raise UsageError("--memory is for estimates: add --estimate, or leave it out")


def cost_of_video(video: str, request: Request, memory: str | None = None) -> Cost:
    """What an answer about a video would cost; the frames aren't decoded.

    Args:
        video: a path, or - for stdin.
        request: how it would be asked.
        memory: of the device, as `--memory` takes it; None for what is free.

    Raises:
        VideoError: the video can't be read.
        ModelError: there is no such model, or nothing is known of it here.
        UsageError: something doesn't fit the model or the video.
    """
    from dycoke_cli.video.stdin import open_given

    if request.subtitles is not None:
        raise UsageError("--estimate can't count the tokens of subtitles; leave out --subtitles")
    find(request.model)
    with open_given(video, request.sampling) as reader:
        plan = reader.plan
    info = plan.info
    return cost_of_frames(
        request, len(plan.times_s), info.height, info.width, video, memory, plan.times_s
    )


def cost_of_frames(
    request: Request,
    frames: int,
    height: int,
    width: int,
    video: str | None = None,
    memory: str | None = None,
    times_s: Sequence[float] = (),
) -> Cost:
    """What an answer about so many frames would cost.

    Args:
        request: how it would be asked.
        frames: that are shown.
        height: of each, in pixels.
        width: of each, in pixels.
        video: as it was given.
        memory: of the device, as `--memory` takes it; None for what is free.
        times_s: of the frames, where there is a video.

    Raises:
        ModelError: there is no such model, or its configuration can't be read.
        UsageError: something doesn't fit the model.
    """
    from dycoke_cli.engine.memory.estimating import clip_tokens, estimate_cost
    from dycoke_cli.models.memory import this_machine
    from dycoke_cli.models.target import Target, parse_memory

    source, loading = find(request.model), request.loading
    given = None if memory is None else parse_memory(memory)
    target = Target.of(loading.device, given, this_machine())
    with speaking_of_flags():
        return estimate_cost(
            source,
            clip_tokens(source, frames, height, width, loading.revision),
            request.method,
            loading,
            request.generation.max_new_tokens,
            target,
            video,
            times_s=times_s,
            frame_bytes=height * width * 3,
        )


def show_cost(cost: Cost, as_json: bool) -> None:
    """Print what an answer would cost: a table, or the object."""
    if as_json:
        output.write_json(to_dict(cost))
    else:
        for warning in cost.warnings:
            render.warning(warning)
        render.cost_table(cost)
