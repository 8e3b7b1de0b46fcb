"""The table of `dycoke methods`, and the page of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.param_flags import flag
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.compression.selection import Need
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.param import Parameter, parameters_of

if TYPE_CHECKING:
    from dycoke_cli.cli.method_documents import ListedMethod, ListedParameter, MethodList


def methods(document: MethodList) -> Group:
    """A line for each method: what it does, and the flag that says how many tokens it leaves."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("Name", "What it keeps, or does", "Budget"):
        table.add_column(heading, no_wrap=True)
    for method in document.methods:
        table.add_row(Text(method.name, style="bold"), method.summary, _budget(method))
    legend = (
        f"{document.default} is the default. `dycoke methods NAME` has a method's parameters, for "
        "--method NAME:parameter=value,…"
    )
    return Group(table, Text(), Text(legend, style="dim"))


def _budget(method: ListedMethod) -> str:
    budget = _first_budget(method)
    return "–" if budget is None else f"{flag(budget.name)} {budget.default_in_words}"


def _first_budget(method: ListedMethod) -> Parameter | None:
    parameters = parameters_of(METHODS[method.name]).values()
    return next((p for p in parameters if p.told.budget and p.default is not None), None)


def method(document: MethodList) -> Group:
    """All that is known of the first of some methods."""
    one = document.methods[0]
    parts = _about(one, one.name == document.default)
    if one.parameters:
        parts += [Text(), _parameters(one.parameters)]
    if budget := _first_budget(one):
        spec = f"{one.name}:{budget.name}={budget.default_in_words},…"
        parts.append(Text(f"As flags of ask and batch, or as --method {spec}", style="dim"))
    return Group(*parts, *_ablations(one))


def _about(method: ListedMethod, is_default: bool) -> list[RenderableType]:
    mark = " (the default)" if is_default else ""
    name = Text(method.name, style="bold").append(f"{mark}: {method.summary}", style="")
    acts = ", ".join(method.acts) or "nowhere"
    needs = "".join(f" Needs {_NEEDS[need]}." for need in method.needs)
    return [
        name,
        Text(f"Acts: {acts}.{needs} Paper: {method.paper or 'none'}."),
        Text(f"Families: {_families(method)}."),
    ]


_NEEDS: dict[Need, str] = {
    "attention": "the vision encoder's attention",
    "question": "the question",
}


def _families(method: ListedMethod) -> str:
    """Those that it serves: once, where that is the same everywhere."""
    told = {place: _named(families) for place, families in method.families.items()}
    if len({*told.values()}) < 2:
        return next(iter(told.values()), "all")
    return "; ".join(f"{place} {families}" for place, families in told.items())


def _named(families: Sequence[str]) -> str:
    """The families, or which are missing, whichever is shorter."""
    missing = [family for family in FAMILIES if family not in families]
    if not missing:
        return "all"
    if len(missing) < len(families):
        return f"all but {', '.join(missing)}"
    return ", ".join(families)


def _ablations(method: ListedMethod) -> list[RenderableType]:
    if method.ablations:
        rows = "; ".join(f"{row.name}, {row.summary}" for row in method.ablations)
        return [Text(f"Ablations (names for --method and --methods): {rows}.")]
    return []


def _parameters(parameters: Sequence[ListedParameter]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Flag", no_wrap=True)
    table.add_column("What it does", overflow="fold")
    for parameter in parameters:
        symbol = f" {parameter.symbol}" if parameter.symbol else ""
        told = [parameter.help]
        if parameter.range is not None:
            told.append(f"Range: {parameter.range}.")
        told.append(f"Default: {parameter.default_in_words}.")
        flags = [Text(f"{flag}{symbol}") for flag in parameter.flags]
        table.add_row(Text("\n").join(flags), Text(" ".join(told)))
    return table
