"""Figures printed below the answer of a server, with the baseline's where compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rich.text import Text

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.cli.render.figures import FigureTable
from dycoke_cli.cli.render.units import Quantity, column, count, seconds, share
from dycoke_cli.unicode import one_line

_SECONDS = partial(Quantity, shown=seconds)
_FIGURES: tuple[tuple[str, Callable[[Answer], Any], Callable[[Any], str | Quantity]], ...] = (
    ("Visual tokens", lambda answer: answer.tokens.visual, count),
    ("Visual tokens at prefill", lambda answer: answer.tokens.visual_kept, count),
    ("Prompt tokens", lambda answer: answer.tokens.prompt, count),
    ("Generated tokens", lambda answer: answer.tokens.generated, count),
    ("Video decode", lambda answer: answer.seconds.video_decode, _SECONDS),
    ("TTFT", lambda answer: answer.seconds.first_token, _SECONDS),
    ("Request", lambda answer: answer.seconds.request, _SECONDS),
)


def served_line(answer: Answer, waited_s: float, more: str) -> str:
    """Summary line of a server's answer.

    Args:
        waited_s: seconds until its end.
    """
    tokens, parts = answer.tokens, [seconds(waited_s)]
    if tokens.visual and tokens.visual_kept is not None:
        dropped = share(tokens.visual - tokens.visual_kept, tokens.visual)
        parts.append(f"{dropped} of {count(tokens.visual)} visual tokens dropped")
    elif isinstance(tokens.prompt, int):
        parts.append(f"{count(tokens.prompt)} prompt tokens")
    return one_line(" · ".join([*parts, answer.model.name, f"{more} shows more"]))


def figures(answer: Answer, waited_s: float) -> FigureTable:
    """Table of all figures of an answer; a dash where the server doesn't report one.

    Args:
        waited_s: seconds until its end.
    """
    base = None if answer.compared_to is ABSENT else answer.compared_to
    table = FigureTable(title=Text(one_line(f"{answer.model.name} at {answer.model.server}")))
    table.title_justify = "left"
    table.add_column("")
    table.add_column(Text(one_line(_method(answer))), ratio=1)
    if base is not None:
        table.add_column("baseline", ratio=1)
        table.add_column("ratio", justify="right", no_wrap=True)
        same = "identical" if answer.answer == base.answer else "differs"
        table.add_row("Answer", Text(one_line(answer.answer)), Text(one_line(base.answer)), same)
    for name, value, unit in _FIGURES:
        values = [value(one) for one in (answer, base) if one is not None]
        cells = column(["–" if one is None else unit(one) for one in values])
        if base is not None:
            reported = [one for one in values if one is not None]
            cells.append(share(*reported) if len(reported) == 2 else "–")
        table.add_row(name, *cells)
    if base is None:
        table.add_row("In all", seconds(waited_s))
    return table


def _method(answer: Answer) -> str:
    return "the server's own method" if answer.method is None else str(answer.method["name"])
