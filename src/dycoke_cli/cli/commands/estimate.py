"""`--estimate`: predicted cost of an answer, from the configuration and the video's size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from dycoke_cli.answer.answer import Error
from dycoke_cli.answer.json_schema import Absent
from dycoke_cli.cli import output, render
from dycoke_cli.cli.flags.param_flags import speaking_of_flags
from dycoke_cli.cli.render.figures import texts
from dycoke_cli.cli.render.units import column, count, counted, flops, share, size
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.registry import restore, symbols
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.memory.flops import BUSY
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.loop.in_windows import check_windows, why_not_in_windows
from dycoke_cli.loop.reading import usual_decoders
from dycoke_cli.models.catalog import ClipTokens, ModelRef, find
from dycoke_cli.models.files.hub import stored_config
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.batch_journal import reason
from dycoke_cli.runs.listener import RunCounts
from dycoke_cli.unicode import display_name, one_line
from dycoke_cli.video.clip import WINDOW
from dycoke_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from dycoke_cli.ask import Ask
    from dycoke_cli.cli.render.batch_view import BatchView
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
USUAL_CLIP = (32, 360, 640)
"""Frames, height and width of the clip by whose time models are compared."""
_MOST_OF_UNIT = 90
_TIME = "Time by the rates of matrix products on this machine, without loading."
_DEVICES = {"cuda": "GPU", "mps": "GPU (MPS)", "cpu": "CPU"}


def cost_of_video(
    video: Source, plan: FramePlan, request: Request, questions: Sequence[str] = ()
) -> Cost:
    """Estimate the cost of answers about a video, without decoding its frames.

    Frames that don't fit the context are read in windows, as by `ask`.

    Args:
        questions: by which time and memory grow; none for one of usual length.
    """
    name = video if isinstance(video, str) else video[0]
    longest = max(questions, key=len, default=None)
    frames = (len(plan.times_s), plan.height, plan.width, name, plan.times_s, longest)
    number = len(questions) or 1
    cost = cost_of_frames(request, *frames, questions=number)
    if not cost.context.fits and why_not_in_windows(request) is None:
        found = ClipTokens(cost.tokens.frames, cost.tokens.per_frame)
        cap = found.frames_in_window(len(plan.times_s), WINDOW) * found.per_frame
        with suppress(UsageError):  # of a model that can't be shown windows
            cost = cost_of_frames(replace(request, video_tokens=cap), *frames, questions=number)
    return cost


def show_cost_of_run(model: str, left: Iterable[Sequence[Ask]], view: BatchView) -> None:
    """Say what the questions of a run take in one process; frames are planned, and not decoded.

    Args:
        left: questions without a result. Of a clip that can't be opened a line says why.
    """
    find(model)  # else each clip would be one that can't be opened
    left = [*left]
    clips = {group[0].videos[0].place for group in left}
    counts = RunCounts(sum(map(len, left)), len(clips))
    costs: list[Cost] = []
    view.progress(counts)
    threads = ThreadPoolExecutor(usual_decoders())
    try:
        for group, plan in zip(left, threads.map(_plan, left), strict=True):
            if isinstance(plan, DycokeError):
                view.failed(reason(group[0].failure(Error.of(plan))))
                counts.failed += len(group)
            else:  # in this thread, so that products are timed one by one
                path, request = group[0].videos[0].path, group[0].request
                questions = [ask.question for ask in group]
                costs.append(cost_of_video(path, plan, request, questions))
                counts.answered += len(group)
            view.progress(counts)
    finally:
        threads.shutdown(cancel_futures=True)
    view.stop()
    output.line(_in_words(counts, costs))


def _plan(group: Sequence[Ask]) -> FramePlan | DycokeError:
    try:
        return plan_of_video(group[0].videos[0].path, group[0].request)
    except DycokeError as error:
        return error


def _in_words(counts: RunCounts, costs: Sequence[Cost]) -> str:
    """Sentences about a run: how much is left, its time, and the memory of its largest clip."""
    left = counted(counts.clips, "clip")
    if counts.questions != counts.clips:
        left = f"{counted(counts.questions, 'question')} about {left}"
    left += f" left, {count(counts.failed)} of which will fail" if counts.failed else " left"
    if not costs:
        return f"{left}."
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    time = f"about {spelled(sum(seconds))} in one process, without loading"
    if len(seconds) < len(costs):
        time = "how long isn't known"
    busy = f" ({BUSY})" if any(BUSY in cost.warnings for cost in costs) else ""
    largest = max(costs, key=lambda cost: (not cost.context.fits, cost.bytes.peak))
    peak = f"{size(largest.bytes.peak)} for {display_name(str(largest.video))}"
    return f"{left}: {time}{busy}. Peak memory: {peak}. {_verdict(largest)}"


def plan_of_video(video: Source, request: Request) -> FramePlan:
    """Plan the frames of a video, without decoding them."""
    from dycoke_cli.video.decoder import Decoder

    find(request.model)  # an unknown model is reported before the video is opened
    with Decoder(request.limits) as decoder, decoder.open(video, request.sampling) as opened:
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
    """Estimate the cost of an answer about a number of frames. Args: as of `estimate_cost`."""
    from dycoke_cli.engine.memory.cost import clip_tokens, estimate_cost
    from dycoke_cli.models.devices import Target, this_machine

    source, loading = find(request.model), request.loading
    typed = request.generation.typed is not None  # scored by the prefill
    target = Target.of(loading.device, this_machine())
    with speaking_of_flags():
        check_windows(request)
        # `frame_bytes`: a decoded frame is RGB, one byte per channel.
        return estimate_cost(
            source,
            clip_tokens(source, frames, height, width, loading.revision),
            request.method,
            loading,
            0 if typed else request.generation.max_tokens,
            target,
            video,
            times_s=times_s,
            frame_bytes=height * width * 3,
            video_tokens=request.video_tokens,
            question=question,
            questions=questions,
        )


def usual_seconds(source: ModelRef) -> float | None:
    """About how long an answer about a usual clip takes here; None where it takes a download."""
    entry = source.entry
    if entry is None or entry.download_bytes is None or stored_config(source) is None:
        return None
    if entry.clip_tokens(*USUAL_CLIP) is None:
        return None
    usual = (LoadOptions(), Sampling(), DyCoke(), GenerationOptions())
    return cost_of_frames(Request(source.name, *usual), *USUAL_CLIP).seconds


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
    figures = texts(rows, ("", "baseline", method.title, "ratio"))
    frames = f"{count(tokens.frames)} × {count(tokens.per_frame)} visual tokens"
    title = (
        f"{one_line(estimated.model)}, {estimated.dtype}, {_DEVICES[estimated.device]}: weights "
        f"{size(memory.weights)}"
    )
    notes = (
        f"{method.title} {parameters}".rstrip() + ". FLOPs by the paper's formula, of the language "
        f"model, decode of {count(estimated.max_tokens)} tokens; all with {count(tokens.text)} "
        "text tokens, as assumed."
    )
    if not isinstance(estimated.windows, Absent):
        windows = estimated.windows
        kept, most = count(windows.visual_kept), count(windows.video_tokens)
        read = f"{count(windows.count)} windows of {count(windows.frames)} frames"
        notes += f" Read in {read}, which keep {kept} tokens; of these at most {most} are read."
    verdict = _verdict(estimated)
    if estimated.seconds is not None:
        verdict += f" Takes about {spelled(estimated.seconds)}."
        notes += f" {_TIME}"
    return Group(
        Text(f"{title}; {frames}", style="bold"), figures, Text(verdict), Text(notes, style="dim")
    )


def spelled(seconds: float) -> str:
    """A duration as people say it: "45 s", "12 min", "2.4 h"."""
    for unit, of_unit in (("s", 1), ("min", 60)):
        if round(seconds / of_unit) < _MOST_OF_UNIT:
            value = seconds / of_unit
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 3600:,.1f} h"


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
