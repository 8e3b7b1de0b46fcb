"""`dycoke batch`: questions about many videos, a JSON object a line."""

from __future__ import annotations

from contextlib import ExitStack

import typer

from dycoke_cli.cli import batch_options, flags, options
from dycoke_cli.cli.ask import BUNDLED_NOTE
from dycoke_cli.cli.batch_engine import EngineFlags
from dycoke_cli.cli.batch_view import BatchView
from dycoke_cli.cli.libraries import quieten_libraries
from dycoke_cli.cli.spread import spread
from dycoke_cli.errors import UsageError
from dycoke_cli.models import settings


@spread
def batch(
    frames: flags.Frames,
    model: flags.Model,
    placing: flags.Placing,
    method: flags.Method,
    answer: flags.Answer,
    engine: EngineFlags,
    videos: batch_options.Videos = None,
    question: options.QuestionArgument = None,
    more: options.Questions = None,
    questions_file: batch_options.QuestionsFile = None,
    random_weights: options.RandomWeights = False,
    cache: options.Cache = False,
    batch_size: batch_options.BatchSize = "auto",
    fail_fast: batch_options.FailFast = False,
    retry_failed: batch_options.RetryFailed = False,
    out: batch_options.Out = None,
    fields: batch_options.Fields = None,
    as_csv: batch_options.Csv = False,
    quiet: options.Quiet = False,
) -> None:
    """Answer questions about many videos.

    One JSON object a line, as they come: to --out, which the same command goes on from, or to
    stdout. Exit code 1: some failed, and have a line that says why.
    """
    # Only now: PyAV and NumPy take their time.
    from dycoke_cli.batch.plan import How, identity
    from dycoke_cli.batch.results import Results, open_results
    from dycoke_cli.batch.run import run
    from dycoke_cli.cli.batch_input import collect
    from dycoke_cli.cli.batch_lines import Lines
    from dycoke_cli.engine.generation_options import GenerationOptions

    together = _batch_size(batch_size)
    decoding, loading = answer.choice(), placing.options(random_weights=random_weights)
    sampling, method_choice = frames.sampling(), method.choice()
    if out is None and retry_failed:
        raise UsageError("--retry-failed needs --out, which says what failed")
    if out is not None and (as_csv or fields is not None):
        raise UsageError("--fields and --csv are for stdout; --out keeps whole lines")
    given = collect(videos, question, more, questions_file)
    lines = Lines(fields, as_csv)
    chosen = model.chosen()
    with ExitStack() as stack:
        view = stack.enter_context(BatchView(quiet))
        if chosen is None:
            view.note(BUNDLED_NOTE)
        for sentence in given.notes:
            view.note(sentence)
        # From here on torch is imported, which takes seconds.
        view.starting()
        quieten_libraries()
        from dycoke_cli.models.memory import needed_bytes
        from dycoke_cli.models.resolve import choose

        model_found = choose(settings.BUNDLED if chosen is None else chosen, loading)
        how = How(
            model=model_found.name,
            loading=loading,
            method=method_choice.for_model(model_found),
            sampling=sampling,
            decoding=GenerationOptions(
                decoding.max_new_tokens, decoding.temperature, decoding.seed
            ),
            identity=identity(model_found),
            batch_size=together,
            cache=cache,
            model_bytes=needed_bytes(model_found),
        )
        answers = engine.chosen()
        results: Results = lines
        if out is not None:
            results = file = stack.enter_context(open_results(out))
            if file.torn:
                view.warning(f"the last line of {out} was half written; its question is asked anew")
        counts = run(
            given.jobs,
            how,
            results,
            answers,
            view,
            retry_failed=retry_failed,
            fail_fast=fail_fast,
        )
        view.finished(counts)
    if counts.standing:
        raise typer.Exit(1)


def _batch_size(given: str) -> int | None:
    if given == "auto":
        return None
    if given.isdecimal() and int(given) > 0:
        return int(given)
    raise UsageError(f"--batch-size must be auto, or 1 or more, not {given!r}")
