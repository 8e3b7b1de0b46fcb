"""`dycoke tune`: chooses a compression setting for a model from unlabelled videos."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.cli import completion, output, pages, render
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.flags import options, request_flags, row_flags
from dycoke_cli.cli.flags.spread import spread
from dycoke_cli.cli.flags.typed_flags import OptionFlags
from dycoke_cli.cli.plots.picture_file import check_picture, write_picture
from dycoke_cli.cli.render.figures import headed, with_texts
from dycoke_cli.cli.render.units import counted, seconds
from dycoke_cli.cli.render.view import View
from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import one_line

if TYPE_CHECKING:
    from dycoke_cli.guard.tuned import Tuning
    from dycoke_cli.tuning.tune_report import TuneReport

Videos = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO…",
        help="Videos like those that will be asked about; or folders of them.",
        show_default=False,
    ),
]
Questions = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        metavar="FILE",
        help="Questions that are asked about each video, one per line. Default: general ones.",
        show_default=False,
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        metavar="NAME[:PARAMETER=X,…],…",
        autocompletion=completion.rows,
        help="The settings to choose from. Default: a grid of every method.",
        show_default=False,
    ),
]
Target = Annotated[
    float,
    typer.Option(metavar="SHARE", help="Share of answers that must be the uncompressed model's."),
]
Minutes = Annotated[
    float,
    typer.Option(
        metavar="N",
        help="Time for measuring: with less, fewer settings on fewer videos. The same command "
        "resumes.",
    ),
]
Save = Annotated[
    bool,
    typer.Option("--save", help="Use the choice for this model if no --method is given."),
]
Export = Annotated[
    bool,
    typer.Option(
        "--export",
        help="Print the choice as an entry for config.json, instead of the table.",
        rich_help_panel="Output",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Where measurements are kept. Default: in the user's cache.",
        show_default=False,
        rich_help_panel="Output",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Also draw the frontier, as PNG or SVG.",
        show_default=False,
        rich_help_panel="Output",
    ),
]
BRIEF = """
    --questions --methods --target --minutes --save --export --model --frames --device --quantize
    --out --plot --json --quiet
"""


@spread
def tune(
    *,
    videos: Videos,
    questions: Questions = None,
    methods: Methods = None,
    retain: row_flags.Budgets = None,
    model: request_flags.ModelFlag,
    sampling: request_flags.Frames,
    limits: request_flags.Limiting,
    target: Target = 0.98,
    minutes: Minutes = 20.0,
    save: Save = False,
    loading: request_flags.Loading,
    generation: request_flags.Generation,
    typed: OptionFlags,
    export: Export = False,
    out: Out = None,
    plot: Plot = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    help_all: pages.HelpAll = False,
) -> None:
    """Choose a method and its parameters for a model, from videos without labels.

    Examples:
        dycoke tune clips --questions questions.txt --minutes 30 --save
        dycoke tune *.mp4 --model qwen2.5-vl-3b --target 0.95 --json
        dycoke tune clips --questions questions.txt --yes-no

    Answers are compared with the uncompressed model's own: agreement isn't accuracy.
    --method auto uses the choice; --guard bounds the fraction of changed answers.
    """
    # Imported late: help and completion need the flags alone.
    from dycoke_cli.models.families import CHECKPOINT_KEY
    from dycoke_cli.tuning.tune_report import SCHEMA

    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{}]))
        if export and as_json:
            raise UsageError("--export and --json are two documents; give one of them")
        from dycoke_cli.compression.method_specs import parse_specs
        from dycoke_cli.guard.tuned import store
        from dycoke_cli.runs.discovery import find
        from dycoke_cli.storage.output_file import check_folder_name
        from dycoke_cli.tuning.tune_request import Tune
        from dycoke_cli.tuning.tune_run import tune as run

        if out is not None:
            check_folder_name(out, "--out")
        if plot is not None:
            check_picture(plot, [".png", ".svg"])
        paths = [
            path
            for named in videos
            for path in ([v.path for v in find(named).videos] if Path(named).is_dir() else [named])
        ]
        specs = None if methods is None else tuple(parse_specs(methods, retain))
        if retain is not None and methods is None:
            raise UsageError("--retain is for --methods; the grid has budgets of its own")
        chosen = Tune(
            videos=tuple(dict.fromkeys(paths)),
            questions=() if questions is None else _questions(questions),
            specs=specs,
            request=typed.with_options(
                request_flags.request(model, loading, sampling, generation, limits)
            ),
            target=target,
            minutes=minutes,
            out=out,
        )
        view = stack.enter_context(View(quiet, BUNDLED_NOTE if model.named is None else None))
        view.stage("start")
        try:
            report, tuning = run(chosen, view)
        except (KeyboardInterrupt, SystemExit):  # by SIGTERM, too
            view.note("What was measured is kept; the same command resumes.")
            raise
        # Stored before anything is printed, so that a closed pipe doesn't lose the result.
        path = store(replace(tuning, default=save))
        view.stop()
        for sentence in report.warnings:
            view.warning(sentence)
        view.note(
            f"Kept in {path}; "
            + ("answers where no --method is given" if save else "--method auto answers with it")
        )
        if as_json:
            output.write_json(to_dict(report))
        elif export:
            output.write_json({CHECKPOINT_KEY: entry_of(tuning)})
        else:
            render.to_stdout(table(report))
        if plot is not None:
            from dycoke_cli.cli.plots.tune_plot import frontier

            write_picture(plot, frontier(report, plot.suffix))


def entry_of(tuning: Tuning) -> dict[str, Any]:
    """Entry for a checkpoint's config.json: tuned parameters that may have per-model defaults."""
    from dycoke_cli.models.families import METHOD_DEFAULTS

    entry = {name: tuning.method[name] for name in METHOD_DEFAULTS if name in tuning.method}
    if not entry:
        names = " and ".join(METHOD_DEFAULTS)
        raise UsageError(
            f"config.json has a place for {names} alone, which {tuning.method['name']} doesn't "
            "have; --method auto needs no config.json"
        )
    return entry


def _questions(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"--questions {path} isn't UTF-8 text; convert it to UTF-8") from error
    except OSError as error:
        raise UsageError(f"--questions {path} can't be read ({error.strerror})") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError(f"--questions {path} has no question; write one per line")
    return tuple(dict.fromkeys(lines))


def table(report: TuneReport) -> Group:
    """Table of the remaining settings, cheapest first, with the choice and the guards."""
    figures = ("Tokens", "Time", "Divergence", "Agreement", "Tested", "95 %")
    rows = with_texts(headed("Setting", *figures), ("Setting",))
    rows.add_row("none", "100 %", seconds(report.baseline_seconds), "", "", "", "")
    for row in report.rows:
        mark = " ←" if row.chosen else ("" if row.on_frontier else " ·")
        low_high = "–".join(f"{100 * end:.0f}" for end in row.interval)
        rows.add_row(
            Text(one_line(row.setting) + mark),
            f"{100 * row.tokens:.0f} %",
            seconds(row.seconds),
            f"{row.divergence:.4f}",
            f"{100 * row.agreement:.1f} %",
            "" if row.tested is None else f"{100 * row.tested:.1f} %",
            low_high,
        )
    on = report.tuned
    of = f"{report.settings}"
    if report.compared < report.settings:
        of = f"{report.compared} of {report.settings}"
    return Group(
        rows,
        Text(),
        Text(
            f"Chosen: {report.choice}, of {of} settings, on {counted(on.videos, 'video')} "
            f"and {counted(on.questions, 'question')}; target {100 * report.target:g} %.",
            style="bold",
        ),
        Text(
            "Agreement: answers that are the uncompressed model's, which isn't accuracy. Tested: "
            "on videos that nothing was chosen by. · beaten by another in tokens and divergence.",
            style="dim",
        ),
        *(Text(_promise(each, report.ladder)) for each in report.guard if not each.on_average),
    )


def _promise(promise: Any, ladder: tuple[str, ...]) -> str:
    if promise.threshold is not None:
        return (
            f"--guard {promise.alpha:g}: by {' → '.join(ladder)} → none, kept from a certainty of "
            f"{promise.threshold:.4g} ({counted(promise.videos, 'video')})."
        )
    why = (
        f"{counted(promise.missing, 'video')} more needed at least"
        if promise.missing
        else "too many answers changed"
    )
    return (
        f"--guard {promise.alpha:g} keeps all tokens: {why} ({counted(promise.videos, 'video')})."
    )
