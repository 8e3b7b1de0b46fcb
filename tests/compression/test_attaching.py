"""A method is called on a model, and knows nothing of the engine that attaches it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def last_word(code: str) -> str:
    """The last line of the error that code ends with, in a process that has imported nothing."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "home",
    [
        "dycoke_cli",
        pytest.param("dycoke_cli.compression.methods.dycoke", marks=pytest.mark.extended),
    ],
)
def test_a_method_brings_the_engine_when_it_is_called(home: str) -> None:
    # The engine looks at the model, and this is none.
    code = (
        f"import sys; from {home} import DyCoke; assert 'torch' not in sys.modules; "
        "DyCoke()(object())"
    )
    assert last_word(code) == "AttributeError: 'object' object has no attribute 'config'"
