"""The benchmark `shapes-long`: what the file holds, when it happens, how frames are rendered."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dycoke_cli.evaluation.datasets.shapes import LONG_FILE, ShapesLong, frame
from dycoke_cli.shapes.script import Event, from_json
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import run_here
from tests.shapes.oracle import Oracle
from training.world import long_benchmark
from training.world.long_benchmark import LENGTHS_S
from training.world.random_scripts import content, split_of

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
VIDEOS = [json.loads(line) for line in gzip.decompress(LONG_FILE.read_bytes()).splitlines()]
SCRIPTS = {video["id"]: from_json(video["script"]) for video in VIDEOS}


def card_of(script) -> Event:
    (card,) = (event for event in script.events if event.deed == "show")
    return card


@pytest.mark.parametrize(("split", "each"), [("test", 10), ("validation", 5)])
def test_lengths_cameras_and_depths_take_turns(split: str, each: int) -> None:
    scripts = [SCRIPTS[v["id"]] for v in VIDEOS if v["split"] == split]
    kinds = Counter((script.seconds, script.label) for script in scripts)
    assert kinds == {(s, c): each for s in LENGTHS_S for c in ("static", "dynamic")}
    depths = [int(card_of(script).begin * 10) for script in scripts]
    # Of the validation's 40 not all combinations are there, but all depths.
    assert {*Counter(depths)} == {*range(10)}
    assert split == "validation" or {*Counter(depths).values()} == {8}
    # A part of the videos has some of each length and camera.
    assert len({(script.seconds, script.label) for script in scripts[:8]}) == 8
    assert len({*depths[:24]}) == 10


def test_no_script_is_of_another_split_or_of_the_training() -> None:
    for video in VIDEOS:
        assert split_of(SCRIPTS[video["id"]]) == video["split"]
    assert len({content(script) for script in SCRIPTS.values()}) == len(VIDEOS)


def test_events_take_a_few_seconds_and_lie_far_apart() -> None:
    for script in SCRIPTS.values():
        lengths = [(e.finish - e.begin) * script.seconds for e in script.events]
        assert 3 <= len(lengths) <= 6
        # Times are stored to a ten thousandth of the video.
        slack = 2e-4 * script.seconds
        assert all(3 - slack <= seconds <= 8 + slack for seconds in lengths)
        begins = np.array([e.begin for e in script.events[1:]])
        ends = np.array([e.finish for e in script.events[:-1]])
        assert (begins - ends > 0.024).all()
    middles = [e.begin for script in SCRIPTS.values() for e in script.events]
    assert 0.4 < np.mean(middles) < 0.6


@pytest.mark.slow
def test_answers_are_those_of_an_independent_witness() -> None:
    for video in VIDEOS:
        oracle = Oracle(SCRIPTS[video["id"]])
        for question in video["questions"]:
            assert oracle.answer(question["text"], ()) == question["answer"], video["id"]


def test_questions_of_each_kind() -> None:
    dataset = ShapesLong()
    items = dataset.items("test")
    assert len(items) == dataset.about.questions == 8 * dataset.about.videos
    assert {*Counter(item.kind for item in items).values()} == {80}
    letters = Counter(item.answer for item in items if item.kind == "letter")
    assert letters == dict.fromkeys("ABCD", 20)
    for item in items:
        if item.kind.startswith("needle"):
            glyph = card_of(SCRIPTS[item.video]).glyph
            assert f" {glyph} " in f"{item.question} {item.answer}"
    assert {item.label for item in items} == {"2 min", "10 min", "30 min", "60 min"}


@pytest.mark.extended
@pytest.mark.slow
def test_the_file_is_what_the_program_builds() -> None:
    for index in (0, 41):
        assert json.loads(json.dumps(long_benchmark.build(index))) == VIDEOS[index]


@pytest.mark.extended
@pytest.mark.slow
def test_the_command_of_the_page(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("eval", "shapes-long", "--frames", "32")
    assert f"$ dycoke {' '.join(command)}\n" in PAGE.read_text(encoding="utf-8")
    run = run_here(*command, "--limit", "1", "--methods", "none", "--workers", "1", "--json")
    assert run.code == 0, run.err
    (row,) = run.object["rows"]
    assert row["questions"] == 8
    assert [*row["by_label"]] == ["2 min"]
    assert not list(tmp_path.rglob("*.mp4"))


@pytest.mark.parametrize("camera", ["static", "dynamic"])
def test_frames_show_the_card_while_it_is_shown_and_a_busy_camera_never_rests(camera: str) -> None:
    name, script = next(
        (name, script)
        for name, script in SCRIPTS.items()
        if script.seconds == 600 and script.label == camera
    )
    video, card = ShapesLong().file(name), card_of(script)
    assert video.count == 600
    first = int(np.ceil(card.begin * 600))
    clip = read(video, Sampling(fps=1.0, start_s=first - 3, end_s=first + 3))
    assert clip.timestamps_s == tuple(float(first + i) for i in range(-3, 3))
    assert (clip.frames[4] == frame(script, first + 1)).all()
    assert card.cell is not None
    # The paper of the card is the brightest there is (250 of 255), and a fifth of its square.
    middle = [int(64 * (0.2, 0.5, 0.8)[i]) for i in card.cell]
    around = clip.frames[:, middle[1] - 8 : middle[1] + 8, middle[0] - 8 : middle[0] + 8]
    paper = (np.abs(around.astype(int) - 250) < 12).all(-1).mean((1, 2))
    assert (paper[3:] > 0.4).all()
    if script.scenes[0].tone != "white":
        assert (paper[:2] < 0.3).all()
    moved = np.abs(np.diff(clip.frames[:3].astype(int), axis=0)).mean()
    assert moved > 3 if camera == "dynamic" else moved < 3
