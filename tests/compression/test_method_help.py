"""What Python's help shows of methods, and which keywords `load` and `ask` name."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from dycoke_cli import DyCoke, VideoSession, load
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.param import parameters_of


def help_of(thing: Any) -> list[str]:
    return pydoc.render_doc(thing, renderer=pydoc.plaintext).splitlines()  # type: ignore[attr-defined]


def test_help_of_dycoke_fits_a_screen() -> None:
    lines = help_of(DyCoke)
    assert len(lines) <= 60
    assert not any("Annotated" in line or "Param(" in line for line in lines)
    [signature] = [line for line in lines if "DyCoke(ttm: bool = True" in line]
    assert "prune_layer: int | None = None" in signature


@pytest.mark.parametrize("name", METHODS)
def test_each_parameter_is_described(name: str) -> None:
    method = METHODS[name]
    lines, signature = help_of(method), inspect.signature(method)
    assert list(signature.parameters) == [field.name for field in fields(method)]
    for parameter in parameters_of(method).values():
        start = f" |      {parameter.name}: {parameter.spec.help.split()[0]} "
        assert any(line.startswith(start.rstrip()) for line in lines)
        assert signature.parameters[parameter.name].default == parameter.default


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
