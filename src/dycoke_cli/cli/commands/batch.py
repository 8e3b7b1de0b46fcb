"""`dycoke batch`: questions about many videos, one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.cli import pages
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.flags import asker_flags, request_flags, shared_flags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.cli.flags.question_flags import PartFlags, TypedFlags
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.runs.output_formats import ANSWERS, TABLES, TIMES
from dycoke_cli.unicode import display_name

if TYPE_CHECKING:
    from dycoke_cli.ask import Ask, Footage
    from dycoke_cli.cli.render.batch_view import BatchView


_FLAGS = shared_flags.flag_table(f"""
    VIDEOS… QUESTION: Folders, videos, or a pattern in quotes ('clips/**/*.mp4'); or a text file
        with one path per line (- is stdin). The question comes last, or with -q.
    --questions FILE: JSON Lines or CSV with the columns video, question and optionally id, start,
        end; - is stdin. Videos are relative to VIDEOS, or to the file's folder. Excludes
        --question.
    --out FILE: File for the answers ({", ".join(ANSWERS)}), by which the same command resumes. A
        table ({", ".join(TABLES)}) or times ({", ".join(TIMES)}: docs/times.md) are made of it at
        the end. Default: stdout.
    --out-dir DIR: Folder for the files of --out .srt and the like, in place of the clips' folders.
        Needs --out.
    [Run]
    --retry-failed: Also ask again what failed in an earlier run; the new line replaces the old one.
        Needs --out.
""")
BRIEF = (
    f"{request_flags.BRIEF} --question --questions --out --choices --yes-no --schema "
    "--device --workers --retry-failed --estimate"
)


@spread
def batch(
    *,
    words: Annotated[list[str] | None, _FLAGS["VIDEOS… QUESTION"]] = None,
    more: shared_flags.Questions = None,
    questions_file: Annotated[str | None, _FLAGS["--questions"]] = None,
    out: Annotated[Path | None, _FLAGS["--out"]] = None,
    out_dir: Annotated[Path | None, _FLAGS["--out-dir"]] = None,
    how: request_flags.Questioning,
    parts: PartFlags,
    retry_failed: Annotated[bool, _FLAGS["--retry-failed"]] = False,
    typed: TypedFlags,
    by: asker_flags.RunFlags,
    compare: shared_flags.Compare = False,
    estimate: shared_flags.Estimate = False,
    quiet: shared_flags.Quiet = False,
    help_all: pages.HelpAll = False,
    context: typer.Context,
) -> None:
    """Answer questions about many videos.

    Examples:
        dycoke batch footage "What happens?" --out answers.jsonl
        dycoke batch *.mp4 "Is it day or night?" --choices day,night --out answers.csv
        dycoke batch footage --questions questions.csv --out answers.jsonl

    One JSON object per line as they finish: to --out, from which the same command resumes, or to
    stdout (a terminal gets text). Exit code 1: some questions failed; their lines have the reason.
    """
    # Imported late: PyAV, NumPy and rich's bars are slow to import.
    from dycoke_cli.cli.commands.batch_files import Destination, Lines, collect
    from dycoke_cli.cli.commands.estimate import show_cost_of_run
    from dycoke_cli.cli.render.batch_view import BatchView
    from dycoke_cli.loop.in_windows import check_windows
    from dycoke_cli.runs.batch_journal import Results, ResultsFile, open_results
    from dycoke_cli.runs.run import RunProgress, run

    by.check()
    request = typed.applied(how.whole_request(), yes_no=parts.when)
    with speaking_of_flags():
        check_windows(request, whole=compare)
    if compare:
        request_flags.check_comparable(request)
    remote = by.server.chosen(context, request, how.model)
    to = Destination(None if out == Path("-") else out, out_dir)
    out = to.journal
    asked, notes = collect(words or [], more, questions_file, request)
    videos = [*dict.fromkeys(group[0].videos[0] for group in asked)]
    check_subtitles(videos, how.subtitles)
    in_parts = parts.given or any(group[0].part_s is not None for group in asked)
    if not estimate:  # which makes no folder
        to.check(videos, request, has_times=bool(in_parts))
    with ExitStack() as stack:
        view = stack.enter_context(BatchView(quiet))
        if how.named is None and remote is None:
            view.note(BUNDLED_NOTE)
        for sentence in notes:
            view.note(sentence)
        view.stage("start")
        groups = _groups(asked, parts, compare, view)
        if estimate:
            left: Iterable[Sequence[Ask]] = groups
            if out is not None and out.exists():
                plan, _ = by.plan(request, None, view, stack)
                left = RunProgress(groups, plan, ResultsFile(out), retry_failed).left()
            show_cost_of_run(request.model, left, view)
            return
        plan, open_asker = by.plan(request, remote, view, stack)
        results: Results = Lines(view.stop)
        if out is not None:
            results = stack.enter_context(open_results(out))
            if results.damaged:
                view.warning(
                    f"the last line of {out} was half written; its question is asked again"
                )
        try:
            counts = run(
                groups,
                plan,
                results,
                open_asker,
                view,
                retry_failed=retry_failed,
                fail_fast=by.fail_fast,
            )
        except (KeyboardInterrupt, SystemExit, DycokeError):  # by SIGTERM, too
            view.interrupted(out)
            raise
        to.conclude(counts, view, retried=retry_failed)


def _groups(
    given: Sequence[Sequence[Ask]],
    parts: PartFlags,
    compare: bool,
    view: BatchView,
) -> list[Sequence[Ask]]:
    """The questions about each clip, or about each of its parts, as they are asked."""
    from dycoke_cli.runs.parts import Parts, groups_by_part

    when_s = (parts.every_s or 0.0) if parts.when else None
    groups: list[Sequence[Ask]] = [
        [replace(ask, compare=compare, when_s=when_s) for ask in group] for group in given
    ]
    if parts.when or parts.every_s is None:
        return groups
    return groups_by_part(groups, Parts(parts.every_s), partial(view.stage, "video"))


def check_subtitles(videos: Sequence[Footage], wanted: str | None) -> None:
    """Check that a subtitle file exists, and that there is only one video to use it for."""
    from dycoke_cli.video.subtitles import AUTO, SPEECH, find_source

    if wanted is None or wanted == AUTO or SPEECH.fullmatch(wanted):
        return
    find_source(videos[0].path, wanted)  # raises if the file doesn't exist
    if len(videos) > 1:
        raise UsageError(
            f"--subtitles {display_name(wanted)} belongs to one video, and there are "
            f"{len(videos)}: --subtitles auto finds the file of each, and speech hears each"
        )
