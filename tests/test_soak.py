"""A small soak, and some kills; `tests.soak` and `tests.kills` are the large ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.hub import Hub
from tests.kills import kill_at
from tests.soak import soak
from tests.soaking.commands import ROOT, commands, files_in, repositories
from tests.soaking.rendered import make_clips
from tests.soaking.serving import soak_server
from tests.soaking.verdict import faults


@pytest.mark.extended
@pytest.mark.slow
def test_nothing_lost_and_nothing_twice(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips", 60, 20)
    (tmp_path / "place").mkdir()
    place = tmp_path / "place"
    found, _ = soak(clips, "local", 3, 5, place, memory=False, popen=warm.Popen)
    assert not found


@pytest.mark.extended
@pytest.mark.slow
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


def test_files_that_are_left_are_seen(tmp_path: Path) -> None:
    """Wherever they are; only what the hub client and torch note in any run isn't compared."""
    for name in ("tmp/torchinductor_me/x", "home/hub/locks", "tmp/left", "out/.out.1-1.part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files_in(tmp_path) - {"tmp", "out"} == {"tmp/left", "out/.out.1-1.part"}


def test_the_verdict_sees_what_is_wrong(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips", 19, 1)
    out = tmp_path / "out.jsonl"
    lines = [f'{{"video": "x/{name}", "answer": "a"}}' for name in ("clip0.mp4", "clip0.mp4")]
    lines += ['{"video": "x/000-nothing.mp4", "answer": "a"}', '{"video": "other", "error": {}}']
    out.write_text("\n".join(lines) + "\n")
    found = "\n".join(faults(clips, out))
    for fault in (
        "clip0.mp4: answered 2 times",
        "cut.ts: answered 0 times",
        "000-nothing.mp4: failed 0 times",
        "000-nothing.mp4: answered, and can't be",
        "other: not asked about",
        "is not valid under any",
    ):
        assert fault in found


@pytest.mark.extended
@pytest.mark.slow
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
