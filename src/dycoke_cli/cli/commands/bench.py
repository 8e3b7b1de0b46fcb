"""`dycoke bench`: times methods on the user's videos, and compares their answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from dycoke_cli.bench import SCHEMA
from dycoke_cli.cli import output, pages
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.flags import request_flags, shared_flags
from dycoke_cli.cli.flags.arguments import questions_of
from dycoke_cli.cli.flags.param_flags import spread
from dycoke_cli.cli.render.figures import Column, as_text, table
from dycoke_cli.cli.render.units import count, counted, seconds, share, size
from dycoke_cli.cli.render.view import View
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import one_line
from dycoke_cli.video.files import STDIN

if TYPE_CHECKING:
    from dycoke_cli.bench.bench_report import BenchReport, QuestionAnswers, TimedRow

QUESTION = "What happens in the video?"


def complete_presets(incomplete: str) -> shared_flags.Names:
    """Presets of published results."""
    from dycoke_cli.evaluation.presets import presets

    return [(name, preset.paper) for name, preset in presets().items()]


_FLAGS = shared_flags.flag_table(
    f"""
    VIDEO…: Video files.
    --question -q TEXT: A question, asked about each video; repeat it to ask several. - reads
        questions from stdin, one per line. Default: {QUESTION}
    --methods NAME[:PARAMETER=X,…],…: What is compared, as in `dycoke eval`. The baseline (none) is
        always measured.
    --preset NAME: The settings of a published table: model, methods with their parameters, frames,
        length of answers. Other flags override them. `dycoke eval --list` names the presets.
    --runs N: Runs of each configuration that are counted; one more comes first as a warm-up.
    """,
    {
        "--methods": {"autocompletion": shared_flags.complete_rows},
        "--preset": {"autocompletion": complete_presets},
    },
)
BRIEF = """
    --question --methods --preset --retain --model --frames --start --end --runs --device --quantize
    --max-tokens --json --quiet
"""


_METHOD = Column("Method", lambda row: row.spec, as_text)
_TIMES = (
    Column("Video", lambda row: row.seconds.video_decode, seconds),
    Column("Preproc.", lambda row: row.seconds.preprocess, seconds),
    Column("Vision", lambda row: row.seconds.vision, seconds),
    Column("Prefill", lambda row: row.seconds.prefill, seconds),
    Column("TTFT", lambda row: row.seconds.first_token, seconds),
    Column("TPOT", lambda row: row.seconds.decode_per_token, seconds),
    Column("End to end", lambda row: row.seconds.total, seconds),
)
_MEASURED = (
    "Medians of the runs, mean over questions. Video decode, preprocessing and vision are measured "
    "in each run, once per video: its questions share them, and TTFT and end to end count them in "
    "full, as for one question asked alone. Nothing is cached or reused from run to run."
)
_COSTS = (
    Column("Slowest−fastest", lambda row: row.total_most - row.total_least, seconds),
    Column("Visual tokens", lambda row: _kept(row)),
    Column("KV cache", lambda row: row.bytes.kv_cache, size),
    Column("Peak memory", lambda row: row.bytes.peak_total, size),
    Column("Generated", lambda row: count(round(row.tokens.generated, 1))),
)


@spread
def bench(
    *,
    videos: Annotated[list[str], _FLAGS["VIDEO…"]],
    question: Annotated[list[str] | None, _FLAGS["--question"]] = None,
    preset: Annotated[str | None, _FLAGS["--preset"]] = None,
    methods: Annotated[str, _FLAGS["--methods"]] = "none,dycoke",
    retain: request_flags.Budgets = None,
    how: request_flags.Asking,
    runs: Annotated[int, _FLAGS["--runs"]] = 3,
    as_json: shared_flags.Json = False,
    quiet: shared_flags.Quiet = False,
    help_all: pages.HelpAll = False,
    context: typer.Context,
) -> None:
    """Time methods on your own videos, and compare their answers.

    Examples:
        dycoke bench holiday.mp4 -q "What happens?" -q "How many people are there?"
        dycoke bench talk.mkv --methods vidcom2 --retain 0.5,0.25
        dycoke bench talk.mkv --preset table-3

    All configurations take turns in one process. Each run decodes the video, encodes it and
    prefills every prompt again: nothing is cached. The questions of a run share its encoded video.

    Questions without reference answers can't show accuracy; `dycoke eval` measures it.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(output.failures_as_json(as_json, SCHEMA, [{}]))
        # Imported late: help and completion need the flags alone.
        from dycoke_cli.bench.bench_run import run
        from dycoke_cli.evaluation.presets import preset_named

        if STDIN in videos:
            raise UsageError("bench decodes a video several times: name a file in place of -")
        request = how.request()
        if preset is not None:
            chosen, given = preset_named(preset), shared_flags.given(context)
            request = chosen.applied(request, None, given)
            methods = methods if "methods" in given else chosen.methods
        # Parsed before anything is loaded, so that a typo is reported at once.
        specs = parse_specs(methods, retain)
        asked = tuple(questions_of(None, question or [QUESTION], ""))
        bundled = how.named is None and preset is None
        view = stack.enter_context(View(quiet, BUNDLED_NOTE if bundled else None))
        files, asked = tuple(dict.fromkeys(videos)), tuple(dict.fromkeys(asked))
        report = run(files, asked, specs, request, runs, view)
        view.stop()
        output.show(report, as_json, tables)


def tables(report: BenchReport) -> Group:
    """Tables of times, tokens and memory, and all answers."""
    rows = report.rows
    base = next(row for row in rows if row.changed is None)  # only the baseline has no changes
    asked = len(report.answers)
    changed = Column("Changed", lambda row: row.changed, lambda n, _: f"{n} ({share(n, asked)})")
    speed_up = Column("Speed-up", lambda row: f"{base.seconds.total / row.seconds.total:.2f}x")
    return Group(
        Text(_title(report), style="bold"),
        Text(),
        table(rows, (_METHOD, *_TIMES, speed_up)),
        _small(_MEASURED),
        Text(),
        table(rows, (_METHOD, *_COSTS, changed)),
        _small(
            "Slowest−fastest: end to end, from run to run. Visual tokens before → at prefill, "
            "tokens generated and KV cache: mean per answer. Peak memory: on CUDA alone. Changed: "
            "answers whose text isn't the baseline's."
        ),
        Text(),
        Text("Answers", style="bold"),
        *(part for question in report.answers for part in _answers(question)),
        Text(),
        _small(
            "Without reference answers there is no accuracy: an unchanged answer may be wrong, and "
            "a changed one correct. `dycoke eval` measures accuracy on labelled questions."
        ),
        _small(_origin(report)),
    )


def _answers(question: QuestionAnswers) -> Iterator[RenderableType]:
    """Question with its answers; configurations with the same answer share a line."""
    yield Text()
    yield Text(f"{one_line(question.video)}: {one_line(question.question)}")
    texts: dict[str, list[str]] = {}
    for spec, said in question.answers.items():
        texts.setdefault(said, []).append(spec)
    for said, specs in texts.items():
        yield Text(f"  {one_line(', '.join(specs))}: {one_line(said)}")


def _small(sentence: str) -> Text:
    return Text(one_line(sentence), style="dim")


def _title(report: BenchReport) -> str:
    runs = counted(report.runs, "run")
    questions = counted(len(report.answers), "question")
    videos = counted(len(report.videos), "video")
    return one_line(
        f"{report.model.name}: {questions} about {videos}, {runs} of each configuration in turns, "
        "after a warm-up"
    )


def _origin(report: BenchReport) -> str:
    model, environment = report.model, report.environment
    commit = f", commit {report.commit}" if report.commit else ""
    gpu = f"{environment.accelerator}, " if environment.accelerator else ""
    cores = counted(environment.cores, "core")
    threads = counted(environment.threads, "thread")
    return (
        f"{model.dtype} on {model.device}; {gpu}{cores} of {environment.processor}, {threads}; "
        f"dycoke {report.version}{commit}, Python {environment.python}, torch "
        f"{environment.torch}, transformers {environment.transformers}"
    )


def _kept(row: TimedRow) -> str:
    visual, kept = row.tokens.visual, row.tokens.visual_kept
    return f"{count(round(visual))} → {count(round(kept))} ({share(kept, visual)})"
