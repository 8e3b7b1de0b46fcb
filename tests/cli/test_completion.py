"""What the shell completes, asked as the script does that `--show-completion` prints for bash."""

from __future__ import annotations

import pytest

from dycoke_cli.evaluation.datasets import DATASETS
from dycoke_cli.models.catalog import CATALOG
from tests.cli.harness import run_code

# Leaves with 9 where something heavy was imported.
PROGRAM = """
import sys
from dycoke_cli.cli.main import main
try:
    main()
finally:
    if {"torch", "transformers", "av", "numpy"} & set(sys.modules):
        import os
        os._exit(9)
"""


def completed(*words: str) -> list[str]:
    """What is offered for the last of the words."""
    asked = {
        "_DYCOKE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["dycoke", *words]),
        "COMP_CWORD": str(len(words)),
    }
    run = run_code(PROGRAM, **asked)
    assert (run.code, run.err) == (0, "")
    return run.out.split()


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "clip.mp4", "--model", "qwen2.5"),
        ("clip.mp4", "--model", "qwen2.5"),
        ("models", "pull", "qwen2.5"),
        ("models", "default", "qwen2.5"),
    ],
)
def test_models(words: tuple[str, ...]) -> None:
    assert completed(*words) == [name for name in CATALOG if name.startswith("qwen2.5")] != []


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("ask", "clip.mp4", "--method", "dyc"), ["dycoke", "dycoke-plus"]),
        (("methods", "fas"), ["fastv", "fastvid"]),
        (("models", "pu"), ["pull"]),
        (("eval", "shapes", "--methods", "none,dycoke-o"), ["none,dycoke-once"]),
        (("eval", ""), [*DATASETS]),
        (("eval", "videomme", "--preset", "table-1-7"), ["table-1-7b", "table-1-72b"]),
        (("models", "list", "--family", "qwen2_5"), ["qwen2_5_vl"]),
        (("ask", "clip.mp4", "--method", "nothing-like-it"), []),
    ],
)
def test_methods_and_benchmarks(words: tuple[str, ...], names: list[str]) -> None:
    assert completed(*words) == names
