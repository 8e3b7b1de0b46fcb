"""`--server` and a real `dycoke serve` with the bundled model: answers are those given here."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.cli.harness import REAL, run_here, run_process
from tests.server.real import PATIENCE_S, serving
from tests.waiting import until

ROOT = Path(__file__).parents[2]
VIDEOS = sorted((ROOT / "sample_videos").glob("*.mp4"))[:4]
MOVE = ROOT / "sample_videos" / "move.mp4"
# Pictures are sent as JPEGs, so only an answer that the model is sure of is the same in any case.
SURE = "What does the blue star do?"
QUESTIONS = (SURE, "Which shape moves?", "What happens last?")
METHODS = ("none", "ttm", "evs:retain=0.5", "dycoke-plus:retain=0.25", "dycoke")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="no signals")]


def dycoke(*arguments: str | Path) -> str:
    """What a command that succeeds prints, in this process."""
    done = run_here(*arguments)
    assert done.code == 0, done.err
    return done.out


def as_process(*arguments: str | Path) -> str:
    """The same as a process of its own."""
    done = run_process(REAL, *arguments)
    assert done.code == 0, done.err
    return done.out


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("serve")) as (url, _):
        yield url


@pytest.fixture(autouse=True)
def nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cache", "settings", "runtime"):
        monkeypatch.setenv(f"DYCOKE_{name.upper()}", str(tmp_path / name))


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_ask_has_the_answers_of_a_model_here(address: str, method: str) -> None:
    """The last method's by the command as a user starts it."""
    run = as_process if method == METHODS[-1] else dycoke
    command = ("ask", MOVE, SURE, "--method", method, "--json", "--quiet")
    own = json.loads(run(*command, "--no-server"))
    served = json.loads(run(*command, "--server", address))
    for key in ("answer", "finish_reason", "method", "frames", "warnings"):
        assert served[key] == own[key]
    for key in ("visual", "visual_kept", "text", "generated"):
        assert served["tokens"][key] == own["tokens"][key]
    assert served["tokens"]["prompt"] == own["tokens"]["visual_kept"] + own["tokens"]["text"]
    assert served["seconds"]["prefill"] > 0


@pytest.mark.extended
@pytest.mark.slow
def test_frames_as_pictures_have_the_same_answer(address: str) -> None:
    own = json.loads(dycoke("ask", MOVE, SURE, "--json", "--quiet", "--no-server"))
    command = ("ask", MOVE, SURE, "--json", "--quiet", "--as-images", "--server", address)
    served = json.loads(dycoke(*command))
    assert served["answer"] == own["answer"]
    for key in ("visual", "visual_kept", "text", "generated"):
        assert served["tokens"][key] == own["tokens"][key]


@pytest.mark.extended
@pytest.mark.slow
def test_eval_counts_the_tokens_of_a_model_here(address: str, tmp_path: Path) -> None:
    command = ("eval", "shapes", "--limit", "2", "--methods", "none,evs", "--json", "--quiet")
    command += ("--frames", "4", "--max-new-tokens", "4")
    here = json.loads(dycoke(*command, "--out", tmp_path / "here"))
    there = json.loads(dycoke(*command, "--out", tmp_path / "there", "--server", address))
    for own, served in zip(here["rows"], there["rows"], strict=True):
        same = ("spec", "questions", "failed", "kept_before_llm", "kept_in_decode")
        assert [served[key] for key in same] == [own[key] for key in same]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.extended
@pytest.mark.slow
def test_a_batch_whose_server_is_killed_resumes_with_nothing_lost_and_nothing_twice(
    tmp_path: Path,
) -> None:
    out, port = tmp_path / "answers.jsonl", free_port()
    questions = [word for question in QUESTIONS for word in ("-q", question)]
    url = f"http://127.0.0.1:{port}/v1"
    command = ("batch", *VIDEOS, *questions, "--method", "evs", "--requests", "2")
    remote = (*command, "--server", url, "--out", out)
    flags = ("--port", str(port), "--model", "mini")
    with serving(tmp_path, flags) as (_, server):
        batch = warm.Popen(
            [sys.executable, "-m", "dycoke_cli", *map(str, remote)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        until(lambda: out.exists() and out.read_bytes().count(b"\n") >= 3)
        server.send_signal(signal.SIGKILL)
        assert batch.wait(PATIENCE_S) == 4
    assert batch.stderr is not None
    assert b"the same command resumes" in batch.stderr.read()
    kept = out.read_text().splitlines()
    assert 3 <= len(kept) < len(VIDEOS) * len(QUESTIONS)
    with serving(tmp_path, flags):
        dycoke(*remote)
        whole = objects(dycoke(*command, "--server", url))
    lines = out.read_text().splitlines()
    assert lines[: len(kept)] == kept
    found = objects(out.read_text())
    assert len(found) == len({line["key"] for line in found}) == len(VIDEOS) * len(QUESTIONS)

    def answers(of: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
        return {(line["video"], line["question"]): line["answer"] for line in of}

    assert answers(found) == answers(whole)


@pytest.mark.extended
@pytest.mark.slow
def test_options_have_the_probabilities_of_a_model_here(address: str) -> None:
    """With the video in the request; a question without one gets a choice as well."""
    flags = ("--choices", "yes,no", "--json", "--quiet", "--no-server")
    own = json.loads(dycoke("ask", MOVE, "Is there a blue star?", *flags))
    data = b64encode(MOVE.read_bytes()).decode()
    video = {"type": "input_video", "input_video": {"data": data}}
    body = {
        "messages": [{"role": "user", "content": [video, text("Is there a blue star?")]}],
        "structured_outputs": {"choice": ["yes", "no"]},
    }
    reply = post(address, body)
    assert reply["choices"][0]["message"]["content"] == own["choice"] == "yes"
    found = reply["usage"]["dycoke"]
    # The two processes may add up in another order, in bfloat16.
    assert found["probabilities"] == pytest.approx(own["probabilities"], abs=1e-3)
    assert (found["choice"], found["margin"]) == ("yes", pytest.approx(own["margin"], abs=1e-3))
    for key in ("texts", "tokens", "likeliest"):
        assert found["scoring"][key] == own["scoring"][key]
    assert reply["usage"]["completion_tokens"] == 0
    blind = {"messages": [{"role": "user", "content": "Is there a blue star?"}]}
    reply = post(address, blind | {"guided_choice": ["yes", "no"]})
    assert reply["choices"][0]["message"]["content"] in ("yes", "no")
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(address, blind | {"guided_choice": ["yes", "yes"]})
    assert refused.value.code == 400
    assert "given 2 times" in json.loads(refused.value.read())["error"]["message"]


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    """The reply to a request; see `urllib.error.HTTPError` for one that is refused."""
    request = urllib.request.Request(
        f"{address}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        return json.load(reply)


@pytest.mark.extended
@pytest.mark.slow
def test_a_seed_has_the_answer_of_ask(address: str) -> None:
    """A second question about the video finds its prompt."""
    data = b64encode(MOVE.read_bytes()).decode()
    video = {"type": "input_video", "input_video": {"data": data}}
    body = {
        "messages": [{"role": "user", "content": [video, text("What happens?")]}],
        "temperature": 1.5, "seed": 3,
    }  # fmt: skip
    [choice] = post(address, body)["choices"]
    flags = ("--temperature", "1.5", "--seed", "3", "--json", "--quiet", "--no-server")
    own = json.loads(dycoke("ask", MOVE, "What happens?", *flags))
    assert choice["message"]["content"] == own["answer"]
    assert post(address, body)["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
