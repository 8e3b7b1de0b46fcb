"""`dycoke methods`: the list of methods, and the details of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dycoke_cli.answer.answer import Version
from dycoke_cli.answer.json_schema import Doc
from dycoke_cli.cli import output
from dycoke_cli.cli.flags import shared_flags
from dycoke_cli.cli.flags.param_flags import FLAGGED, flags, in_flags
from dycoke_cli.cli.render.figures import Column, as_text, table, texts
from dycoke_cli.compression.method import Method, Need
from dycoke_cli.compression.registry import (
    ABLATIONS,
    DEFAULT,
    METHODS,
    PLACES,
    find,
    identity,
    places,
)
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.param import Parameter, parameters_of
from dycoke_cli.version import __version__

SCHEMA = "dycoke.methods/1"

_NEEDS: dict[Need, str] = {
    "attention": "the vision encoder's attention",
    "question": "the question",
    "frame_attention": "the language model's attention to each frame",
}


_FLAGS = shared_flags.flag_table(
    """
    NAME: Of a method, to show where it acts, its parameters and its paper.
    """,
    {"NAME": {"autocompletion": shared_flags.complete_methods}},
)


def methods(
    name: Annotated[str | None, _FLAGS["NAME"]] = None, as_json: shared_flags.Json = False
) -> None:
    """List compression methods, or show the parameters of one.

    Examples:
        dycoke methods
        dycoke methods dycoke
        dycoke methods --json
    """
    with output.failures_as_json(as_json, SCHEMA, [{}]):
        # An ablation is on the page of its method.
        owner = ABLATIONS[name].method if name in ABLATIONS else name
        chosen = [*METHODS.values()] if owner is None else [find(owner)]
        output.show(list_methods(chosen), as_json, listed if name is None else page)


@dataclass(frozen=True)
class ListedParameter:
    """Parameter of a compression method."""

    name: str
    flags: Annotated[tuple[str, ...], Doc("Empty where only --method NAME:name=value sets it.")]
    symbol: Annotated[str | None, Doc("In the paper.")]
    help: str
    default: Annotated[
        bool | float | str | None, Doc("Null where it depends on the model or on other parameters.")
    ]
    default_in_words: str
    range: Annotated[str | None, Doc("In words; null without limits.")]
    switch: Annotated[str | None, Doc("The on-off parameter that enables it.")]
    schema: Annotated[dict[str, Any], Doc("Its JSON Schema.", minProperties=1)]


@dataclass(frozen=True)
class ListedAblation:
    """Ablation: a method with some parameters fixed, named in `dycoke eval --methods`."""

    name: str
    summary: str
    parameters: Annotated[dict[str, Any], Doc("Fixed parameters.")]


@dataclass(frozen=True)
class ListedMethod:
    """A compression method."""

    name: str
    title: Annotated[str, Doc("In panels.")]
    summary: Annotated[str, Doc("What it does, in a few words.")]
    paper: str | None
    plugin: Annotated[
        str | None, Doc("Package or file that it comes from, and a hash; null of bundled ones.")
    ]
    acts: Annotated[tuple[str, ...], Doc("Where it selects.")]
    needs: Annotated[tuple[Need, ...], Doc("Inputs of its selection other than the visual tokens.")]
    families: Annotated[
        dict[str, tuple[str, ...]],
        Doc(
            "Families of models that it serves, for each place where it chooses; parameters turn "
            "places off. Empty for the baseline, which serves all."
        ),
    ]
    parameters: tuple[ListedParameter, ...]
    ablations: tuple[ListedAblation, ...]


@dataclass(frozen=True, kw_only=True)
class MethodList:
    """Compression methods: the JSON object of `dycoke methods --json`."""

    schema: str = SCHEMA
    version: Version = __version__
    default: Annotated[str, Doc("The method where none is named.")]
    methods: tuple[ListedMethod, ...]


def list_methods(methods: Iterable[type[Method]]) -> MethodList:
    """Build the JSON object of some methods."""
    return MethodList(default=DEFAULT, methods=tuple(map(_method, methods)))


def _method(method: type[Method]) -> ListedMethod:
    return ListedMethod(
        name=method.name,
        title=method.title,
        summary=method.summary,
        paper=method.paper,
        plugin=identity(method).get("plugin"),
        acts=tuple(places(method)),
        needs=tuple(method.needs),
        families={place: _supported_families(method, place) for place in places(method)},
        parameters=tuple(map(_parameter, parameters_of(method).values())),
        ablations=tuple(
            ListedAblation(name, ablation.summary, dict(ablation.parameters))
            for name, ablation in method.ablations.items()
        ),
    )


def _supported_families(method: type[Method], place: str) -> tuple[str, ...]:
    """Families on which a method can select tokens at a place."""
    inside, in_decode = "inside" in PLACES[place], "pruning" in PLACES[place]
    in_tower = "before_vision" in PLACES[place]
    return tuple(
        name
        for name, family in FAMILIES.items()
        if not family.only_none
        # The conditions under which binding or attaching a method to a model fails, by family.
        and (family.tower is not None or "attention" not in method.needs)
        and (family.encodes_parts or not in_tower)
        and (family.has_pictures or method.shrink is Method.shrink)
        and (family.keeps_every_token or not (inside or in_decode))
        and (family.causal or not inside)
    )


def _parameter(parameter: Parameter) -> ListedParameter:
    spec = parameter.spec
    return ListedParameter(
        name=parameter.name,
        flags=tuple(flags(parameter)) if parameter.name in FLAGGED else (),
        symbol=spec.symbol,
        help=in_flags(spec.help),
        default=parameter.default,
        # A value may be a word that is a flag elsewhere, such as `device`.
        default_in_words=in_flags(spec.default) if spec.default else parameter.default_in_words,
        range=parameter.range,
        switch=spec.switch,
        schema=parameter.schema(),
    )


def listed(document: MethodList) -> Group:
    """Table with a line per method: what it does, and the flag that sets its budget."""
    made = table(
        document.methods,
        (
            Column("Name", lambda method: method.name, as_text),
            Column("What it keeps, or does", lambda method: method.summary, as_text),
            Column("Budget", _budget, as_text),
        ),
    )
    legend = (
        f"Default: {document.default}. `dycoke methods NAME`: all of --method NAME:name=value,…"
    )
    return Group(made, Text(legend, style="dim"))


def _budget(method: ListedMethod) -> str:
    parameters = parameters_of(METHODS[method.name]).values()
    budgets = {p.name for p in parameters if p.spec.budget and p.default is not None}
    first = next((each for each in method.parameters if each.name in budgets), None)
    return f"{(first.flags or (first.name,))[0]} {first.default_in_words}" if first else "–"


def page(document: MethodList) -> Group:
    """Details of the only method in a document."""
    method = document.methods[0]
    parts = _about(method, method.name == document.default)
    if method.parameters:
        parts += [Text(), _parameters(method.parameters)]
        spec = f"--method {method.name}:name=value,…"
        parts.append(Text(f"Flags of ask and batch; {spec} sets all of them.", style="dim"))
    if method.ablations:
        rows = "; ".join(f"{row.name}, {row.summary}" for row in method.ablations)
        parts.append(Text(f"Ablations (names for --method and --methods): {rows}."))
    return Group(*parts)


def _about(method: ListedMethod, is_default: bool) -> list[RenderableType]:
    # Without --method its second stage is off.
    mark = " (the default: its first stage alone)" if is_default else ""
    name = Text(method.name, style="bold").append(f"{mark}: {method.summary}", style="")
    acts = ", ".join(method.acts) or "nowhere"
    needs = "".join(f" Needs {_NEEDS[need]}." for need in method.needs)
    return [
        name,
        Text(f"Acts: {acts}.{needs} Paper: {method.paper or 'none'}."),
        Text(f"Families: {_families(method)}."),
        *([Text(f"Plug-in: {method.plugin}")] if method.plugin else []),
    ]


def _families(method: ListedMethod) -> str:
    """Families that a method supports; by place only if the places differ."""
    by_place = {place: _list_families(families) for place, families in method.families.items()}
    if len({*by_place.values()}) < 2:
        return next(iter(by_place.values()), "all")
    return "; ".join(f"{place} {families}" for place, families in by_place.items())


def _list_families(families: Sequence[str]) -> str:
    """List families, or the missing ones if those are fewer."""
    missing = [family for family in FAMILIES if family not in families]
    if not missing:
        return "all"
    if len(missing) < len(families):
        return f"all but {', '.join(missing)}"
    return ", ".join(families)


def _parameters(parameters: Sequence[ListedParameter]) -> Table:
    rows = []
    for parameter in parameters:
        names = " / ".join(parameter.flags or (parameter.name,))
        limits = f" Range: {parameter.range}." if parameter.range is not None else ""
        told = f"{parameter.help}{limits} Default: {parameter.default_in_words}."
        rows.append((f"{names} {parameter.symbol or ''}".rstrip(), told))
    return texts(rows, ("Parameter", "What it does"))
