"""`dycoke verify`: checks an attached method on a model's real weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.cli import output, render
from dycoke_cli.cli.flags import shared_flags
from dycoke_cli.cli.flags.param_flags import FromParams, spread
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.stock.quiet import faster_imports, silence_libraries
from dycoke_cli.verification import SCHEMA

if TYPE_CHECKING:
    from dycoke_cli.verification.verification_report import CheckResult

FRAMES = 8


_FLAGS = shared_flags.flag_table(
    """
    --frames N: Number of frames of the clip.
    """,
    {"--frames": {"min": 1}},
)


@spread
def verify(
    model: shared_flags.ModelArgument,
    loading: Annotated[LoadOptions, FromParams("Model", without=("random_weights",))],
    frames: Annotated[int, _FLAGS["--frames"]] = FRAMES,
    as_json: shared_flags.Json = False,
    quiet: shared_flags.Quiet = False,
) -> None:
    """Verify compression on a model's real weights.

    Examples:
        dycoke verify llava-onevision-0.5b
        dycoke verify ./my-checkpoint --frames 4 --json

    With all tokens kept, answers must match those of stock generate(); with pruning, those of a
    masked reference. Nothing is sent anywhere.
    """
    with output.failures_as_json(as_json, SCHEMA, [{"model": model}]):
        if not quiet:
            render.note(f"Loading {model}; then answers are compared, which takes some minutes.")
        with faster_imports():
            from dycoke_cli.engine.session import VideoSession
            from dycoke_cli.models.load import load
            from dycoke_cli.verification.run_checks import clip
            from dycoke_cli.verification.run_checks import verify as run

        silence_libraries()
        session = VideoSession(load(model, **asdict(loading)), clip(frames))
        report = run(session) if quiet else run(session, _show_check)
        if as_json:
            output.write_json(to_dict(report))
        else:
            output.line(f"{model}: {report.verdict}")
    if report.verdict != "verified":
        raise typer.Exit(1)


def _show_check(step: CheckResult) -> None:
    render.check(step.name, step.verdict, step.detail)
