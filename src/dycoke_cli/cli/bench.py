"""`dycoke bench`: methods timed on the user's own videos, and their answers side by side."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from dycoke_cli.bench import SCHEMA
from dycoke_cli.cli import flags, method_flags, options, output, pages, questions, render
from dycoke_cli.cli.ask import BUNDLED_NOTE
from dycoke_cli.cli.picture_file import check_picture, write_picture
from dycoke_cli.cli.spread import spread
from dycoke_cli.cli.view import View
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.specs import parse_specs
from dycoke_cli.json_schema import to_dict
from dycoke_cli.video.stdin import STDIN

QUESTION = "What happens in the video?"
_PLOT_SUFFIX = ".svg"

Videos = Annotated[
    list[str],
    typer.Argument(metavar="VIDEO…", help="Video files.", show_default=False),
]
Questions = Annotated[
    list[str] | None,
    typer.Option(
        "--question",
        "-q",
        metavar="TEXT",
        help="A question, asked about each video; repeat it to ask several. - reads questions from "
        f"stdin, one per line. Default: {QUESTION}",
        show_default=False,
    ),
]
Methods = Annotated[
    str,
    typer.Option(
        metavar="NAME[:PARAMETER=X,…],…",
        autocompletion=method_flags.completion.rows,
        help="What is compared, as in `dycoke eval`. The baseline (none) is always measured.",
    ),
]
Runs = Annotated[
    int,
    typer.Option(
        "--runs",
        metavar="N",
        help="Runs of each configuration that are counted; one more comes first as a warm-up.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE.svg",
        help="Also draw the time per stage, stacked, as SVG.",
        show_default=False,
        rich_help_panel="Output",
    ),
]
BRIEF = """
    --question --methods --retain --model --frames --start --end --runs --device --quantize
    --max-new-tokens --plot --json --quiet
"""


@spread
def bench(
    *,
    videos: Videos,
    question: Questions = None,
    methods: Methods = "none,dycoke",
    retain: method_flags.Budgets = None,
    model: flags.Model,
    sampling: flags.Frames,
    runs: Runs = 3,
    loading: flags.Loading,
    generation: flags.Generation,
    plot: Plot = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    help_all: pages.HelpAll = False,
) -> None:
    """Time methods on your own videos, and compare their answers.

    Examples:
        dycoke bench holiday.mp4 -q "What happens?" -q "How many people are there?"
        dycoke bench a.mp4 b.mp4 --methods dycoke,dycoke:merge_ratio=0.5 --runs 5
        dycoke bench talk.mkv --methods vidcom2 --retain 0.5,0.25 --plot talk.svg

    All configurations take turns in one process. Each run decodes the video, encodes it and
    prefills every prompt again: nothing is cached. The questions of a run share its encoded video.

    It ends with a recommendation, and with what questions without reference answers can't show.
    """
    waiting: list[dict[str, Any]] = [{}]
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, waiting))
        # Only now: it takes its time.
        from dycoke_cli.bench.runner import Benchmark, run

        if STDIN in videos:
            raise UsageError("bench decodes a video several times: name a file in place of -")
        if plot is not None:
            check_picture(plot, [_PLOT_SUFFIX])
        benchmark = Benchmark(
            videos=tuple(dict.fromkeys(videos)),
            questions=tuple(dict.fromkeys(questions.collect(None, question or [QUESTION], ""))),
            specs=tuple(parse_specs(methods, retain)),
            request=flags.request(model, loading, sampling, generation),
            runs=runs,
        )
        view = stack.enter_context(View(quiet, BUNDLED_NOTE if model.named is None else None))
        report = run(benchmark, view)
        view.stop()
        if as_json:
            output.write_json(to_dict(report))
            waiting.clear()
        else:
            render.bench_tables(report)
        # Last, so that a picture that can't be written costs nobody what was measured.
        if plot is not None:
            from dycoke_cli.cli.bench_plot import stacked

            write_picture(plot, stacked(report).encode())
