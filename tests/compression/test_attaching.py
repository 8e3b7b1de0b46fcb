"""A method is called on a model, and knows nothing of the engine that attaches it."""

from __future__ import annotations

import sys

import pytest

from tests import warm


def last_word(code: str) -> str:
    """The last line of the error that code ends with, where nothing of the package is imported."""
    done = warm.run([sys.executable, "-c", code], fresh=True, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "home",
    ["dycoke_cli", "dycoke_cli.compression.methods.dycoke"],
)
def test_a_method_brings_the_engine_when_it_is_called(home: str) -> None:
    # The engine looks at the model, and this is none.
    code = (
        f"import sys; from {home} import DyCoke; "
        "assert 'dycoke_cli.engine' not in sys.modules; DyCoke()(object())"
    )
    assert "UsageError: a method attaches to a transformers model" in last_word(code)
