"""`--estimate`: what an answer would cost, from configuration and video alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.cli import output, render
from dycoke_cli.cli.param_flags import speaking_of_flags
from dycoke_cli.errors import UsageError
from dycoke_cli.json_schema import to_dict
from dycoke_cli.models.resolve import find
from dycoke_cli.request import Request

if TYPE_CHECKING:
    from dycoke_cli.engine.cost import Cost

Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Load nothing: print the tokens, memory and FLOPs of an answer. They follow from the "
        "model's configuration and the video.",
        rich_help_panel="Output",
    ),
]


def cost_of_video(video: str, request: Request) -> Cost:
    """What an answer about a video would cost; the frames aren't decoded.

    Args:
        video: a path, or - for stdin.
        request: how it would be asked.

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
    return cost_of_frames(request, len(plan.times_s), plan.info.height, plan.info.width, video)


def cost_of_frames(
    request: Request, frames: int, height: int, width: int, video: str | None = None
) -> Cost:
    """What an answer about so many frames would cost.

    Args:
        request: how it would be asked.
        frames: that are shown.
        height: of each, in pixels.
        width: of each, in pixels.
        video: as it was given.

    Raises:
        ModelError: there is no such model, or nothing is known of it here.
        UsageError: something doesn't fit the model.
    """
    from dycoke_cli.engine.cost import clip_tokens, estimate_cost
    from dycoke_cli.models.memory import this_machine

    source = find(request.model)
    with speaking_of_flags():
        return estimate_cost(
            source,
            clip_tokens(source, frames, height, width),
            request.method,
            request.loading,
            request.generation.max_new_tokens,
            this_machine(),
            video,
        )


def show_cost(cost: Cost, as_json: bool) -> None:
    """Print what an answer would cost: a table, or the object."""
    if as_json:
        output.write_json(to_dict(cost))
    else:
        render.cost_table(cost)
