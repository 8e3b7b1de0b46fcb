"""Questions about new videos: nobody has seen them, they stay the same, and `eval` reads them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dycoke_cli.evaluation.datasets import open_dataset, shapes
from dycoke_cli.evaluation.datasets.shapes import stored_videos
from dycoke_cli.shapes.script import from_json
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.shapes.oracle import Oracle
from training.__main__ import app
from training.world import new_questions
from training.world.new_questions import LARGEST_SEED, drawn
from training.world.random_scripts import content, split_of


def said(videos: list) -> list[str]:
    return [content(from_json(video["script"])) for video in videos]


def test_they_say_what_neither_training_nor_a_stored_video_says() -> None:
    videos = [drawn(seed, number) for seed in (0, 1, LARGEST_SEED) for number in range(6)]
    # Training draws from another split, which is one of what a script says, not of its seed.
    assert {split_of(from_json(video["script"])) for video in videos} == {"test"}
    stored = [v for file in (shapes.FILE, shapes.LONG_FILE) for v in stored_videos(file)]
    assert not {*said(videos)} & {*said(stored)}
    assert len({*said(videos)}) == len(videos)
    assert len({video["id"] for video in videos}) == len(videos)


def test_a_video_that_says_what_a_stored_one_says_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = said([drawn(3, 0)])
    monkeypatch.setattr(new_questions, "_stored", lambda: frozenset(first))
    assert said([drawn(3, 0)]) != first


def test_answers_are_those_of_an_independent_witness() -> None:
    letters: Counter[str] = Counter()
    for video in (drawn(7, number) for number in range(12)):
        oracle = Oracle(from_json(video["script"]))
        assert len(video["questions"]) in (8, 9)
        for asked in video["questions"]:
            earlier = tuple((a, b) for a, b in asked.get("earlier", ()))
            assert oracle.answer(asked["text"], earlier) == asked["answer"], asked
            letters[asked["answer"]] += asked["kind"] == "letter"
    assert {letters[letter] for letter in "ABCD"} == {3}


@pytest.mark.slow
def test_the_file_is_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_questions, "write_clip", _short(new_questions.write_clip))
    for folder, count in (("few", "1"), ("more", "2")):
        arguments = ["questions", str(tmp_path / folder), "--seed", "8", "--videos", count]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    few, more = (tmp_path / folder / "questions.jsonl" for folder in ("few", "more"))
    assert more.read_text().startswith(few.read_text())
    assert (tmp_path / "few" / "s8-000.mp4").read_bytes() == (
        tmp_path / "more" / "s8-000.mp4"
    ).read_bytes()
    dataset = open_dataset(str(more))
    items = dataset.items("test", None)
    asked = [
        (question["text"], question["answer"], question["kind"])
        for number in (0, 1)
        for question in drawn(8, number)["questions"]
        if question["kind"] != "follow-up"
    ]
    assert [(item.question, item.answer, item.kind) for item in items] == asked
    assert not dataset.missing({item.video for item in items})
    assert all(dataset.score(item, item.answer).right for item in items)
    for video in ("s8-000.mp4", "s8-001.mp4"):
        assert read(dataset.file(video), Sampling(frames=4)).frames.shape == (4, 128, 128, 3)
    assert json.loads(few.read_text().splitlines()[0])["id"] == "s8-000-0"


def _short(write_clip):
    """Clips of two seconds: rendering half a minute takes long."""
    return lambda script, how, path: write_clip(replace(script, seconds=2.0), how, path)


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1])
def test_a_seed_that_is_none(seed: int, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["questions", str(tmp_path / "new"), "--seed", str(seed)])
    assert done.exit_code == 2
    assert f"--seed must be from 0 to {LARGEST_SEED}, not {seed}" in done.stderr
    assert not (tmp_path / "new").exists()
