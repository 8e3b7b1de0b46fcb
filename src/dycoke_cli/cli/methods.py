"""`dycoke methods`: the compression methods, where they act, and their parameters."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import typer

from dycoke_cli import __version__
from dycoke_cli.cli import options, output, render
from dycoke_cli.cli.method_flags import flags, in_flags
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.param import Parameter, parameters_of
from dycoke_cli.compression.registry import DEFAULT, METHODS, find

SCHEMA = "dycoke.methods/1"


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="One method only, as --method takes it.", show_default=False
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List compression methods: where they act, their parameters, and their papers."""
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{}]))
        listed = [*METHODS.values()] if name is None else [find(name)]
        document = {
            "schema": SCHEMA,
            "version": __version__,
            "default": DEFAULT,
            "methods": [_method(method) for method in listed],
        }
        if as_json:
            output.write_json(document)
            return
        render.methods_tables(document)


def _method(method: type[Method]) -> dict[str, Any]:
    return {
        "name": method.name,
        "title": method.title,
        "summary": method.summary,
        "paper": method.paper,
        "acts": method.acts(),
        "parameters": [_parameter(parameter) for parameter in parameters_of(method).values()],
        "ablations": [
            {"name": name, "summary": ablation.summary, "parameters": dict(ablation.parameters)}
            for name, ablation in method.ablations.items()
        ],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    told = parameter.told
    return {
        "name": parameter.name,
        "flags": flags(parameter),
        "symbol": told.symbol,
        "help": in_flags(told.help),
        "default": parameter.default,
        "default_in_words": in_flags(parameter.default_in_words),
        "range": parameter.range,
        "words": dict(told.words),
        "switch": told.switch,
        "schema": parameter.schema(),
    }
