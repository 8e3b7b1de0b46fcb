"""`dycoke batch`: questions about many videos, one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.cli import pages
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.flags import engine_flags, options, request_flags
from dycoke_cli.cli.flags.engine_flags import REQUESTS, NoServer, Requests, ServerFlags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.cli.flags.question_flags import PartFlags, TypedFlags
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.request import Request
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.unicode import display_name

if TYPE_CHECKING:
    from dycoke_cli.ask import Ask, Footage
    from dycoke_cli.cli.render.batch_view import BatchView
    from dycoke_cli.loop.plan import RunPlan
    from dycoke_cli.runs.listener import RunCounts
    from dycoke_cli.runs.remote.served_model import Server
    from dycoke_cli.runs.results import ResultsFile
    from dycoke_cli.runs.run import OpenAsker
    from dycoke_cli.server.local.client import ServerAsker


_FLAGS = options.flag_table("""
    VIDEOS… QUESTION: Folders, videos, or a pattern in quotes ('clips/**/*.mp4'); or a text file
        with one path per line (- is stdin). The question comes last, or with -q.
    --questions FILE: JSON Lines or CSV with the columns video, question and optionally id, start,
        end; - is stdin. Videos are relative to VIDEOS, or to the file's folder.
    --out FILE: File for the answers (.jsonl, .ndjson), by which the same command resumes. A table
        (.csv, .parquet) or times (.srt, .edl, …: docs/times.md) are made of it at the end. Default:
        stdout.
    [Run]
    --fail-fast: Stop at the first failure.
    --retry-failed: Also ask again what failed in an earlier run; the new line replaces the old one.
    [Output]
    --out-dir DIR: Folder for the files of --out .srt and the like, in place of the clips' folders.
    --fields KEY,…: Only these keys on stdout, or in a table, such as id,answer,tokens.visual.
    --csv: CSV instead of JSON on stdout; --fields are its columns.
""")
FailFast = Annotated[bool, _FLAGS["--fail-fast"]]
BRIEF = (
    f"{request_flags.BRIEF} --question --questions --out --choices --yes-no --fields --estimate "
    "--device --workers --retry-failed"
)


@spread
def batch(
    *,
    words: Annotated[list[str] | None, _FLAGS["VIDEOS… QUESTION"]] = None,
    more: options.Questions = None,
    questions_file: Annotated[str | None, _FLAGS["--questions"]] = None,
    out: Annotated[Path | None, _FLAGS["--out"]] = None,
    out_dir: Annotated[Path | None, _FLAGS["--out-dir"]] = None,
    model: request_flags.ModelFlag,
    sampling: request_flags.Frames,
    parts: PartFlags,
    budget: request_flags.Budget,
    subtitles: options.Subtitles = None,
    fail_fast: FailFast = False,
    retry_failed: Annotated[bool, _FLAGS["--retry-failed"]] = False,
    batch_size: engine_flags.BatchSize = "auto",
    limits: request_flags.Limiting,
    loading: request_flags.Loading,
    cache: options.Cache = False,
    method: request_flags.MethodFlags,
    generation: request_flags.Generation,
    typed: TypedFlags,
    engine: engine_flags.EngineFlags,
    no_server: NoServer = False,
    server: ServerFlags,
    requests: Requests = REQUESTS,
    compare: options.Compare = False,
    estimate: options.Estimate = False,
    fields: Annotated[str | None, _FLAGS["--fields"]] = None,
    as_csv: Annotated[bool, _FLAGS["--csv"]] = False,
    quiet: options.Quiet = False,
    help_all: pages.HelpAll = False,
    context: typer.Context,
) -> None:
    """Answer questions about many videos.

    Examples:
        dycoke batch footage "What happens?" --out answers.jsonl
        dycoke batch *.mp4 "Is it day or night?" --choices day,night --out answers.csv
        dycoke batch footage --questions questions.csv --out answers.jsonl

    One JSON object per line, in the order in which they finish: to --out, from which the same
    command resumes, or to stdout. Exit code 1: some questions failed; their lines have the reason.
    """
    # Imported late: PyAV, NumPy and rich's bars are slow to import.
    from dycoke_cli.cli.commands.batch_lines import Destination, collect
    from dycoke_cli.cli.render.batch_view import BatchView
    from dycoke_cli.loop.in_windows import check_windows
    from dycoke_cli.runs.results import Results
    from dycoke_cli.runs.run import run

    engine.check()
    server.check(context)
    group_size = engine_flags.batch_size(batch_size)
    request = request_flags.request(model, loading, sampling, generation, limits, subtitles, budget)
    request = method.applied(parts.typed(typed).applied(request))
    parts.check_options(estimate=estimate, compare=compare)
    if parts.until is not None:
        raise UsageError("--until is for `dycoke ask`: a batch asks about all parts; leave it out")
    with speaking_of_flags():
        check_windows(request, whole=compare)
    if compare:
        request_flags.check_comparable(request)
    remote = server.chosen(context, request.method, budget)
    out = None if out == Path("-") else out
    if out is None and retry_failed:
        raise UsageError("--retry-failed needs --out, which says what failed")
    to = Destination(out, out_dir, fields, as_csv=as_csv)
    out = to.journal
    inputs = collect(words or [], more, questions_file, request)
    videos = [*dict.fromkeys(group[0].videos[0] for group in inputs.groups)]
    check_subtitles(videos, subtitles)
    if estimate:
        if compare:
            raise UsageError("--estimate is for one answer: leave out --compare")
        from dycoke_cli.cli.commands.estimate import show_costs

        with BatchView(quiet) as view:
            show_costs(inputs.groups, request, view)
        return
    of_parts = parts.every is not None and not parts.when
    of_parts = of_parts or any(group[0].part_s is not None for group in inputs.groups)
    to.check(videos, request, has_times=of_parts or parts.when)
    with ExitStack() as stack:
        view = stack.enter_context(BatchView(quiet))
        if model.named is None and remote is None:
            view.note(BUNDLED_NOTE)
        for sentence in inputs.notes:
            view.note(sentence)
        view.stage("start")
        groups = _groups(inputs.groups, request, parts, compare, view)
        file: ResultsFile | None = None
        if out is not None and out.exists() and remote is None and engine.is_alone:
            # A run that is complete says so before torch is imported, which takes seconds.
            file = stack.enter_context(_opened(out, view))
            if (done := _finished(groups, request, file, retry_failed)) is not None:
                to.conclude(done, view)
                return
        plan, open_asker = asker_of(
            request,
            engine,
            model,
            remote,
            group_size,
            view,
            stack,
            cache=cache,
            here=no_server,
            compare=compare,
        )
        results: Results
        if out is None:
            results = to.stdout(request.generation, of_parts, parts.when, view.stop)
        else:
            results = file = file or stack.enter_context(_opened(out, view))
            if remote is None:
                _check_dtype(out, file, plan, view)
        try:
            counts = run(
                groups,
                plan,
                results,
                open_asker,
                view,
                retry_failed=retry_failed,
                fail_fast=fail_fast,
            )
        except (KeyboardInterrupt, SystemExit, DycokeError):  # by SIGTERM, too
            view.interrupted(out)
            raise
        to.conclude(counts, view, retried=retry_failed)


def _groups(
    given: Sequence[Sequence[Ask]],
    request: Request,
    parts: PartFlags,
    compare: bool,
    view: BatchView,
) -> list[Sequence[Ask]]:
    """The questions about each clip, or about each of its parts, as they are asked."""
    from dycoke_cli.runs.parts import Parts, groups_by_part

    when_s = (parts.every_s or 0.0) if parts.when else None
    groups: list[Sequence[Ask]] = [
        [replace(ask.asked_by(request), compare=compare, when_s=when_s) for ask in group]
        for group in given
    ]
    if parts.when or parts.every_s is None:
        return groups
    return groups_by_part(groups, Parts(parts.every_s), partial(view.stage, "video"))


def _finished(
    groups: Sequence[Sequence[Ask]], request: Request, file: ResultsFile, retry_failed: bool
) -> RunCounts | None:
    """Counts of a run that is complete, without torch, which takes seconds to import; else None."""
    from dycoke_cli.loop.plan import stored_plan
    from dycoke_cli.models.catalog import find
    from dycoke_cli.models.files.on_disk import stored_config
    from dycoke_cli.runs.run import finished

    with speaking_of_flags():
        source = find(request.model)
        stored = stored_plan(request, source, stored_config(source))
    if stored is None:
        return None
    return finished(groups, stored, file, retry_failed=retry_failed)


def asker_of(
    request: Request,
    engine: engine_flags.EngineFlags,
    model: request_flags.ModelFlag,
    remote: Server | None,
    group_size: int | None,
    view: BatchView,
    stack: ExitStack,
    *,
    cache: bool,
    here: bool,
    compare: bool = False,
) -> tuple[RunPlan, OpenAsker | None]:
    """Who answers, and the plan of the run; imports torch, unless a server has the model.

    Args:
        stack: holds the connection to the user's own server for the length of the run.
        here: whether the model is loaded even if a server of the user's has it in memory.
        compare: whether all is also asked without compression.
    """
    if remote is not None:
        from dycoke_cli.runs.remote.remote_asker import RemoteAsker

        served_model = remote.asked_by(model.model, request, compare=compare)
        plan = served_model.plan(request)
        return plan, lambda plan, _: RemoteAsker(served_model, plan.request)
    # The user's own server is used unless several workers are wanted, which are faster.
    on_server: ServerAsker | str = ""
    if engine.is_alone and not here:
        from dycoke_cli.server.local.client import find_server

        with speaking_of_flags():
            on_server = find_server(request, cache=cache, bulk=True, batch_size=group_size)
    if not isinstance(on_server, str):
        server = stack.enter_context(on_server)
        return server.plan(batch_size=group_size, cache=cache), lambda *_: server
    if on_server:
        view.note(f"Answering without your server: {on_server}")
    plan = _plan(request, engine, group_size, cache)
    if engine.engine == "ray":
        from dycoke_cli.loop.plan import common_dtype

        view.note(common_dtype(plan))
    return plan, engine.chosen()


def _check_dtype(out: Path, file: ResultsFile, plan: RunPlan, view: BatchView) -> None:
    """Warn where earlier answers are in another dtype, by which all is asked again."""
    if other := file.other_dtype(plan):
        view.warning(
            f"the answers in {out} are in {other}, and this run is in {plan.identity['dtype']}, so "
            f"that it asks again; --dtype {other} continues the earlier run"
        )


@contextmanager
def _opened(out: Path, view: BatchView) -> Iterator[ResultsFile]:
    """The file of results; says what was wrong with it."""
    from dycoke_cli.runs.results import open_results

    with open_results(out) as file:
        if file.damaged:
            view.warning(f"the last line of {out} was half written; its question is asked again")
        yield file


def _plan(
    request: Request, engine: engine_flags.EngineFlags, group_size: int | None, cache: bool
) -> RunPlan:
    """Plan of a run with a local model or on a cluster; imports torch."""
    from dycoke_cli.loop.plan import plan_of

    engine.start()
    with faster_imports():
        from dycoke_cli.models.devices import free_memory
        from dycoke_cli.models.load_memory import check_room, needed_bytes
        from dycoke_cli.models.resolve import resolve_model
        from dycoke_cli.stock.quiet import silence_libraries

        silence_libraries()
        workers = engine.workers or 1
        resolved = resolve_model(request.model, request.loading, workers)
    if workers > 1:  # each loads the model; a single one checks its memory while it loads
        check_room(resolved, free_memory(resolved.device), workers)
    with speaking_of_flags():
        return plan_of(
            request,
            resolved,
            batch_size=group_size,
            cache=cache,
            workers=workers,
            model_bytes=needed_bytes(resolved),
        )


def check_subtitles(videos: Sequence[Footage], wanted: str | None) -> None:
    """Check that a subtitle file exists, and that there is only one video to use it for."""
    from dycoke_cli.video.subtitles import AUTO, find_source

    if wanted is None or wanted == AUTO:
        return
    find_source(videos[0].path, wanted)  # raises if the file doesn't exist
    if len(videos) > 1:
        raise UsageError(
            f"--subtitles {display_name(wanted)} belongs to one video, and there are "
            f"{len(videos)}: --subtitles auto finds the file of each"
        )
