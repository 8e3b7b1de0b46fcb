"""New videos of a seed: nobody has seen them, they are the same again, and what is asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets import new_shapes, open_dataset, shapes, shapes_long
from dycoke_cli.evaluation.datasets.new_shapes import LARGEST_SEED, VIDEOS, NewShapes
from dycoke_cli.evaluation.datasets.shapes import Shapes, stored_videos
from dycoke_cli.shapes.random_scripts import content, split_of
from dycoke_cli.shapes.script import from_json
from dycoke_cli.video import Sampling, read
from tests.shapes.oracle import Oracle


def drawn(seed: int, count: int) -> list:
    return NewShapes(seed).videos("new", count)


def said(videos: list) -> list[str]:
    return [content(from_json(video["script"])) for video in videos]


def test_they_say_what_neither_training_nor_a_stored_video_says() -> None:
    videos = [video for seed in (0, 1, LARGEST_SEED) for video in drawn(seed, 12)]
    # Training draws from another split, which is one of what a script says, not of its seed.
    assert {split_of(from_json(video["script"])) for video in videos} == {"test"}
    stored = [v for file in (shapes.FILE, shapes_long.FILE) for v in stored_videos(file)]
    assert not {*said(videos)} & {*said(stored)}
    assert len({*said(videos)}) == len(videos)
    assert len({video["id"] for video in videos}) == len(videos)


def test_a_video_that_says_what_a_stored_one_says_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = said(drawn(3, 1))
    monkeypatch.setattr(new_shapes, "_stored", lambda: frozenset(first))
    new_shapes._drawn.cache_clear()
    try:
        assert said(drawn(3, 1)) != first
    finally:
        new_shapes._drawn.cache_clear()


def test_a_seed_has_the_same_first_videos_for_any_limit() -> None:
    few, more = NewShapes(5).items("new", 2), NewShapes(5).items("new", 4)
    assert more[: len(few)] == few
    new_shapes._drawn.cache_clear()
    assert NewShapes(5).items("new", 4) == more
    assert {item.video for item in more} == {f"s5-00{n}" for n in range(4)}
    assert len({NewShapes(seed).edition("new") for seed in (5, 6)}) == 2
    assert NewShapes(5).edition("new") != Shapes().edition("test")


def test_answers_are_those_of_an_independent_witness() -> None:
    videos = drawn(7, 12)
    letters: Counter[str] = Counter()
    for video in videos:
        oracle = Oracle(from_json(video["script"]))
        assert len(video["questions"]) in (8, 9)
        for asked in video["questions"]:
            earlier = tuple((a, b) for a, b in asked.get("earlier", ()))
            assert oracle.answer(asked["text"], earlier) == asked["answer"], asked
            letters[asked["answer"]] += asked["kind"] == "letter"
    assert {letters[letter] for letter in "ABCD"} == {3}


def test_a_clip_of_a_seed_is_kept_beside_the_stored_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))
    dataset = open_dataset("shapes", seed=8)
    name = min(drawn(8, 6), key=lambda video: video["script"]["seconds"])["id"]
    clip = read(dataset.file(name), Sampling(frames=4))
    assert clip.frames.shape == (4, 128, 128, 3)
    assert [path.stem for path in tmp_path.rglob("*.mp4")] == [name]


def test_seeds_that_are_none() -> None:
    for seed in (-1, LARGEST_SEED + 1):
        with pytest.raises(UsageError, match=f"--seed of new videos must be from 0 .*, not {seed}"):
            open_dataset("shapes", seed=seed)
    assert not isinstance(open_dataset("shapes"), NewShapes)
    assert open_dataset("shapes-long", seed=1).edition("test") == shapes_long.EDITION
    assert NewShapes.about.videos == VIDEOS
