"""Table of `dycoke eval` with the budgets that guards used."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.figures import explained, headed, with_texts
from dycoke_cli.cli.render.units import count
from dycoke_cli.evaluation.report.guarded_row import GuardedRow
from dycoke_cli.evaluation.report.scored_row import ScoredRow
from dycoke_cli.unicode import one_line


def guard_tables(rows: Sequence[ScoredRow]) -> list[Table]:
    """Table of questions per budget of each guard; empty without a guard."""
    guards = [(str(n), row.spec, row.guard) for n, row in enumerate(rows, 1) if row.guard]
    if not guards:
        return []
    table = headed("#", "Guard", "Budget", "Asked", "Kept", "Promise")
    for number, spec, guard in guards:
        for budget in guard.budgets:
            table.add_row(
                number,
                Text(one_line(spec)),
                Text(one_line(budget.setting)),
                count(budget.asked),
                count(budget.kept),
                Text(_promise(guard)),
            )
    return [
        explained(
            with_texts(table, ("Guard", "Budget", "Promise")),
            "Questions that a guard asked with each budget, and those whose answer it kept. Its "
            "tokens and time above are those of all budgets that it tried. What it bounds is the "
            "share of answers that differ from the uncompressed ones: agreement isn't accuracy.",
        )
    ]


def _promise(guard: GuardedRow) -> str:
    if guard.threshold is None:
        return "none: all tokens are kept"
    how = "on average" if guard.on_average else "with 95 % confidence"
    return f"{100 * guard.alpha:g} % or fewer changed, {how}"
