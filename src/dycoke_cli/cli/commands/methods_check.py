"""`dycoke methods check`: checks of the methods of a plug-in file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dycoke_cli import plugins
from dycoke_cli.cli import output, render
from dycoke_cli.cli.flags import options
from dycoke_cli.cli.flags.flag_table import flag_table
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import display_name

_FLAGS = flag_table("""
    FILE.py: A plug-in file with METHODS.
""")
FRAMES = 8


def check(file: Annotated[Path, _FLAGS["FILE.py"]], quiet: options.Quiet = False) -> None:
    """Check the methods of a plug-in file: what they promise, and answers of the bundled model.

    Examples:
        dycoke methods check stride.py

    Each parameter is tried at both ends of its range. Exit code 1: a check failed.
    """
    names = plugins.names_of("method", file)
    if not names:
        raise UsageError(
            f"{display_name(file)} offers no method; a Python file needs METHODS, as in METHODS = "
            '{"stride": Stride}'
        )
    # Imported late: torch and transformers take seconds.
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.load import load
    from dycoke_cli.stock.quiet import silence_libraries
    from dycoke_cli.verification.run_checks import clip, method_checks
    from dycoke_cli.verification.verification_report import OK

    silence_libraries()
    loaded = load("mini", device="cpu", dtype="float32")
    failed = 0
    for name in names:
        verdicts = []
        for step in method_checks(METHODS[name], VideoSession(loaded, clip(FRAMES))):
            verdicts.append(step.verdict)
            if not quiet or step.verdict != OK:
                render.check(step.name, step.verdict, step.detail)
        wrong = len(verdicts) - verdicts.count(OK)
        failed += wrong
        output.line(f"{name}: " + (f"{wrong} of {len(verdicts)} checks failed" if wrong else OK))
    if failed:
        raise typer.Exit(1)
