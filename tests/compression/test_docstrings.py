"""Parameters in the docstrings of methods, and the keywords that `load` and `ask` name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from dycoke_cli import VideoSession, load
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.param import parameters_of


@pytest.mark.parametrize("name", METHODS)
def test_each_parameter_is_described(name: str) -> None:
    text = inspect.getdoc(METHODS[name])
    assert text is not None
    parameters = parameters_of(METHODS[name]).values()
    assert text.count("\nArgs:\n") == bool(parameters)
    for parameter in parameters:
        start = f"    {parameter.name}: {parameter.spec.help.split()[0]}"
        assert any(line.startswith(start) for line in text.splitlines())


@pytest.mark.parametrize(
    ("function", "options"), [(load, LoadOptions), (VideoSession.ask, GenerationOptions)]
)
def test_keywords_are_the_fields_of_the_options(
    function: Callable[..., Any], options: type[Any]
) -> None:
    given = inspect.signature(function).parameters
    for field in fields(options):
        assert given[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert given[field.name].default == field.default
