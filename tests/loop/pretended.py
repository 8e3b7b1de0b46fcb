"""A model and videos that only pretend: the engine that asks them is the real one.

An answer is the question, word by word, as slow as wanted. A video is read as black frames.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import Qwen2Config

from dycoke_cli.answer.answer import Answer, ReportedFrames, ReportedModel, Tokens
from dycoke_cli.ask import Ask, Footage
from dycoke_cli.compression.method import BASELINE, Method
from dycoke_cli.compression.methods import DyCoke
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.engine import session as session_module
from dycoke_cli.engine import supported
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question
from dycoke_cli.errors import OutOfMemoryError, VideoError
from dycoke_cli.loop import answer_batch, reading
from dycoke_cli.loop.asker import Pending
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.models.families import FAMILIES, ModelInfo, defaults_of
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.processes.isolated import GoneError
from dycoke_cli.request import Request
from dycoke_cli.video.clip import Clip, FramePlan, VideoInfo
from dycoke_cli.video.sampling import Sampling
from tests.documents import example

PATIENCE_S = 20.0
DURATION_S, FRAMES_PER_SECOND = 4.0, 25.0
FAMILY = FAMILIES["llava_onevision"]
REQUEST = Request("mini", LoadOptions(), Sampling(frames=2), DyCoke(), GenerationOptions())


@dataclass
class Pretended:
    """What the model does, and what it was asked."""

    pause_s: float = 0.0  # before each word
    batches: list[list[str]] = field(default_factory=list)  # the questions of each call
    words: list[str] = field(default_factory=list)  # of answers without a video
    histories: list[Any] = field(default_factory=list)  # of the first question of each call
    options: list[GenerationOptions] = field(default_factory=list)  # how each call was to generate
    read: list[int] = field(default_factory=list)  # frames of each video that was read
    paths: list[str] = field(default_factory=list)  # of each video that was read
    fail_at: int = 0  # the call that has too little memory, from 1; 0 for none
    loads: int = 0  # how often the model was loaded
    fitting: int = 8  # questions that are expected to fit into the memory together
    most: int = 100  # questions that do
    warning: str | None = None  # of each video, before its first answer
    # of the frames of a video, by the name of its file; others have 2 pixels a side
    size: dict[str, int] = field(default_factory=dict)
    info: ModelInfo = field(
        default_factory=lambda: ModelInfo(
            "llava_onevision", FAMILY, defaults_of(FAMILY, None, 10), 10, "mini"
        )
    )
    # closed, no question is answered
    gate: threading.Event = field(default_factory=threading.Event)
    shutter: threading.Event = field(default_factory=threading.Event)  # closed, no video is read
    shut_for: bytes = b""  # content of the videos that the shutter is for; empty for all
    # set once a video waits for the shutter
    began: threading.Event = field(default_factory=threading.Event)
    reading: int = 0  # number of those that do

    def __post_init__(self) -> None:
        self.gate.set()
        self.shutter.set()

    def install(self, monkeypatch: pytest.MonkeyPatch, *, videos: bool = True) -> None:
        """Take the place of the real model, and of videos unless those are to be real."""
        for module in (session_module, answer_batch):
            monkeypatch.setattr(module, "VideoSession", self._session)
        monkeypatch.setattr(answer_batch, "ask_together", self.ask_together)
        monkeypatch.setattr(answer_batch, "ask_without_video", self._ask_without_video)
        monkeypatch.setattr(supported, "check_decoder", lambda decoder, method: None)
        if videos:
            self.install_videos(monkeypatch)

    def install_videos(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of videos alone."""
        monkeypatch.setattr(reading, "Decoder", lambda limits: _Decoder(self))

    def of_a_found_family(self) -> None:
        """Be of a family whose layout was found, so that a stock processor makes its prompts."""
        self.info = replace(self.info, family=replace(FAMILY, stock_inputs=True))

    def load(self, fit: Any = None) -> Any:
        """The model."""
        self.loads += 1
        decoder = SimpleNamespace(config=Qwen2Config(num_hidden_layers=10))
        model = SimpleNamespace(
            generation_config=None, dtype="float32", get_decoder=lambda: decoder
        )
        return SimpleNamespace(
            name="mini",
            info=self.info,
            family=self.info.family,
            fit=lambda *size: None,
            input_device=SimpleNamespace(type="cpu"),
            model=model,
        )

    def unloaded(self) -> UnloadedModel:
        """What is known of it before."""
        return UnloadedModel("mini", True, self.info)

    def _session(self, loaded: Any, clip: Clip, **options: Any) -> Any:
        return SimpleNamespace(
            loaded=loaded,
            clip=clip,
            clips=(clip, *options.get("others", ())),
            info=loaded.info,
            windowed=options.get("windowed"),
            reuse=options["reuse"],
            is_prefilled=False,
            on_progress=lambda *progress: None,
            record_attention_for=lambda methods: None,
            finish=lambda: None,
            fitting=lambda question, method, history: self.fitting,
            memory_warning=lambda question, method, history: self.warning,
        )

    def ask_together(
        self,
        questions: Sequence[Question],
        method: Method,
        options: GenerationOptions,
        observers: Sequence[Any] = (),
    ) -> list[Answer]:
        """See `engine.ask_together`."""
        self.gate.wait(PATIENCE_S)
        self.batches.append([one.question for one in questions])
        self.histories.append(questions[0].history)
        self.options.append(options)
        if len(self.batches) == self.fail_at:
            raise OutOfMemoryError("memory ran out")
        if len(questions) > self.most:
            raise OutOfMemoryError("memory ran out")
        if any("too much" in one.question for one in questions):
            raise OutOfMemoryError("memory ran out")
        if any("bug" in one.question for one in questions):
            raise KeyError("/secret/path")
        left = {number: one.question.split() for number, one in enumerate(questions)}
        answers: dict[int, Answer] = {}
        for step in range(max(map(len, left.values()))):
            time.sleep(self.pause_s)
            session: Any = questions[0].session
            session.on_progress("decode", step, 9)
            for number, words in [*left.items()]:
                one = questions[number]
                if words[step] == "stumbles":
                    raise OutOfMemoryError("memory ran out")
                if one.receiver.on_text is not None:
                    one.receiver.on_text(f"{words[step]} ")
                if len(words) == step + 1 or one.receiver.has_left():
                    del left[number]
                    clips: Any = one.session.clips
                    answers[number] = self.answer(one.question, method, clips)
                    one.receiver.on_answer(answers[number])
        return [answers[number] for number in range(len(questions))]

    def _ask_without_video(
        self, loaded: Any, question: str, history: Any, options: Any, on_text: Any, on_token: Any
    ) -> Answer:
        for number, word in enumerate(question.split(), 1):
            on_token(number)
            self.words.append(word)
            if on_text is not None:
                on_text(f"{word} ")
        return self.answer(question, BASELINE, ())

    @staticmethod
    def answer(question: str, method: Method, clips: Sequence[Clip]) -> Answer:
        """The question."""
        count = sum(len(clip.timestamps_s) for clip in clips)
        return example(
            Answer,
            question=question,
            answer=f"{question} ",
            finish_reason="stop",
            model=example(ReportedModel, name="mini"),
            method={"name": method.name, **method.parameters()},
            frames=ReportedFrames(
                max(1, count), tuple(t for clip in clips for t in clip.timestamps_s)
            ),
            tokens=example(Tokens, visual=16 * count, visual_kept=4 * count, text=5, generated=3),
            warnings=(),
        )


class Asking:
    """Questions to an engine whose model and videos pretend."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pretended = Pretended()
        self.pretended.install(monkeypatch)
        self._folder = folder
        self._numbers = itertools.count()

    def engine(self, **more: Any) -> Engine:
        """An engine, whose model is loaded; `more` as of `Engine`."""
        given: dict[str, Any] = {
            "load": self.pretended.load,
            "loaded": None if "loaded" in more else self.pretended.load(),
            "unloaded": self.pretended.unloaded(),
            "keep": 4,
        }
        return Engine(REQUEST, **given | more)

    def ask(
        self,
        question: str,
        *,
        name: str | None = None,
        videos: int = 1,
        edge: int = 2,
        frames: int = 2,
        method: str = "dycoke",
        generation: GenerationOptions | None = None,
        **more: Any,
    ) -> Ask:
        """A question about a video of that name, or about another one than all before."""
        shown = []
        for _ in range(videos):
            path = self._folder / (name or f"{next(self._numbers)}.mp4")
            path.touch()
            self.pretended.size[path.name] = edge
            shown.append(Footage(str(path), path.name, identity=path.name))
        request = replace(
            REQUEST,
            method=parse_spec(method).create(),
            sampling=Sampling(frames=frames),
            generation=generation or GenerationOptions(),
        )
        return Ask(question, request, tuple(shown), **more)

    @staticmethod
    def wait_until_read(pendings: Sequence[Pending]) -> None:
        """Wait until all videos are."""
        for pending in pendings:
            if pending.video is not None:
                pending.video.reading.wait_end()

    def finish(self, engine: Engine, pendings: Sequence[Pending]) -> None:
        """Answer questions once all of their videos are read."""
        self.wait_until_read(pendings)
        while not all(pending.is_over for pending in pendings):
            engine.advance()


class _Decoder:
    """In place of `video.decoder.Decoder`: the file has to be there, and isn't decoded."""

    def __init__(self, pretended: Pretended) -> None:
        self._pretended = pretended
        self._stopped = threading.Event()

    def start(self) -> None:
        """Nothing has to be."""

    def stop(self) -> None:
        """End a reading that waits for the shutter."""
        self._stopped.set()

    def _wait_for_shutter(self) -> None:
        pretended = self._pretended
        pretended.began.set()
        pretended.reading += 1
        try:
            while not pretended.shutter.wait(0.01):
                if self._stopped.is_set():
                    raise reading.CrashedError("a.mp4", GoneError(-9))
        finally:
            pretended.reading -= 1

    @contextmanager
    def open(
        self, video: Any, sampling: Sampling, *, shown_as: str | None = None, **options: Any
    ) -> Iterator[Any]:
        """A video of black frames."""
        pretended = self._pretended
        paths = (video,) if isinstance(video, str) else video
        for path in paths:
            if not Path(path).exists() or Path(path).name.startswith("bad"):
                raise VideoError(f"{shown_as or path} can't be read")
        edge = pretended.size.get(Path(paths[0]).name, 2)
        frames = sampling.frames
        times = tuple(n / FRAMES_PER_SECOND for n in range(frames))
        info = example(VideoInfo, path="a.mp4", duration_s=DURATION_S, fps=25.0)

        def read(on_frame: Any, fit: Any, windows: Any) -> Clip:
            if pretended.shut_for in Path(paths[0]).read_bytes():
                self._wait_for_shutter()
            pretended.read.append(frames)
            pretended.paths.append(paths[0])
            shape = (frames, edge, edge, 3)
            part_s = sampling.part_s(DURATION_S)
            return Clip(np.zeros(shape, np.uint8), times, info, (), part_s=part_s)

        yield SimpleNamespace(plan=FramePlan(times, edge, edge, info, ()), read=read)
