"""Flags of the methods that a table compares: `--methods` and `--retain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.cli import completion
from dycoke_cli.cli.flags.method_flags import AUTO, PANEL
from dycoke_cli.compression.method_specs import ABLATIONS, ALL, Spec, parse_specs
from dycoke_cli.compression.registry import METHODS, name_of
from dycoke_cli.request import Request

if TYPE_CHECKING:
    from dycoke_cli.guard.ladder import Guard

Methods = Annotated[
    str,
    typer.Option(
        metavar="NAME[:PARAMETER=X,…],…",
        autocompletion=completion.rows,
        help="The rows of the table, as in none,dycoke:merge_ratio=0.5,window=8,evs; `dycoke "
        f"methods` lists them. There are {', '.join(METHODS)}, {ALL} (every method), {AUTO} (what "
        "`dycoke tune` chose), and "
        + ", ".join(f"{name} ({row.summary})" for name, row in ABLATIONS.items())
        + ".",
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        "--retain",
        metavar="R,…",
        help="Fractions of the visual tokens kept before the language model: a row at each for "
        "each method that takes a budget. Default: its own.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]


def guards_of(
    request: Request, methods: str, bound: float | None, on_average: float | None
) -> tuple[tuple[Guard, ...], tuple[str, ...]]:
    """Guards of `--guard` and `--guard-mean` for eval, and warnings about the stored tuning."""
    # Imported late: no help page needs it.
    from dycoke_cli.cli.flags.tuned_method import (
        check_guarded,
        differences,
        guards_with,
        tuning_for,
    )

    guarded = bound is not None or on_average is not None
    if not guarded and AUTO not in _split(methods):
        return (), ()
    flag = "--guard" if guarded else f"--methods {AUTO}"
    if guarded:
        check_guarded(request)
    tuning = tuning_for(request, flag, guarded=guarded)
    guards, cautions = guards_with(tuning, bound, on_average)
    return guards, (*differences(request, tuning), *cautions)


def rows_of(methods: str, budgets: str | None, model: str) -> list[Spec]:
    """Parse `--methods`; auto is replaced by the choice of `dycoke tune` for the model."""
    pieces = _split(methods)
    if AUTO in pieces:
        from dycoke_cli.guard.tuned import tuning_of  # imported late, as above

        tuned = name_of(tuning_of(model).chosen())
        pieces = [tuned if piece == AUTO else piece for piece in pieces]
    return parse_specs(",".join(pieces), budgets)


def _split(methods: str) -> list[str]:
    return [piece.strip() for piece in methods.split(",")]
