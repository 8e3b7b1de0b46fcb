"""Some kills; `tests.soak` and `tests.kills` are the large ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub import Hub
from tests.kills import kill_at
from tests.soaking.commands import ROOT, commands, repositories
from tests.soaking.serving import soak_server


@pytest.mark.extended
@pytest.mark.skipif(sys.platform != "linux", reason="processes are listed in /proc")
@pytest.mark.parametrize("name", ["batch", "caption", "eval", "pull"])
def test_what_is_killed_leaves_what_an_undisturbed_run_leaves(name: str, tmp_path: Path) -> None:
    with Hub(repositories()) as hub:
        command = commands(tmp_path, hub)[name]
        found, reached = kill_at(command, 3, 7, tmp_path / "place")
    assert (found, reached.total()) == ([], 3)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["tests.soak", "tests.kills"])
def test_a_program_that_the_page_names_starts(module: str) -> None:
    assert f"python -m {module}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    command = [sys.executable, "-m", module, "--help"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.extended
def test_the_worst_bodies_change_no_answer_and_take_little_memory(tmp_path: Path) -> None:
    """`python -m tests.soak` also checks the time of `/health`, which a busy machine can't keep."""
    figures = soak_server(tmp_path, seconds=15, clients=4, waiting=300)
    figures.health_s = [0.0]
    assert not figures.faults()
    assert figures.waiting >= 300
    assert sum(figures.statuses.values()) >= 8


def test_no_file_of_tests_is_run_by_its_path() -> None:
    """The folder would come first in `sys.path`, and tests/inspect hide the standard library's."""
    root = Path(__file__).parents[1]
    named = [root / "Makefile", root / "CONTRIBUTING.md", *root.glob(".github/workflows/*.yml")]
    recipes = "".join(path.read_text(encoding="utf-8") for path in named)
    assert "python -m tests.soak" in recipes
    assert "python tests/" not in recipes
