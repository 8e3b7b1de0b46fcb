"""`dycoke batch --server`: what is sent, what is made of the answers, and what is tried again."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dycoke_cli import Sampling, read
from dycoke_cli.runs.remote import remote_client
from tests.cli.harness import Outcome, run_here
from tests.runs.pretended import valid
from tests.runs.remote.endpoint import Endpoint, Reply, asked, said, serving

MOVE = Path(__file__).parents[3] / "sample_videos" / "move.mp4"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("1.mp4", "2.mp4", "3.mp4"):
        shutil.copy(MOVE, folder / name)
    return folder


def batch(endpoint: Endpoint | str, *arguments: str | Path) -> Outcome:
    url = endpoint if isinstance(endpoint, str) else endpoint.url
    return run_here("batch", *arguments, "--server", url)


def test_frames_and_method_are_sent_and_the_answer_is_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-mine")
    with serving() as endpoint:
        options = ("--frames", "5", "--method", "evs", "--retain", "0.5", "--max-tokens", "9")
        run = batch(endpoint, MOVE, "What?", *options, "--api-key-env", "MY_KEY")
    assert run.code == 0
    [body] = endpoint.bodies
    assert endpoint.keys == {"Bearer sk-mine"}
    assert body["model"] == "seen"
    assert (body["max_tokens"], body["temperature"]) == (9, 0)
    assert body["mm_processor_kwargs"] == {"dycoke": "evs:retain=0.5"}
    assert body["dycoke"] == {"method": "evs:retain=0.5"}
    [message] = body["messages"]
    video, text = message["content"]
    assert text == {"type": "text", "text": "What?"}
    kind, pictures = video["video_url"]["url"].split("base64,")
    assert kind == "data:video/jpeg;"
    pictures = pictures.split(",")
    sent = [np.array(Image.open(io.BytesIO(base64.b64decode(each)))) for each in pictures]
    frames = read(str(MOVE), Sampling(frames=5)).frames
    assert np.abs(np.stack(sent).astype(float) - frames).mean() < 1.5
    [line] = [valid(each) for each in run.objects]
    about = body["media_io_kwargs"]["video"]
    times = line["frames"]["timestamps_s"]
    assert about["frames_indices"] == [round(1000 * time_s) for time_s in times]
    assert (about["fps"], about["total_num_frames"]) == (1000, 4000)  # the clip lasts 4 s
    assert not about["do_sample_frames"]
    assert line["answer"] == "Of What?"
    assert line["model"] == {"name": "seen", "server": endpoint.url} | dict.fromkeys(
        ("revision", "dtype", "device")
    )
    assert (line["method"]["name"], line["method"]["retain"]) == ("evs", 0.5)
    tokens = line["tokens"]
    assert (tokens.pop("prompt"), tokens.pop("generated")) == (140, 7)
    assert set(tokens.values()) == {None}
    assert line["flops"] is line["bytes"] is line["decode"] is None


def test_what_is_busy_is_asked_again_and_few_are_in_flight(clips: Path) -> None:
    busy = iter([429, 503, 500])

    def reply(body: dict[str, Any]) -> Reply:
        time.sleep(0.02)
        status = next(busy, None)
        return said(body) if status is None else (status, {"error": {"message": "busy"}})

    with serving(reply) as endpoint:
        run = batch(endpoint, clips, "-q", "Who?", "-q", "What?", "--requests", "2")
    assert run.code == 0
    assert len(run.objects) == 6
    assert len(endpoint.bodies) == 6 + 3
    assert endpoint.most == 2


def test_a_refused_question_fails_and_the_others_are_answered(clips: Path) -> None:
    def reply(body: dict[str, Any]) -> Reply:
        if asked(body) == "Bad?":
            return 400, {"error": {"message": "mm_processor_kwargs.dycoke: no such method"}}
        return said(body)

    with serving(reply) as endpoint:
        run = batch(endpoint, clips / "1.mp4", "-q", "Bad?", "-q", "Good?")
    assert run.code == 1
    found = {line["question"]: line for line in map(valid, run.objects)}
    assert found["Good?"]["answer"] == "Of Good?"
    assert "no such method" in found["Bad?"]["error"]["message"]


def test_a_run_whose_server_dies_resumes_on_another(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_client, "REQUEST_RETRIES", 0)
    out = tmp_path / "answers.jsonl"
    questions = ("-q", "Who?", "-q", "What?", "--requests", "1", "--out", out)

    def dies(body: dict[str, Any]) -> Reply:
        if len(first.bodies) > 2:
            raise ConnectionResetError  # the connection is closed without a word
        return said(body)

    with serving(dies) as first:
        run = batch(first, clips, *questions)
    assert run.code == 4
    assert "can't be reached" in run.err
    assert "resumes" in run.err
    kept = out.read_text().splitlines()
    assert len(kept) == 2
    with serving() as second:
        assert batch(second, clips, *questions).code == 0
    assert len(second.bodies) == 4
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == len({line["key"] for line in lines}) == 6
    assert out.read_text().splitlines()[:2] == kept


def test_what_no_request_gets_past_ends_the_run(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving(lambda body: (401, {"error": {"message": "no: sk-secret"}})) as endpoint:
        run = batch(endpoint, clips, "What?")
    assert run.code == 4
    assert "refuses the key (401): set OPENAI_API_KEY" in run.err
    assert "sk-secret" not in run.err
    assert not run.objects


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--server", "localhost:8000"), "--server must be an address such as"),
        (("--server", "http://me:pass@here/v1"), "must not have a name or password"),
        (
            ("--server", "http://here/v1", "--device", "cpu"),
            "--device and --server exclude each other",
        ),
        (("--server", "http://here/v1", "--requests", "0"), "--requests must be 1 or more"),
        (("--requests", "4"), "--requests needs --server"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in run_here("batch", MOVE, "What?", *arguments).refusal
