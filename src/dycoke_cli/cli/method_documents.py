"""Compression methods, as objects for `--json` and for the tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.cli.param_flags import flags, in_flags
from dycoke_cli.compression.base import PLACES, Method
from dycoke_cli.compression.registry import DEFAULT
from dycoke_cli.compression.selection import Need
from dycoke_cli.json_schema import Doc
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.param import Parameter, parameters_of
from dycoke_cli.result import Version
from dycoke_cli.version import __version__

SCHEMA = "dycoke.methods/1"


@dataclass(frozen=True)
class ListedParameter:
    """A parameter of a method."""

    name: str
    flags: Annotated[tuple[str, ...], Doc(minItems=1)]
    symbol: Annotated[str | None, Doc("In the paper.")]
    help: str
    default: Annotated[
        bool | float | str | None, Doc("Null where it depends on the model or on other parameters.")
    ]
    default_in_words: str
    range: Annotated[str | None, Doc("In words; null without limits.")]
    words: Annotated[dict[str, int], Doc("Words accepted in place of a value.")]
    switch: Annotated[str | None, Doc("The on-off parameter that enables it.")]
    schema: Annotated[dict[str, Any], Doc("Its JSON Schema.", minProperties=1)]


@dataclass(frozen=True)
class ListedAblation:
    """A method with some parameters fixed, as `dycoke eval --methods` takes it."""

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
    acts: Annotated[tuple[str, ...], Doc("Where it selects.")]
    needs: Annotated[
        tuple[Need, ...],
        Doc("Inputs of its selection other than the visual tokens."),
    ]
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
    """Methods as an object."""
    return MethodList(default=DEFAULT, methods=tuple(map(_method, methods)))


def _method(method: type[Method]) -> ListedMethod:
    return ListedMethod(
        name=method.name,
        title=method.title,
        summary=method.summary,
        paper=method.paper,
        acts=tuple(method.acts()),
        needs=tuple(method.needs),
        families={place: _served(method, place) for place in method.acts()},
        parameters=tuple(map(_parameter, parameters_of(method).values())),
        ablations=tuple(
            ListedAblation(name, ablation.summary, dict(ablation.parameters))
            for name, ablation in method.ablations.items()
        ),
    )


def _served(method: type[Method], place: str) -> tuple[str, ...]:
    """The families of which a method can choose there."""
    inside, in_decode = "inside" in PLACES[place], "pruning" in PLACES[place]
    in_tower = "before_vision" in PLACES[place]
    return tuple(
        name
        for name, family in FAMILIES.items()
        if not family.only_none
        and (family.tower is not None or "attention" not in method.needs)
        and (family.encodes_parts or not in_tower)
        and (family.keeps_every_token or not (inside or in_decode))
        and (family.causal or not inside)
    )


def _parameter(parameter: Parameter) -> ListedParameter:
    told = parameter.told
    return ListedParameter(
        name=parameter.name,
        flags=tuple(flags(parameter)),
        symbol=told.symbol,
        help=in_flags(told.help),
        default=parameter.default,
        # A value may be a word that is a flag elsewhere, such as `device`.
        default_in_words=in_flags(told.default) if told.default else parameter.default_in_words,
        range=parameter.range,
        words=dict(told.words),
        switch=told.switch,
        schema=parameter.schema(),
    )
