"""A server in this process whose model only pretends: no torch, and answers as slow as wanted."""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dycoke_cli.answer.answer import Answer, Frames, Model, Tokens
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BASELINE, BoundMethod
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.request import Request
from dycoke_cli.server.access import read_keys
from dycoke_cli.server.admission import Admission
from dycoke_cli.server.allowance import Allowance
from dycoke_cli.server.connections import ConnectionLimits
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.incoming import BodyLimits
from dycoke_cli.server.lifetime import Address, IdlePolicy, make_server, run
from dycoke_cli.server.local.local_listener import LocalListener
from dycoke_cli.server.local.unix_socket import ENVIRONMENT
from dycoke_cli.server.media import Media, MediaFile
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.service import Service
from dycoke_cli.server.session_cache import SessionCache
from dycoke_cli.video.info import VideoInfo
from dycoke_cli.video.sampling import Sampling
from tests.documents import example

if TYPE_CHECKING:
    import openai

PATIENCE_S = 20.0
BODY_LIMIT = 200_000
VIDEO = "data:video/mp4;base64,AAAA"


def ample() -> Allowance:
    """More than any test takes."""
    return Allowance(PATIENCE_S, 2**40)


@dataclass
class Clip:
    frames: np.ndarray
    timestamps_s: tuple[float, ...]
    content: bytes
    warnings: tuple[str, ...] = ()
    info: VideoInfo = field(default_factory=lambda: example(VideoInfo, path="a.mp4"))


@dataclass
class Pretended:
    """What the model does, and what it was asked.

    Args:
        pause_s: before each word.
        words: of each answer: the question's.
        batches: the questions of each call.
        read: frames of each video that was read.
        options: how each call was to generate.
        fail_at: the call that has too little memory, from 1; 0 for none.
    """

    pause_s: float = 0.0
    batches: list[list[str]] = field(default_factory=list)
    histories: list[Any] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    options: list[GenerationOptions] = field(default_factory=list)
    fail_at: int = 0
    loads: int = 0
    fitting: int = 8
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def load(self) -> Any:
        self.loads += 1
        traits = ModelTraits("llava_onevision", FAMILIES["llava_onevision"], {}, 12, "mini")
        return SimpleNamespace(name="mini", traits=traits, fit=lambda *size: None)

    def read_file(
        self, file: MediaFile, sampling: Sampling, check: Any, fit: Any, allowance: Allowance
    ) -> Clip:
        check("a plan")
        self.read.append(sampling.frames)
        paths = (file.path,) if isinstance(file.path, str) else file.path
        content = b"".join(Path(path).read_bytes() for path in paths)
        times = tuple(n / 25 for n in range(sampling.frames))
        return Clip(np.zeros((sampling.frames, 2, 2, 3), np.uint8), times, content)

    def modules(self) -> dict[str, types.ModuleType]:
        pretended = self

        class VideoSession:
            def __init__(self, loaded: Any, clip: Clip, **options: Any) -> None:
                self.loaded, self.clips = loaded, (clip, *options["others"])
                self.on_progress: Any = None

            def fitting(self, question: str, method: Any, history: Any) -> int:
                return pretended.fitting

        @dataclass(eq=False)
        class Question:
            session: Any
            question: str
            history: Any
            receiver: Any
            max_new_tokens: int

        def ask_together(
            questions: Sequence[Question], method: BoundMethod, options: Any
        ) -> list[Answer]:
            pretended.gate.wait(PATIENCE_S)
            pretended.batches.append([one.question for one in questions])
            pretended.histories.append(questions[0].history)
            pretended.options.append(options)
            if len(pretended.batches) == pretended.fail_at:
                raise OutOfMemoryError("memory ran out")
            if any("too much" in one.question for one in questions):
                raise OutOfMemoryError("memory ran out")
            if any("bug" in one.question for one in questions):
                raise KeyError("/secret/path")
            words = {one: one.question.split() for one in questions}
            for number in range(max(map(len, words.values()))):
                time.sleep(pretended.pause_s)
                questions[0].session.on_progress("decode", number, 9)
                for one in [*words]:
                    if words[one][number] == "stumbles":
                        raise OutOfMemoryError("memory ran out")
                    if one.receiver.on_text is not None:
                        one.receiver.on_text(f"{words[one][number]} ")
                    if len(words[one]) == number + 1 or one.receiver.has_left():
                        del words[one]
                        answer = pretended.answer(one.question, method, one.session.clips)
                        one.receiver.on_answer(answer)
            return []

        def ask_without_video(
            loaded: Any, question: str, history: Any, options: Any, on_text: Any
        ) -> Answer:
            if on_text is not None:
                on_text(f"{question} ")
            return pretended.answer(question, BASELINE, ())

        session = types.ModuleType("dycoke_cli.engine.session")
        session.VideoSession = VideoSession  # type: ignore[attr-defined]
        asking = types.ModuleType("dycoke_cli.engine.ask_together")
        asking.Question = Question  # type: ignore[attr-defined]
        asking.ask_together = ask_together  # type: ignore[attr-defined]
        asking.ask_without_video = ask_without_video  # type: ignore[attr-defined]
        return {session.__name__: session, asking.__name__: asking}

    @staticmethod
    def answer(question: str, method: BoundMethod, clips: Sequence[Clip]) -> Answer:
        count = sum(len(clip.timestamps_s) for clip in clips)
        return example(
            Answer,
            question=question,
            answer=f"{question} ",
            finish_reason="stop",
            model=example(Model, name="mini"),
            method={"name": method.name, **method.parameters()},
            frames=Frames(max(1, count), tuple(t for clip in clips for t in clip.timestamps_s)),
            tokens=example(Tokens, visual=16 * count, visual_kept=4 * count, text=5, generated=3),
            warnings=(),
        )


@dataclass
class Running:
    """The server, and how to talk to it."""

    port: int
    pretended: Pretended
    service: Service

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **headers})
            reply = connection.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def ask(self, question: str, url: str | None = VIDEO, **more: Any) -> tuple[int, Any]:
        status, _, body = self.request(
            "POST", "/v1/chat/completions", body_of(question, url, **more)
        )
        return status, json.loads(body)

    def client(self) -> openai.OpenAI:
        """OpenAI's client of it, to be closed."""
        import openai

        url = f"http://127.0.0.1:{self.port}/v1"
        return openai.OpenAI(base_url=url, api_key="none", max_retries=0)

    def metric(self, name: str) -> float:
        lines = self.request("GET", "/metrics")[2].decode().splitlines()
        return float(next(line for line in lines if line.startswith(f"dycoke_{name} ")).split()[1])

    def wait_for(self, name: str, value: float) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.metric(name) != value:
            assert time.monotonic() < deadline, (name, value, self.metric(name))
            time.sleep(0.05)


def body_of(question: str, url: str | None = VIDEO, **more: Any) -> bytes:
    content: list[dict[str, Any]] = [{"type": "text", "text": question}]
    if url is not None:
        content.insert(0, {"type": "video_url", "video_url": {"url": url}})
    return json.dumps({"messages": [{"role": "user", "content": content}], **more}).encode()


@contextmanager
def served(
    service: Service,
    key: str = "",
    idle_s: float | None = None,
    connections: ConnectionLimits | None = None,
) -> Iterator[int]:
    """Within the block a server runs; gives its port. Commands find it, too."""
    address = Address("127.0.0.1", 0, read_keys(key))
    local = LocalListener(service.defaults.limits)
    server = make_server(service, address, connections or ConnectionLimits(), local)

    def serve() -> None:
        with closing(local):
            run(server, service, [listening, *local.sockets], IdlePolicy(idle_s))

    with address.bind() as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def make_service(
    engine: EngineThread, sessions: SessionCache, metrics: Metrics, **more: Any
) -> Service:
    """A service within the limits of tests."""
    options: dict[str, Any] = {
        "defaults": Request(
            "mini", LoadOptions(), Sampling(frames=8), Method(), GenerationOptions()
        ),
        "media": Media(),
        "read": None,
        "admission": Admission(64, 4 * BODY_LIMIT, metrics),
        "most_frames": 32,
        "bodies": BodyLimits(BODY_LIMIT),
        **more,
    }
    return Service(engine=engine, sessions=sessions, metrics=metrics, **options)


@contextmanager
def running(
    monkeypatch: pytest.MonkeyPatch,
    *,
    queue: int = 64,
    key: str = "",
    idle_s: float | None = None,
    connections: ConnectionLimits | None = None,
    **more: Any,
) -> Iterator[Running]:
    pretended = Pretended()
    for name, module in pretended.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    metrics = Metrics()
    sessions = SessionCache(4, metrics)
    service = make_service(
        EngineThread(pretended.load, pretended.load(), sessions, metrics),
        sessions,
        metrics,
        **{
            "read": pretended.read_file,
            "admission": Admission(queue, 4 * BODY_LIMIT, metrics),
            **more,
        },
    )
    with tempfile.TemporaryDirectory() as folder:  # short, as paths of sockets must be
        monkeypatch.setenv(ENVIRONMENT, f"{folder}/run")
        with served(service, key, idle_s, connections) as port:
            try:
                yield Running(port, pretended, service)
            finally:
                pretended.gate.set()
