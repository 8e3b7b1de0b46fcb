"""`--estimate`: predicted cost of an answer, from the configuration and the video's size."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dycoke_cli.answer.answer import ReportedWindows
from dycoke_cli.answer.json_schema import Absent, to_dict
from dycoke_cli.cli import output, render
from dycoke_cli.cli.flags.param_flags import speaking_of_flags
from dycoke_cli.cli.render.figures import Column, as_name, table
from dycoke_cli.cli.render.units import column, count, counted, flops, share, size
from dycoke_cli.compression.registry import restore, symbols
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.loop.in_windows import check_windows, why_not_in_windows
from dycoke_cli.models.catalog import find
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.request import Request
from dycoke_cli.unicode import display_name, one_line
from dycoke_cli.video.frames import WINDOW

if TYPE_CHECKING:
    from dycoke_cli.ask import Ask, Footage
    from dycoke_cli.cli.render.view import View
    from dycoke_cli.engine.memory.cost import Cost
    from dycoke_cli.video.clip import FramePlan
    from dycoke_cli.video.pictures import Source

_FIGURES = (
    ("Visual tokens at prefill", count, "tokens", "visual", "visual_kept"),
    ("Visual tokens attended per step", count, "tokens", "visual", "visual_read_per_step"),
    ("KV cache", size, "bytes", "kv_cache_uncompressed", "kv_cache"),
    ("Peak memory, weights included", size, "bytes", "peak_uncompressed", "peak"),
    ("Prefill FLOPs", flops, "flops", "prefill_uncompressed", "prefill"),
    ("Decode FLOPs", flops, "flops", "decode_uncompressed", "decode"),
)
"""Figures of an estimate: heading, unit, group, and names of the baseline's and the method's."""
_USUAL_SIZE = (224, 224)
_ROWS = 20  # videos that it lists
_MOST_OF_UNIT = 90
_TIME = "Time by FLOPs, at the rate of a matrix product on this machine, without loading."
_DEVICES = {"cuda": "GPU", "mps": "GPU (MPS)", "cpu": "CPU"}


def cost_of_video(
    video: Source,
    request: Request,
    question: str | None = None,
    *,
    questions: int = 1,
    in_windows: bool = False,
) -> tuple[FramePlan, Cost]:
    """Plan the frames of a video, and estimate the cost of an answer, without decoding them.

    Args:
        in_windows: whether frames that don't fit the context are read in windows, as by `ask`.
        question: the question; None for one of usual length.
        questions: number of questions, by which time and memory grow.
    """
    if request.subtitles is not None:
        raise UsageError("--estimate can't count the tokens of subtitles; leave out --subtitles")
    if request.sampling.audio:
        raise UsageError("--estimate can't count the tokens of audio; leave out --audio")
    plan = plan_of_video(video, request)
    name = video if isinstance(video, str) else video[0]
    frames = (len(plan.times_s), plan.height, plan.width, name, plan.times_s, question)
    cost = cost_of_frames(request, *frames, questions=questions)
    if in_windows and not cost.context.fits and why_not_in_windows(request) is None:
        found = ClipTokens(cost.tokens.frames, cost.tokens.per_frame)
        cap = found.frames_in_window(len(plan.times_s), WINDOW) * found.per_frame
        with suppress(UsageError):  # of a model that can't be shown windows
            cost = cost_of_frames(replace(request, max_tokens=cap), *frames, questions=questions)
    return plan, cost


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
    times_s: Sequence[float] = (),
    question: str | None = None,
    questions: int = 1,
) -> Cost:
    """Estimate the cost of an answer about a number of frames.

    Args:
        question: the question; None for one of usual length.
        questions: number of questions, by which time and memory grow.
    """
    from dycoke_cli.engine.memory.cost import clip_tokens, estimate_cost
    from dycoke_cli.models.devices import Target, this_machine

    source, loading = find(request.model), request.loading
    target = Target.of(loading.device, this_machine())
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
            questions=questions,
        )


def show_cost(cost: Cost, as_json: bool) -> None:
    """Print an estimate as a table or a JSON object."""
    for warning in () if as_json else cost.warnings:
        render.warning(warning)
    output.show(cost, as_json, _table)


def _table(estimated: Cost) -> Group:
    """Table of the cost with and without compression."""
    tokens, memory = estimated.tokens, estimated.bytes
    method = restore(estimated.method)
    parameters = " ".join(symbols(method))
    rows = []
    for heading, unit, group, *pair in _FIGURES:
        plain, compressed = (getattr(getattr(estimated, group), key) for key in pair)
        compressed = round(compressed) if unit is count else compressed
        rows.append([heading, *column([plain, compressed], unit), share(compressed, plain)])
    figures = table(
        rows,
        (
            Column("", itemgetter(0), as_name),
            Column("baseline", itemgetter(1)),
            Column(method.title, itemgetter(2)),
            Column("ratio", itemgetter(3)),
        ),
    )
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
    verdict = _verdict(estimated)
    if estimated.seconds is not None:
        verdict += f" Takes about {spelled(estimated.seconds)}."
        notes += f" {_TIME}"
    return Group(
        Text(f"{title}; {frames}", style="bold"), figures, Text(verdict), Text(notes, style="dim")
    )


@dataclass(frozen=True)
class VideoCost:
    """Cost of the answers about one video."""

    name: str
    questions: int
    length_s: float  # of the video
    cost: Cost  # of the longest question's answer; its seconds are of all

    @property
    def tokens(self) -> int:
        """Visual tokens at prefill, of all answers."""
        return self.questions * self.cost.tokens.visual_kept


def show_costs(groups: Iterable[Sequence[Ask]], request: Request, view: View) -> None:
    """Show what a run would take: on a terminal a table, in a pipe a JSON object per video."""
    longest: dict[Footage, list[str]] = {}  # several groups may be about one video
    for group in groups:
        longest.setdefault(group[0].videos[0], []).extend(ask.question for ask in group)
    from dycoke_cli.engine.memory.cost import SCHEMA

    shown, found, failures = sys.stdout.isatty(), list[VideoCost](), list[str]()
    for number, (video, questions) in enumerate(longest.items(), 1):
        if shown:
            view.stage("check", number, len(longest))
        try:
            longest_one = max(questions, key=len)
            plan, cost = cost_of_video(video.path, request, longest_one, questions=len(questions))
        except VideoError as error:
            failures.append(str(error))
            if not shown:
                output.write_json(output.error_document(SCHEMA, error, video=video.name))
            continue
        cost = replace(cost, video=video.name)
        found.append(VideoCost(video.name, len(questions), plan.info.duration_s or 0.0, cost))
        if not shown:
            output.write_json(to_dict(cost))
    view.stop()
    for sentence in failures if shown else ():
        view.failed(sentence)
    if shown and found:
        render.to_stdout(costs_table(found))
    if failures:
        raise typer.Exit(1)


def costs_table(found: Sequence[VideoCost]) -> Group:
    """Table of what the answers about videos would take, with a total."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, show_footer=True)
    worst = max((one.cost for one in found), key=lambda cost: cost.bytes.peak)
    length, tokens = sum(one.length_s for one in found), sum(one.tokens for one in found)
    files = counted(len(found), "file")
    table.add_column("File", files, overflow="fold")
    rows = [[Text(display_name(one.name)) for one in found]]

    def add(heading: str, footer: str, cells: Iterable[str]) -> None:
        table.add_column(heading, footer, justify="right", overflow="fold")
        rows.append([Text(cell) for cell in cells])

    add("Length", spelled(length), (spelled(one.length_s) for one in found))
    add("Tokens", count(tokens), (count(one.tokens) for one in found))
    timed = all(one.cost.seconds is not None for one in found)
    if timed:
        add("Time, about", _time(found), (_time([one]) for one in found))
    add("Memory", size(worst.bytes.peak), (size(one.cost.bytes.peak) for one in found))
    for row in list(zip(*rows, strict=True))[:_ROWS]:
        table.add_row(*row)
    if len(found) > _ROWS:
        table.add_row(f"… {count(len(found) - _ROWS)} more")
    taken = f"about {_time(found)}, " if timed else ""
    sentence = (
        f"{files}, {spelled(length)} of video, {count(tokens)} visual tokens: "
        f"{taken}{size(worst.bytes.peak)} of memory. {_verdict(worst)}"
    )
    notes = (
        f"{one_line(worst.model)}, {worst.dtype}, {_DEVICES[worst.device]}, "
        f"{restore(worst.method).title}, answers of {count(worst.max_new_tokens)} tokens."
    )
    if timed:
        notes += f" {_TIME}"
    return Group(table, Text(sentence), Text(notes, style="dim"))


def _time(found: Sequence[VideoCost]) -> str:
    """The time that answers take together, where it is known."""
    return spelled(sum(one.cost.seconds or 0.0 for one in found))


def spelled(seconds: float) -> str:
    """A duration as people say it: "45 s", "12 min", "2.4 h"."""
    for unit, of_unit in (("s", 1), ("min", 60)):
        if round(seconds / of_unit) < _MOST_OF_UNIT:
            value = seconds / of_unit
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 3600:,.1f} h"


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
        return f"Needs {size(estimated.bytes.peak)}; what the device has isn't known."
    where = "the GPU" if estimated.fits == "gpu" else "main memory"
    on_device = (estimated.fits == "gpu") == (estimated.device != "cpu")
    free = f" ({size(estimated.free)})" if on_device and estimated.free is not None else ""
    hint = "" if on_device else ", not the GPU: add --device cpu"
    return f"Fits {where}{free}{hint}."
