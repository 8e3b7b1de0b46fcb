"""The tables of `dycoke methods`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dycoke_cli.compression.selection import Need
from dycoke_cli.models.families import FAMILIES

if TYPE_CHECKING:
    from dycoke_cli.cli.method_documents import ListedMethod, ListedParameter, MethodList


def methods(document: MethodList) -> Group:
    """Each method with its parameters; the default is marked."""
    parts: list[RenderableType] = []
    for number, method in enumerate(document.methods):
        parts += [
            *_about(method, method.name == document.default),
            *_told_of(method.parameters, document.methods[:number]),
            *_ablations(method),
            Text(),
        ]
    return Group(*parts[:-1])


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


def _told_of(
    parameters: Sequence[ListedParameter], before: Sequence[ListedMethod]
) -> list[RenderableType]:
    """The parameters of a method; those that it shares with one before it are told there."""
    for other in before:
        shared = other.parameters
        if shared and all(parameter in parameters for parameter in shared):
            own = [parameter for parameter in parameters if parameter not in shared]
            whose = Text(f"Parameters: those of {other.name}{', and:' if own else '.'}")
            return [whose, *_told_of(own, [])]
    return [Text(), _parameters(parameters)] if parameters else []


def _ablations(method: ListedMethod) -> list[RenderableType]:
    if method.ablations:
        rows = "; ".join(f"{row.name}, {row.summary}" for row in method.ablations)
        return [Text(f"Ablations, for `dycoke eval --methods`: {rows}.")]
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
