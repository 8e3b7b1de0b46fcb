"""`--estimate`: predicted cost of an answer, from the configuration and the video's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dycoke_cli.answer.answer import ReportedWindows
from dycoke_cli.answer.json_schema import Absent, to_dict
from dycoke_cli.cli import output, render
from dycoke_cli.cli.flags.param_flags import naming, speaking_of_flags
from dycoke_cli.cli.render.units import Quantity, column, count, flops, seconds, share, size
from dycoke_cli.compression.registry import restore, symbols
from dycoke_cli.errors import UsageError
from dycoke_cli.models.catalog import find
from dycoke_cli.request import Request
from dycoke_cli.resources import parse_size
from dycoke_cli.unicode import one_line

if TYPE_CHECKING:
    from dycoke_cli.engine.memory.cost import Cost
    from dycoke_cli.video.clip import FramePlan
    from dycoke_cli.video.pictures import Source

_SIZE, _FLOPS, _SECONDS = (partial(Quantity, shown=unit) for unit in (size, flops, seconds))
_USUAL_SIZE = (224, 224)
_DEVICES = {"cuda": "GPU", "mps": "GPU (MPS)", "cpu": "CPU"}


def cost_of_video(
    video: Source, request: Request, memory: str | None = None, question: str | None = None
) -> Cost:
    """Estimate the cost of an answer about a video, without decoding frames.

    Args:
        memory: memory of the device, as `--memory` takes it; None for the free memory.
        question: the question; None for one of usual length.
    """
    if request.subtitles is not None:
        raise UsageError("--estimate can't count the tokens of subtitles; leave out --subtitles")
    if request.sampling.audio:
        raise UsageError("--estimate can't count the tokens of audio; leave out --audio")
    plan = plan_of_video(video, request)
    name = video if isinstance(video, str) else video[0]
    return cost_of_frames(
        request, len(plan.times_s), plan.height, plan.width, name, memory, plan.times_s, question
    )


def plan_of_video(video: Source, request: Request) -> FramePlan:
    """Plan the frames of a video, without decoding them."""
    from dycoke_cli.video.decoder import Decoder

    entry = find(request.model).entry  # an unknown model is reported before the video is opened
    # Tokens that the catalog doesn't tell are counted on blank frames, which are as limited as
    # decoded ones.
    fitted = entry is not None and entry.clip_tokens(1, *_USUAL_SIZE) is not None
    with (
        Decoder(request.limits) as decoder,
        decoder.open(video, request.sampling, fitted=fitted) as opened,
    ):
        return opened.plan


def cost_of_frames(
    request: Request,
    frames: int,
    height: int,
    width: int,
    video: str | None = None,
    memory: str | None = None,
    times_s: Sequence[float] = (),
    question: str | None = None,
) -> Cost:
    """Estimate the cost of an answer about a number of frames.

    Args:
        memory: memory of the device, as `--memory` takes it; None for the free memory.
        question: the question; None for one of usual length.
    """
    from dycoke_cli.engine.memory.cost import clip_tokens, estimate_cost
    from dycoke_cli.loop.in_windows import check_windows
    from dycoke_cli.models.free_memory import Target, this_machine

    source, loading = find(request.model), request.loading
    with naming("--memory"):
        device_memory = None if memory is None else parse_size(memory)
    target = Target.of(loading.device, device_memory, this_machine())
    with speaking_of_flags():
        check_windows(request)
        # `frame_bytes`: a decoded frame is RGB, one byte per channel.
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
            max_tokens=request.max_tokens,
            question=question,
        )


def show_cost(cost: Cost, as_json: bool) -> None:
    """Print an estimate as a table or a JSON object."""
    if as_json:
        output.write_json(to_dict(cost))
    else:
        for warning in cost.warnings:
            render.warning(warning)
        render.to_stdout(_table(cost))


def _table(estimated: Cost) -> Group:
    """Table of the cost with and without compression."""
    tokens, memory, compute = estimated.tokens, estimated.bytes, estimated.flops
    method = restore(estimated.method)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    parameters = " ".join(symbols(method, tokens.visual_kept))
    table.add_row("", "baseline", method.title, "ratio")
    rows: list[tuple[str, float, float, Callable[[float], str | Quantity]]] = [
        ("Visual tokens at prefill", tokens.visual, tokens.visual_kept, count),
        ("Visual tokens attended per step", tokens.visual, tokens.visual_read_per_step, count),
        ("KV cache", memory.kv_cache_uncompressed, memory.kv_cache, _SIZE),
        ("Peak memory, weights included", memory.peak_uncompressed, memory.peak, _SIZE),
        (
            "Prefill FLOPs",
            compute.prefill_uncompressed,
            compute.prefill,
            _FLOPS,
        ),
        ("Decode FLOPs", compute.decode_uncompressed, compute.decode, _FLOPS),
    ]
    before, after = estimated.seconds_uncompressed, estimated.seconds
    if before is not None and after is not None:
        if before.total is not None and after.total is not None:
            rows.append(("Vision, prefill and decode", before.total, after.total, _SECONDS))
        else:
            rows.append(("Prefill and decode", before.answering, after.answering, _SECONDS))
    for name, plain, compressed, shown in rows:
        cells = column([shown(plain), shown(round(compressed) if shown == count else compressed)])
        table.add_row(name, *cells, share(compressed, plain))
    frames = f"{count(tokens.frames)} × {count(tokens.per_frame)} visual tokens"
    title = (
        f"{one_line(estimated.model)}, {estimated.dtype}, {_DEVICES[estimated.device]}: weights "
        f"{size(memory.weights)}"
    )
    notes = (
        f"{method.title} {parameters}".rstrip() + ". FLOPs by the paper's formula, of the language "
        f"model, decode of {count(estimated.max_new_tokens)} tokens; all with {count(tokens.text)} "
        "text tokens, as assumed."
    )
    if not isinstance(estimated.windows, Absent):
        notes += f" {_windows(estimated.windows)}"
    if after is not None:
        notes += " Time from this machine's measured kernels, without loading."
    if estimated.no_seconds is not None:
        what = "No seconds" if after is None else "No seconds of the vision tower"
        notes += f" {what}: {estimated.no_seconds}."
    return Group(
        Text(f"{title}; {frames}", style="bold"),
        table,
        Text(_verdict(estimated)),
        Text(notes, style="dim"),
    )


def _windows(windows: ReportedWindows) -> str:
    kept, most = count(windows.visual_kept), count(windows.max_tokens)
    read = f"{count(windows.count)} windows of {count(windows.frames)} frames"
    return f"Read in {read}, which keep {kept} tokens; of these at most {most} are read."


def _verdict(estimated: Cost) -> str:
    """Sentence: whether the answer fits memory and context, and which changes would make it fit."""
    context, problems = estimated.context, []
    if not context.fits:
        problems.append(
            f"{count(context.needed)} tokens are longer than the model's context of "
            f"{count(context.length or 0)}"
        )
    if estimated.fits == "no":
        assert estimated.free is not None, "else it isn't known"
        taken = estimated.bytes
        problems.append(
            f"{size(taken.peak)} and a reserve of {size(taken.reserve)} don't fit the "
            f"{size(estimated.free)} of memory"
        )
    if problems:
        ways = " or ".join(estimated.would_fit)
        return f"Doesn't fit: {', and '.join(problems)}" + (f"; {ways} would." if ways else ".")
    if estimated.fits is None:
        return "How much memory the device has isn't known: --memory 8GB says it."
    where = "the GPU" if estimated.fits == "gpu" else "main memory"
    on_device = (estimated.fits == "gpu") == (estimated.device != "cpu")
    free = f" ({size(estimated.free)})" if on_device and estimated.free is not None else ""
    hint = "" if on_device else ", not the GPU: add --device cpu"
    return f"Fits {where}{free}{hint}."
