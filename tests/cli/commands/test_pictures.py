"""Folders of pictures, and pictures that are named, in place of a video."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import CLIP, run_here
from tests.runs.remote.endpoint import Endpoint, serving
from tests.video.clips import coded_picture, numbers_in


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "walk"
    folder.mkdir()
    for number in (0, 1, 2, 9, 10):
        Image.fromarray(coded_picture(number)).save(folder / f"{number}.png")
    return folder


def sent(endpoint: Endpoint) -> list[list[int]]:
    """The numbers that the pictures of each request show."""
    return [
        numbers_in(np.stack([Image.open(io.BytesIO(base64.b64decode(one))) for one in pictures]))
        for body in endpoint.bodies
        for part in body["messages"][0]["content"]
        if part["type"] == "video_url"
        for pictures in [part["video_url"]["url"].partition(",")[2].split(",")]
    ]


def test_a_folder_and_pictures_that_are_named_are_asked_about(frames: Path) -> None:
    expanded = sorted(map(str, frames.iterdir()))  # as a shell does
    with serving() as endpoint:
        by_folder = run_here("ask", f"{frames}/", "Who?", "--server", endpoint.url, "--json")
        by_names = run_here("ask", *expanded, "Who?", "--server", endpoint.url, "--json")
        few = [*expanded[::-1][:2], "What", "is", "it?"]
        run_here("ask", *few, "--server", endpoint.url, "--picture-fps", "4")
    assert sent(endpoint) == [[0, 1, 2, 9, 10], [0, 1, 2, 9, 10], [9, 2]]
    assert [by_folder.object["video"], by_names.object["video"]] == [f"{frames}/", expanded[0]]
    for run in (by_folder, by_names):
        assert run.object["frames"] == {"count": 5, "timestamps_s": [0.0, 1.0, 2.0, 3.0, 4.0]}
    about = endpoint.bodies[2]["media_io_kwargs"]["video"]
    assert [index / about["fps"] for index in about["frames_indices"]] == [0, 0.25]


def test_they_are_asked_about_in_a_batch(frames: Path, tmp_path: Path) -> None:
    out, questions = tmp_path / "out.jsonl", tmp_path / "questions.csv"
    questions.write_text(f"video,question\n{frames.name},Who?\n")
    with serving() as endpoint:
        ways = [(frames.parent, "Who?"), (frames, "Who?"), (f"{frames.parent}/*", "Who?")]
        for way in [*ways, (frames.parent, "--questions", questions)]:
            command = ["batch", *way, "--server", endpoint.url, "--frames", "2", "--quiet"]
            assert run_here(*command, "--out", out).code == 0
        assert sent(endpoint) == [[0, 10]]  # all are one, which was asked about before
        (frames / "10.png").write_bytes((frames / "9.png").read_bytes())
        assert run_here(*command, "--out", out).code == 0
    assert sent(endpoint)[1:] == [[0, 9]]


def test_what_they_cost(frames: Path) -> None:
    run = run_here("ask", frames, "Who?", "--estimate", "--json", "--frames", "4")
    assert run.code == 0, run.err
    assert run.object["tokens"]["frames"] == 4


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ([], 2, "is an empty folder: name a video, or a folder of pictures"),
        (["a.mp4", "b.mp4"], 2, "is a folder: `dycoke batch"),
        (["a.png", "a.mp4"], 2, "has pictures and videos (a.png, a.mp4, …): put the pictures"),
        (["a.png"], 3, "a.png is a text file, not a picture"),
    ],
)
def test_what_cant_be_asked_about(tmp_path: Path, files: list[str], code: int, says: str) -> None:
    for name in files:
        (tmp_path / name).write_text("x")
    run = run_here("ask", tmp_path, "Who?", "--no-server", "--json")
    assert (run.code, run.object["video"]) == (code, str(tmp_path))
    assert says in run.object["error"]["message"]


@pytest.mark.slow
def test_the_answer_is_that_about_the_video_that_they_are_from(tmp_path: Path) -> None:
    for number, frame in enumerate(read(CLIP, Sampling(frames=8)).frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    asked = ("What happens?", "--no-server", "--json", "--frames", "8")
    video, pictures = run_here("ask", CLIP, *asked).object, run_here("ask", tmp_path, *asked).object
    assert pictures["answer"] == video["answer"]
    assert pictures["tokens"] == video["tokens"]
