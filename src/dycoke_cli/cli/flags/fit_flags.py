"""`--fit`: a budget of memory, of seconds, or both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import typer

from dycoke_cli.engine.memory.fit import Budget
from dycoke_cli.errors import UsageError
from dycoke_cli.resources import parse_size

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min)", re.ASCII)

Fit = Annotated[
    list[str] | None,
    typer.Option(
        "--fit",
        metavar="SIZE|TIME",
        help="Choose frames (at most those asked for), method, quantization and, where the model's "
        "is dynamic, resolution, so that a budget is kept and least is lost: 8GB of memory, 20s "
        "from the frames to the answer, or 8GB,20s. What other flags set stays.",
        show_default=False,
        rich_help_panel="Output",
    ),
]


def budget_of(given: list[str] | None) -> Budget | None:
    """Parse the values of `--fit`; None without any."""
    if not given:
        return None
    bounds = [_bound(text.strip()) for text in ",".join(given).split(",")]
    sizes = [bound.bytes for bound in bounds if bound.bytes is not None]
    times = [bound.seconds for bound in bounds if bound.seconds is not None]
    if len(sizes) > 1 or len(times) > 1:
        raise UsageError("--fit takes one size and one time; leave out the others")
    return Budget(sizes[0] if sizes else None, times[0] if times else None)


def check_alone(others: Mapping[str, object]) -> None:
    """Check that no flag is given by which --fit would plan more than one answer here."""
    from dycoke_cli.loop.features import WORKERS, refusal  # help needs the flag alone

    if flag := next((one for one, given in others.items() if given), None):
        raise refusal("fit", WORKERS, flag=flag)


def _bound(text: str) -> Budget:
    if (time := _TIME.fullmatch(text)) is not None and float(time[1]):
        return Budget(seconds=float(time[1]) * (60 if time[2] == "min" else 1))
    try:
        return Budget(parse_size(text))
    except UsageError as error:
        raise UsageError(
            f"--fit takes a size of memory, a time, or both, such as 8GB,20s; not {text[:40]!r}"
        ) from error
