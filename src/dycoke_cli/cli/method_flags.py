"""The flags of methods: `--method`, `--methods`, and one for each name of a parameter."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from dycoke_cli import plugins
from dycoke_cli.cli import completion
from dycoke_cli.cli.param_flags import in_flags, option, speaking_of_flags, value_of
from dycoke_cli.cli.spread import Each
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import DEFAULT, METHODS, create, owners
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.specs import ABLATIONS, ALL, parse_spec
from dycoke_cli.param import Parameter

PANEL = "Compression"
_OWNERS = owners()

MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME[:PARAMETER=X,…]",
        autocompletion=completion.methods,
        help="Compression method and its parameters, as in dycoke:merge_ratio=0.5,window=8; "
        f"`dycoke methods` lists them. There are {', '.join(METHODS)}.",
        rich_help_panel=PANEL,
    ),
]
Methods = Annotated[
    str,
    typer.Option(
        metavar="NAME[:PARAMETER=X,…],…",
        autocompletion=completion.rows,
        help="The rows of the table, as in none,dycoke:merge_ratio=0.5,window=8,evs; `dycoke "
        f"methods` lists them. There are {', '.join(METHODS)}, {ALL} (every method), and "
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


def options() -> dict[str, Any]:
    """What Typer needs of each flag, by the name of its parameter."""
    return {name: option(parameters, _panel(name)) for name, parameters in _OWNERS.items()}


def _panel(parameter: str) -> str:
    """That of the method that has a parameter; of all methods where several or the default have it.

    A method that inherits it from another counts for that one.
    """
    kinds = {kind for name in _OWNERS[parameter] for kind in METHODS[name].mro()}
    having = [k for k in kinds if issubclass(k, Method) and parameter in inspect.get_annotations(k)]
    own = [k for k in having if not any(issubclass(k, other) for other in {*having} - {k})]
    if len(own) > 1 or issubclass(METHODS[DEFAULT], own[0]):
        return PANEL
    return f"{own[0].title} (--method {', '.join(_OWNERS[parameter])})"


def _refuse(parameter: str) -> None:
    """Note that a plug-in's parameter has no flag, for its name is taken.

    Raises:
        KeyError: the method is none of a plug-in.
    """
    for method in _OWNERS[parameter]:
        sentence = f"its parameter {parameter} gets no flag, for dycoke has one of that name"
        plugins.add_problem("method", method, f"{sentence}; rename it")


@dataclass(frozen=True)
class MethodFlags:
    """Which visual tokens are dropped."""

    method: MethodName = DEFAULT
    parameters: Annotated[dict[str, Any], Each(options(), _refuse)] = field(default_factory=dict)

    def chosen(self) -> Method:
        """What they choose; what depends on the model is still None, see `Method.suited`.

        Raises:
            UsageError: no such method, a parameter that it doesn't have, one out of range, two
                values for one, or a combination without meaning.
        """
        spec = parse_spec(self.method)
        given = dict(spec.given)
        for name, flagged in self.parameters.items():
            if flagged is None:
                continue
            with speaking_of_flags():
                value = value_of(self._parameter(name, spec.method), flagged)
            if name in spec.given and spec.given[name] != value:
                raise UsageError(
                    f"{in_flags(f'{name}={value}')} contradicts --method {spec.text}; give one of "
                    "them"
                )
            given[name] = value
        with speaking_of_flags():
            return create(spec.method, **given)

    def _parameter(self, name: str, method: str) -> Parameter:
        """The method's own, whose words may mean another number than those of others."""
        owners = _OWNERS[name]
        return owners.get(method, next(iter(owners.values())))
