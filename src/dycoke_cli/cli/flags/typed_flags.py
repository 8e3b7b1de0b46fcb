"""Flags of typed questions, whose answer is one of given options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.request import Request

_PANEL = "Generation"

Choices = Annotated[
    str | None,
    typer.Option(
        "--choices",
        metavar="A,B,…|FILE",
        help="Answer with one of these, by their probabilities; no text is generated. A file has "
        "one per line.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
YesNo = Annotated[
    bool,
    typer.Option("--yes-no", help="Answer with yes or no, likewise.", rich_help_panel=_PANEL),
]
Score = Annotated[
    str | None,
    typer.Option(
        "--score",
        metavar="LOW-HIGH",
        help="Answer with a whole number, as in 1-5, likewise; with the mean.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="Divide the options' probabilities by those without the video.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True)
class TypedFlags:
    """Flags of typed questions."""

    choices: Choices = None
    yes_no: YesNo = False
    score: Score = None
    calibrate: Calibrate = False

    def applied(self, request: Request) -> Request:
        """Add the options to a request.

        Raises:
            UsageError: options that can't be scored, two kinds of them, or a flag that doesn't go
                with them.
        """
        kinds = {"--choices": self.choices, "--yes-no": self.yes_no, "--score": self.score}
        given = [flag for flag, value in kinds.items() if value]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other; use one of them")
        if not given:
            if self.calibrate:
                raise UsageError("--calibrate is for options: add --choices, --yes-no or --score")
            return request
        [flag] = given
        if request.guard is not None:
            raise UsageError(f"--guard is for answers in words; leave it out, or {flag}")
        if request.generation.temperature > 0:
            raise UsageError(f"{flag} scores options and samples nothing; leave --temperature out")
        typed = self._options()
        typed = typed.calibrated() if self.calibrate else typed
        return replace(request, generation=replace(request.generation, typed=typed))

    def _options(self) -> TypedOptions:
        if self.choices is not None:
            return TypedOptions.parse(self.choices)
        return TypedOptions.yes_no() if self.score is None else TypedOptions.parse_score(self.score)
