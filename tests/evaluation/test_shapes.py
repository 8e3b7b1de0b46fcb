"""The benchmark `shapes`: what the file holds, how answers are scored, and how clips are kept."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes import FILE, Shapes
from dycoke_cli.shapes.script import from_json
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.shapes.oracle import Oracle
from training.world import benchmark
from training.world.random_scripts import content, split_of

VIDEOS = [json.loads(line) for line in gzip.decompress(FILE.read_bytes()).splitlines()]


def kept(split: str) -> list[dict]:
    return [v for v in VIDEOS if v["split"] == split]


def test_how_much_there_is() -> None:
    assert len(kept("test")) == 600
    assert len(kept("validation")) == 200
    assert abs(len(Shapes().items("test")) - 5000) < 100
    assert FILE.stat().st_size < 300_000


@pytest.mark.parametrize("split", ["validation", "test"])
def test_scripts_are_of_their_split_and_so_of_no_other(split: str) -> None:
    """What a script says decides its split: training can't have drawn what says the same."""
    assert {split_of(from_json(v["script"])) for v in kept(split)} == {split}


def test_validation_and_test_share_no_script_and_no_file() -> None:
    said = [content(from_json(v["script"])) for v in VIDEOS]
    assert len(said) == len(set(said))
    assert len({v["id"] for v in VIDEOS}) == len(VIDEOS)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_letters_are_balanced_exactly(split: str) -> None:
    letters = Counter(i.answer for i in Shapes().items(split) if i.kind == "letter")
    assert set(letters) == set("ABCD")
    assert len(set(letters.values())) == 1


def test_labels_lengths_and_kinds() -> None:
    scripts = [v["script"] for v in kept("test")]
    labels = Counter(s["label"] for s in scripts)
    assert labels["dynamic"] >= 200
    assert min(labels.values()) >= 150
    assert abs(sum(s["seconds"] >= 30 for s in scripts) - 300) < 40
    kinds = Counter(i.kind for i in Shapes().items("test"))
    assert set(kinds) == {
        "description", "order", "action", "direction", "position", "colour", "shape", "count",
        "existence", "needle", "letter", "subtitles", "follow-up",
    }  # fmt: skip
    assert min(kinds.values()) > 100
    assert kinds["description"] == kinds["order"] == kinds["letter"] == 600


@pytest.mark.extended
@pytest.mark.slow
def test_answers_are_those_of_an_independent_witness() -> None:
    for video in VIDEOS:
        oracle = Oracle(from_json(video["script"]))
        for q in video["questions"]:
            earlier = tuple((a, b) for a, b in q.get("earlier", ()))
            assert oracle.answer(q["text"], earlier) == q["answer"], (video["id"], q)


def test_the_file_is_what_the_program_builds() -> None:
    for index in (0, 1, 66, 199, 200, 201, 450, 799):
        assert json.loads(json.dumps(benchmark.build(index))) == VIDEOS[index]


def test_items_of_the_first_videos_stand_together() -> None:
    items = Shapes().items("test", 3)
    assert list(dict.fromkeys(i.video for i in items)) == ["t000", "t001", "t002"]
    assert [i.id for i in items[:3]] == ["t000-0", "t000-1", "t000-2"]
    videos = [i.video for i in items]
    assert videos == sorted(videos)
    for item in Shapes().items("test"):
        assert bool(item.history) == (item.kind == "follow-up")


def item(kind: str, answer: str) -> Item:
    return Item("t000-0", "t000", "Which of these do you see?", answer, kind, "static")


@pytest.mark.parametrize(("said", "fits"), [("(B) A red star.", True), ("C.", False), ("", False)])
def test_letters(said: str, fits: bool) -> None:
    assert Shapes().score(item("letter", "B"), said).right == fits


@pytest.mark.parametrize(
    ("said", "fits"),
    [("It is a red star.", True), ("It is a red star. ", True), ("It is a red star", False),
     ("it is a red star.", False), ("It is a blue star.", False)],
)  # fmt: skip
def test_all_else_is_right_to_the_letter(said: str, fits: bool) -> None:
    score = Shapes().score(item("colour", "It is a red star."), said)
    assert score.right == fits
    assert not score.parts


def test_descriptions_have_parts() -> None:
    answer = "First the star grows, finally the star spins."
    score = Shapes().score(item("description", answer), "First the star spins, finally it grows.")
    assert not score.right
    assert score.parts == {"told": 0.5, "ordered": 0.5}
    assert Shapes().score(item("description", answer), answer).right


def test_a_clip_is_rendered_once_and_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))
    video = min(kept("test"), key=lambda v: v["script"]["seconds"])
    clip = read(Shapes().file(video["id"]), Sampling(frames=32))
    assert clip.frames.shape == (32, 128, 128, 3)
    [path] = [p for p in tmp_path.rglob("*") if p.is_file()]
    before = path.stat()
    assert (read(Shapes().file(video["id"]), Sampling(frames=32)).frames == clip.frames).all()
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert read(Shapes().file(video["id"]), Sampling(frames=1)).frames.shape[0] == 1


def test_two_processes_at_once_leave_one_whole_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))
    video = min(kept("test"), key=lambda v: v["script"]["seconds"])["id"]
    with ProcessPoolExecutor(2, get_context("fork")) as workers:
        said = {*workers.map(Shapes().file, [video] * 2)}
    assert said == {path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(said) == 1
