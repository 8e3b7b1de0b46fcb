"""`dycoke eval`: methods compared on a benchmark, in a table that says how sure it is."""

from __future__ import annotations

import contextlib

from dycoke_cli.cli import changes, flags, method_flags, options, output, render
from dycoke_cli.cli.libraries import quieten_libraries
from dycoke_cli.cli.spread import spread
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.listener import Listener
from dycoke_cli.models import settings

SCHEMA = "dycoke.eval/1"


@spread
def evaluate(
    name: options.Benchmark,
    model: flags.Model,
    placing: flags.Placing,
    methods: method_flags.Methods = "none,dycoke",
    split: options.SplitName = "test",
    limit: options.Limit = None,
    frames: options.Frames = None,
    workers: options.Workers = None,
    out: options.Out = None,
    show_changed: options.ShowChanged = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare methods on a benchmark.

    Answers are kept as they come: the same command again goes on where this one was broken off.
    """
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{"benchmark": name}]))
        dataset = open_dataset(name)
        chosen = model.chosen()
        shown = stack.enter_context(Shown(quiet))
        # From here on torch is imported, which takes seconds.
        shown.starting()
        from dycoke_cli.evaluation.plan import Plan
        from dycoke_cli.evaluation.runner import evaluate as run
        from dycoke_cli.evaluation.specs import parse_specs

        counted = {} if frames is None else {"frames": frames}
        plan = Plan(
            dataset=dataset,
            specs=parse_specs(methods),
            model=settings.BUNDLED if chosen is None else chosen,
            loading=placing.options(),
            split=split,
            limit_videos=limit,
            out=out,
            workers=workers,
            **counted,
        )
        quieten_libraries()
        report = run(plan, shown)
        shown.stop()
        document = report.to_dict()
        if as_json:
            listed = {"changes": [vars(change) for change in report.changed]}
            output.write_json({**document, **(listed if show_changed else {})})
            return
        render.evaluation_tables(document)
        if show_changed:
            changes.write(report)


class Shown(Listener):
    """Shows progress and warnings on stderr.

    Args:
        quiet: shows nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._start = render.Progress(quiet)
        self._answers = render.AnswerCount(quiet)

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._answers.total:
            render.note("What was answered is kept; the same command goes on from there.")

    def starting(self) -> None:
        """Nothing is known yet."""
        self._start.update("start", 0, 0)

    def stop(self) -> None:
        """Take all progress away."""
        self._start.stop()
        self._answers.stop()

    def warning(self, sentence: str) -> None:
        """Show a warning."""
        if not self._quiet:
            self.stop()
            render.warning(sentence)

    def progress(self, done: int, total: int) -> None:
        """Show how many answers there are."""
        self._start.stop()
        self._answers.update(done, total)
