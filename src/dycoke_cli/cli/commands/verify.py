"""`dycoke verify`: checks an attached method, or rules of KV pruning, on real weights."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.cli import output, render
from dycoke_cli.cli.flags import options
from dycoke_cli.cli.flags.spread import FromParams, spread
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.storage.output_file import check_output_file, replace_content, unwritable
from dycoke_cli.verification import SCHEMA
from dycoke_cli.verification.decode_rules import SCHEMA as DECODE_RULES_SCHEMA
from dycoke_cli.verification.decode_rules.contexts import MAX_SENTENCES

if TYPE_CHECKING:
    from dycoke_cli.verification.verification_report import MethodAnswer, Step

FRAMES = 8
CONTEXTS = 20
SENTENCES = 20


@spread
def verify(
    model: options.ModelArgument,
    loading: Annotated[LoadOptions, FromParams("Model", without=("random_weights",))],
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            metavar="N",
            min=1,
            help=f"Number of frames of the clip. Default: {FRAMES}.",
            show_default=False,
        ),
    ] = None,
    decode_rules: Annotated[
        bool,
        typer.Option(
            "--decode-rules",
            help="Measure instead which facts hidden in texts each rule of KV pruning finds. Also "
            "for a text decoder: a GGUF file, a folder or a Hugging Face id.",
        ),
    ] = False,
    contexts: Annotated[
        int | None,
        typer.Option(
            "--contexts",
            metavar="N",
            min=1,
            help=f"With --decode-rules: number of texts (contexts). Default: {CONTEXTS}.",
            show_default=False,
        ),
    ] = None,
    sentences: Annotated[
        int | None,
        typer.Option(
            "--sentences",
            metavar="N",
            min=1,
            max=MAX_SENTENCES,
            help="With --decode-rules: sentences of a text, of about 14 tokens each. Default: "
            f"{SENTENCES}.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where the report goes. Default: verify-NAME.json, or decode-rules-NAME.json.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Verify compression on a model's real weights, and write a report.

    Examples:
        dycoke verify llava-onevision-0.5b
        dycoke verify ./my-checkpoint --frames 4 --out report.json
        dycoke verify llava-onevision-0.5b --decode-rules

    With all tokens kept, answers must match those of stock generate(); with pruning, those of a
    masked reference. Nothing is sent anywhere.
    """
    schema, begin = (DECODE_RULES_SCHEMA, "decode-rules") if decode_rules else (SCHEMA, "verify")
    path = out or Path(f"{begin}-{_file_name(model)}.json")
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(schema, [{"model": model}]))
        _check_flags(decode_rules, frames, contexts, sentences)
        check_output_file(path, "--out", "the report would take its place")
        if decode_rules:
            size = contexts or CONTEXTS, sentences or SENTENCES
            _compare_rules(model, loading, size, path, as_json, quiet)
            return
        if not quiet:
            render.note(f"Loading {model}; then answers are compared, which takes some minutes.")
        with faster_imports():
            from dycoke_cli.engine.session import VideoSession
            from dycoke_cli.models.load import load
            from dycoke_cli.stock.quiet import silence_libraries
            from dycoke_cli.verification.run_checks import clip
            from dycoke_cli.verification.run_checks import verify as run

        silence_libraries()
        session = VideoSession(load(model, **asdict(loading)), clip(frames or FRAMES))
        report = run(session) if quiet else run(session, _show_check, _show_answer)
        document = to_dict(report)
        _write(path, document)
        if as_json:
            output.write_json(document)
        else:
            output.line(f"{model}: {report.verdict}")
        if not quiet:
            render.note(f"The report: {path}")
    if report.verdict != "verified":
        raise typer.Exit(1)


def _check_flags(
    decode_rules: bool, frames: int | None, contexts: int | None, sentences: int | None
) -> None:
    """Refuse flags of the other measurement."""
    if decode_rules and frames is not None:
        raise UsageError("--decode-rules reads texts, not frames; drop --frames")
    for flag, value in (("--contexts", contexts), ("--sentences", sentences)):
        if value is not None and not decode_rules:
            raise UsageError(f"{flag} is for --decode-rules; add that, or drop {flag}")


def _compare_rules(
    model: str, loading: LoadOptions, size: tuple[int, int], path: Path, as_json: bool, quiet: bool
) -> None:
    """`--decode-rules`: measure, write the report, and print its table."""
    progress = render.Progress(quiet)
    progress.update("load", 0, 0)
    try:
        with faster_imports():
            from dycoke_cli.cli.commands.decode_rules_table import table
            from dycoke_cli.stock.quiet import silence_libraries
            from dycoke_cli.verification.decode_rules.load_decoder import load_decoder
            from dycoke_cli.verification.decode_rules.run_decode_rules import compare_rules

        silence_libraries()

        def show(done: int, total: int) -> None:
            progress.update("contexts", done, total)

        report = compare_rules(load_decoder(model, loading), *size, show)
    finally:
        progress.stop()
    document = to_dict(report)
    _write(path, document)
    if as_json:
        output.write_json(document)
    else:
        render.to_stdout(table(report))
    if not quiet:
        for sentence in report.warnings:
            render.warning(sentence)
        render.note(f"The report: {path}")


def _show_check(step: Step) -> None:
    render.check(step.name, step.verdict, step.detail)


def _show_answer(one: MethodAnswer) -> None:
    render.note(f"{one.question} ({one.method}) {one.answer}")


def _file_name(model: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(model).name) or "model"


def _write(path: Path, report: dict[str, object]) -> None:
    try:
        replace_content(path, (json.dumps(report, indent=2) + "\n").encode())
    except OSError as error:
        raise OutputError(unwritable(path, error)) from error
