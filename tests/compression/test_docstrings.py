"""Methods from Python: their docstrings, and attaching one."""

from __future__ import annotations

import inspect
import sys

import pytest

from dycoke_cli.compression.registry import METHODS
from dycoke_cli.param import parameters_of
from tests import warm
from tests.families.stock import one_of_each_kind


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
    "home",
    one_of_each_kind(("dycoke_cli", "dycoke_cli.compression.methods.dycoke"), ("dycoke_cli",)),
)
def test_a_method_brings_the_engine_when_it_is_called(home: str) -> None:
    # The engine looks at the model, and this is none.
    code = (
        f"import sys; from {home} import DyCoke; "
        "assert 'dycoke_cli.engine' not in sys.modules; DyCoke()(object())"
    )
    done = warm.run([sys.executable, "-c", code], fresh=True, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "UsageError: a method attaches to a transformers model" in last
