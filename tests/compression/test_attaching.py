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


@pytest.mark.parametrize("name", ["DyCoke", "Uncompressed"])
def test_a_public_method_comes_with_the_engine(name: str) -> None:
    # The engine looks at the model, and this is none.
    code = f"from dycoke_cli import {name}; {name}()(object())"
    assert last_word(code) == "AttributeError: 'object' object has no attribute 'config'"


def test_without_the_engine_a_sentence_says_where_to_import_it() -> None:
    code = "from dycoke_cli.compression.methods.dycoke import DyCoke; DyCoke()(object())"
    assert last_word(code).endswith(
        "nothing here attaches a method to a model: import DyCoke from dycoke_cli"
    )
