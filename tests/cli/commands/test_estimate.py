"""The table of `batch --estimate` and `caption --estimate`: sums, time, widths."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dycoke_cli.cli.commands.estimate import VideoCost, cost_of_frames, costs_table, spelled
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import CLIP, REAL, run_here, run_in_terminal


@pytest.fixture(scope="module")
def costs() -> list[VideoCost]:
    """Of 25 files: a question about each, two about the last, in seconds that are set."""
    request = Request("mini", LoadOptions("cpu"), Sampling(), DyCoke(), GenerationOptions())
    cost = replace(
        cost_of_frames(request, 32, 64, 64),
        free=8 * 10**9,
        seconds=30.0,
        warnings=(),
    )
    names = [f"a rather long folder/clip {number}.mp4" for number in range(25)]
    return [VideoCost(name, 2 if name == names[-1] else 1, 600.0, cost) for name in names]


def shown(costs: list[VideoCost], width: int) -> list[str]:
    stream = io.StringIO()
    Console(width=width, file=stream).print(costs_table(costs))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_one_table_with_a_total(costs: list[VideoCost], width: int) -> None:
    lines = shown(costs, width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    kept = costs[0].cost.tokens.visual_kept
    # 25 · 30 s.
    assert f"25 files, 4.2 h of video, {26 * kept:,} visual tokens: about 12 min, " in text
    assert "Fits main memory (8 GB)." in text
    assert "… 5 more" in text
    # Nothing is cut: what doesn't fit is on the next line.
    assert "".join(lines).count("…") == 1
    if width >= 80:
        assert sum("10 min" in line and "30 s" in line for line in lines) == 20
        assert all(any(f"clip {number}.mp4" in line for line in lines) for number in range(20))


def test_a_time_that_is_not_known_is_left_out(costs: list[VideoCost]) -> None:
    unknown = [replace(costs[0], cost=replace(costs[0].cost, seconds=None))]
    text = " ".join(shown(unknown, 120))
    assert "visual tokens: 8" in text  # the memory
    assert not {"Time", "about", "None"} & {*text.replace(",", " ").split()}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (45, "45 s"), (89.4, "89 s"), (720, "12 min"), (8640, "2.4 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert spelled(seconds) == words


@pytest.mark.slow
def test_captions_that_are_missing_are_estimated_and_nothing_is_written(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(CLIP, clips / name)
    (clips / "a.txt").write_text("A caption.\n")
    (clips / "torn.mp4").write_bytes(b"")
    command = ("caption", clips, "--frames", "4", "--estimate")
    run = run_here(*command)
    assert run.code == 1
    assert [Path(one["video"]).name for one in run.objects] == ["b.mp4", "torn.mp4"]
    assert run.objects[0]["tokens"]["visual"] == 4 * 16
    environment = {"COLUMNS": "80", "NO_COLOR": "1"}
    code, seen, _ = run_in_terminal(REAL, *command, environment=environment)
    text = " ".join(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode()).split())
    assert (code, text.count("(0 bytes)"), text.count("1 file,")) == (1, 1, 1)
    assert sorted(path.name for path in clips.iterdir()) == [
        "a.mp4", "a.txt", "b.mp4", "torn.mp4",
    ]  # fmt: skip
    run = run_here(*command, "--check")
    assert (run.code, "leave out --check" in run.err) == (2, True)
