"""The bundled model behind `vllm serve` and chat completions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM isn't installed: tests/environment.py installs it")

import openai
from mini_engine import SAMPLES, Asked
from own_answers import FRAMES, PER_FRAME, TOKENS, Answer, OwnAnswers
from transformers import AutoTokenizer

from benchmarks.serving.checkpoints import export
from benchmarks.serving.load import body, data_url
from benchmarks.serving.server import VllmServer
from dycoke_cli import Sampling, VideoSession, read
from dycoke_vllm.admission import admitted

OPTIONS = (
    "--dtype", "float32", "--enforce-eager", "--distributed-executor-backend", "uni",
    "--max-model-len", "1024", "--max-num-seqs", "16", "--trust-request-mm-kwargs",
    "--limit-mm-per-prompt", '{"image": 0, "video": 1}', "--enable-prompt-tokens-details",
)  # fmt: skip
LETTERS = 12
"""Copies of each of the shorter clips that a folder of videos has."""


class Served:
    """A server, and what reads its answers."""

    def __init__(self, server: VllmServer, own: OwnAnswers) -> None:
        self.server, self.own = server, own
        self.client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
        self.tokenizer = AutoTokenizer.from_pretrained(server.folder)
        self.urls = {video: data_url(clip.frames, "PNG") for video, clip in own.clips.items()}

    def ask(self, url: str, question: str, spec: Any, frames: int = FRAMES) -> Any:
        request = body(url, frames, question, spec, TOKENS)
        request["extra_body"]["return_token_ids"] = True
        return self.client.chat.completions.create(**request)

    def answer(self, asked: Asked) -> Answer:
        return self.read(self.ask(self.urls[asked.video], asked.question, asked.method))

    def read(self, done: Any) -> Answer:
        """Its text from its tokens: vLLM joins the bundled model's words without spaces."""
        [choice] = done.choices
        ids = choice.model_extra["token_ids"]
        assert done.usage.completion_tokens == len(ids)
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        assert choice.message.content.replace(" ", "") == text.replace(" ", "")
        return Answer(text, done.usage.prompt_tokens)

    def answers(self, asked: Sequence[Asked]) -> list[Answer]:
        """All of them at once."""
        with ThreadPoolExecutor(16) as pool:
            return [*pool.map(self.answer, asked)]

    def refusal(self, url: str, spec: Any, frames: int = FRAMES) -> str:
        """The sentence of an error 400; behind it the server answers as before."""
        with pytest.raises(openai.BadRequestError) as refused:
            self.ask(url, "What happens?", spec, frames)
        assert refused.value.status_code == 400
        asked = Asked(*self.own.questions[0], "evs")
        assert self.answer(asked) == self.own.expected(asked)
        return str(refused.value.body["message"])  # type: ignore[index]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    folder = tmp_path_factory.mktemp("served")
    with VllmServer(export(folder / "model"), folder / "log.txt", OPTIONS) as started:
        yield started


@pytest.fixture(scope="module")
def served(server: VllmServer, own: OwnAnswers) -> Served:
    return Served(server, own)


def test_answers_of_every_method_to_requests_at_once(served: Served) -> None:
    asked = served.own.every()
    answered = dict(zip(asked, served.answers(asked), strict=True))
    assert not served.own.wrong(answered)
    counts = {got.prompt_tokens for one, got in answered.items() if one.video == asked[0].video}
    assert len(counts) > 3, "the methods keep different numbers of tokens"


def test_caches_keep_the_methods_apart(served: Served) -> None:
    """The second time each finds its own prefix, video and all, and no other's."""
    video, question = served.own.questions[0]
    url, cached = served.urls[video], []
    for spec in ("none", "evs", "dycoke-plus", "evs", "none", "dycoke-plus"):
        done = served.ask(url, question, spec)
        assert served.read(done) == served.own.expected(Asked(video, question, spec))
        cached.append(done.usage.prompt_tokens_details.cached_tokens or 0)
    longest = FRAMES * PER_FRAME
    assert cached[4] > longest // 2, "all of the video, in whole blocks"
    assert max(cached[3], cached[5]) < longest // 2


def test_without_a_method_nothing_is_dropped(served: Served) -> None:
    video, question = served.own.questions[0]
    assert served.read(served.ask(served.urls[video], question, None)) == served.own.expected(
        Asked(video, question, "none")
    )


@pytest.mark.parametrize("spec", ["none", "evs:retain=0.25", "dycoke-plus:retain=0.25", "ttm"])
def test_a_video_of_one_frame(served: Served, spec: str) -> None:
    video, question = served.own.questions[0]
    clip = read(video, Sampling(frames=1))
    answer = VideoSession(served.own.loaded, clip).ask(
        question, admitted(spec, "renumbered"), max_tokens=TOKENS
    )
    expected = Answer(answer.answer, answer.tokens.text + answer.tokens.visual_kept)
    assert served.read(served.ask(data_url(clip.frames, "PNG"), question, spec, 1)) == expected


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("efs", "there is no method 'efs'"),
        ("evs:retain=2", "retain must be above 0 and at most 1, not 2"),
        ("dycoke", "prunes the KV cache in decode, which paged attention can't; add kv_prune="),
        ("fastv", "drops tokens between the layers of the language model"),
        ("prumerge", "needs the attention of the vision tower"),
        ("earlytom", "drops tokens inside the vision tower"),
        ("evs:positions=kept", "this model's are renumbered"),
        (5, "mm_processor_kwargs.dycoke must be a text"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_and_the_server_lives(
    served: Served, spec: Any, sentence: str
) -> None:
    told = served.refusal(served.urls[served.own.questions[0][0]], spec)
    assert sentence in told
    assert "\n" not in told


def test_a_video_of_no_frames_is_refused(served: Served) -> None:
    told = served.refusal("data:video/jpeg;base64,", "evs", frames=0)
    assert "\n" not in told


def test_a_folder_goes_on_behind_a_server_that_was_killed(
    server: VllmServer, tmp_path: Path
) -> None:
    """The last test of this file's server: it is another one behind it."""
    folder, out = tmp_path / "clips", tmp_path / "answers.jsonl"
    folder.mkdir()
    for number in range(LETTERS):
        for name in ("move.mp4", "turn.mp4", "vanish.mp4"):
            os.link(SAMPLES / name, folder / f"{number:02}-{name}")
    command = [
        sys.executable, "-m", "dycoke_cli", "batch", str(folder), "What happens in the video?",
        "--server", server.url, "--method", "evs", "--retain", "0.25", "--requests", "2",
        "--max-tokens", str(TOKENS), "--out", str(out),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as batch:
        until = time.monotonic() + 300
        while not out.exists() or len(out.read_text().splitlines()) < 4:
            assert time.monotonic() < until
            time.sleep(0.05)
        server.end(signal.SIGKILL)
        _, told = batch.communicate()
    assert batch.returncode == 4, told
    assert f"{server.url} can't be reached" in told
    assert "Traceback" not in told
    before = lines(out)
    assert 4 <= len(before) < 3 * LETTERS, "it was killed in the middle"
    assert all(line["answer"] for line in before), "none of them failed for good"
    server.start()
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = lines(out)
    assert after[: len(before)] == before
    assert Counter(Path(line["video"]).name for line in after) == Counter(
        path.name for path in folder.iterdir()
    )
    for line in after:
        assert line["answer"]
        assert line["tokens"]["prompt"] < FRAMES * PER_FRAME // 2


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]
