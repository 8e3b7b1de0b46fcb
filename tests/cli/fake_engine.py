"""Stands in for the model, its sessions and videos, below the engine, which is the real one.

An answer is what it is told, or the question, word by word. The fixture `fake` has it in this
process; `faking(pause_s=0.2)` with `ask …` behind it is the command `dycoke ask …` as a process.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dycoke_cli.answer.answer import (
    Answer,
    Bytes,
    Decode,
    Flops,
    OneVideo,
    ReportedFrames,
    ReportedModel,
    Scoring,
    Seconds,
    Tokens,
)
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError, OutOfMemoryError, VideoError
from dycoke_cli.models.families import FAMILIES, ModelInfo

if TYPE_CHECKING:
    from dycoke_cli.engine.session import Question

TOLD = "a red circle moves right"
FRAMES_TOKENS = 16
PATIENCE_S = 20.0
DURATION_S, FRAMES_PER_SECOND = 4.0, 25.0
FAMILY = FAMILIES["llava_onevision"]


def _allocator_failure() -> Exception:
    __import__("torch")  # which has raised it
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
    )


FAILURES: dict[str, Callable[[], Exception]] = {
    "memory": lambda: MemoryError(),
    "torch_cpu": _allocator_failure,
    "bug": lambda: KeyError("no such [bold]thing[/bold]"),
    "disk": lambda: OSError(28, "No space left on device", "/somewhere"),
    "stumbles": lambda: OutOfMemoryError("memory ran out"),
}


class Fake(list["FakeSession"]):
    """The sessions that were made, and how they answer from now on.

    Attributes:
        answer: its words come one after the other; None for those of the question.
        pause_s: seconds before the next word.
        failure: one of `FAILURES`, in place of the rest of an answer; or "model", which can't be
            loaded. A question of that word fails likewise.
        fail_after: words before the failure.
        fail_at: the batch that has too little memory, from 1; 0 for none.
        warning: of memory, of each question.
        fitting: questions that are expected to fit into the memory together.
        most: questions that do.
        size: pixels a side of a video, by the name of its file; others have 2.
        gate: closed, no question is answered.
        shutter: closed, no video is read whose file has `shut_for` in it.
        began: set once a video waits for that; `reading` is the number of those that do.
        loads: how often the model was loaded.
        batches: the questions that were asked together.
        words: of answers without a video.
        read: frames of each video that was read; `paths` are theirs.
    """

    def __init__(
        self,
        *,
        answer: str | None = None,
        pause_s: float = 0.0,
        failure: str = "",
        size: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.answer, self.pause_s, self.failure, self.fail_after = answer, pause_s, failure, 0
        self.warning: str | None = None
        self.fail_at, self.fitting, self.most, self.loads = 0, 8, 100, 0
        self.size = size or {}
        self.gate, self.shutter, self.began = (threading.Event() for _ in range(3))
        self.gate.set()
        self.shutter.set()
        self.shut_for, self.reading = b"", 0
        self.batches: list[list[str]] = []
        self.words: list[str] = []
        self.fit: Callable[..., Any] = lambda frames, height, width: None  # as decoded
        self.read: list[int] = []
        self.paths: list[str] = []
        own = {"prune_layer": 2, "positions": "kept"}  # as the bundled model
        self.info = ModelInfo("llava_onevision", FAMILY, own, 10, "mini")

    def install(self, patch: pytest.MonkeyPatch, *, videos: bool = False) -> Fake:
        """Take the place of the real model, and of videos if those are to pretend as well."""
        patch.setattr("dycoke_cli.models.load.load", self.load)
        patch.setattr("dycoke_cli.engine.supported.check_decoder", lambda decoder, method: None)
        patch.setattr("dycoke_cli.loop.answer_batch.VideoSession", self._session)
        # A test may wrap the method.
        together = "dycoke_cli.loop.answer_batch.ask_together"
        patch.setattr(together, lambda *asked: self.ask_together(*asked))
        patch.setattr("dycoke_cli.loop.answer_batch.ask_without_video", self._ask_without_video)
        if self.answer is not None:
            patch.setattr("dycoke_cli.engine.session.is_asked_alone", lambda *asked: True)
        if videos:
            self.install_videos(patch)
        return self

    def install_videos(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of videos alone."""
        patch.setattr("dycoke_cli.loop.reading.Decoder", lambda limits: _Decoder(self))

    def load(self, model: Any = "mini", **options: Any) -> Any:
        """In place of `models.load.load`."""
        from transformers import Qwen2Config

        self.loads += 1
        name = model if isinstance(model, str) else model.name
        if self.failure == "model":
            raise ModelError(f"there is no model {name!r} and no such folder; did you mean mini?")
        decoder = SimpleNamespace(config=Qwen2Config(num_hidden_layers=10))
        return SimpleNamespace(
            name=name,
            seconds_load=0.5,
            info=replace(self.info, name=name),
            family=self.info.family,
            fit=self.fit,
            input_device=SimpleNamespace(type="cpu"),
            model=SimpleNamespace(
                generation_config=None, dtype="float32", get_decoder=lambda: decoder
            ),
        )

    def _session(self, *given: Any, **options: Any) -> FakeSession:
        self.append(FakeSession(self, *given, **options))
        return self[-1]

    def ask_together(
        self,
        questions: Sequence[Question],
        method: Any,
        options: GenerationOptions,
        observers: Sequence[Any] = (),
    ) -> list[Answer]:
        """See `engine.ask_together`."""
        self.gate.wait(PATIENCE_S)
        self.batches.append([one.question for one in questions])
        if len(self.batches) == self.fail_at or len(questions) > self.most:
            raise FAILURES["stumbles"]()
        sessions: list[Any] = [one.session for one in questions]
        for one, session in zip(questions, sessions, strict=True):
            asked = {"question": one.question, "method": method, "history": tuple(one.history)}
            session.asked.append({**asked, **vars(options)})
        frames = sum(len(clip.timestamps_s) for clip in sessions[0].clips)
        for stage, total in (("vision", frames), ("prefill", 1)):
            for done in range(1, total + 1):
                sessions[0].on_progress(stage, done, total)
                time.sleep(self.pause_s / 4)
        words = [self._words(one.question, options.max_tokens) for one in questions]
        answers: dict[int, Answer] = {}
        for step in range(max(1, *map(len, words))):
            time.sleep(self.pause_s)
            sessions[0].on_progress("decode", step + 1, options.max_tokens)
            for number in [n for n in range(len(questions)) if n not in answers]:
                one, said = questions[number], words[number]
                for word in said[step : step + 1]:
                    self._fail(one.question, word.strip(), step)
                    if one.receiver.on_text is not None:
                        one.receiver.on_text(word)
                if len(said) <= step + 1 or one.receiver.has_left():
                    text = "".join(said)
                    answers[number] = sessions[number].answered(one.question, method, options, text)
                    one.receiver.on_answer(answers[number])
        return [answers[number] for number in range(len(questions))]

    def _words(self, question: str, most: int) -> list[str]:
        """Of the answer, with the spaces behind them."""
        if self.answer is None:
            return re.findall(r"\S+\s*", f"{question} ")
        words = re.findall(r"\S+\s*", self.answer)
        return words if len(words) <= most else [*words[: most - 1], words[most - 1].rstrip()]

    def _fail(self, question: str, word: str, number: int) -> None:
        told = (self.failure or question) if number == self.fail_after else ""
        kind = word if self.answer is None else told
        if kind in FAILURES:
            raise FAILURES[kind]()

    def _ask_without_video(
        self, loaded: Any, question: str, history: Any, options: Any, on_text: Any, on_token: Any
    ) -> Answer:
        for number, word in enumerate(self._words(question, options.max_tokens), 1):
            on_token(number)
            self.words.append(word.strip())
            if on_text is not None:
                on_text(word)
        return FakeSession(self, loaded).answered(question, BASELINE, options, f"{question} ")


def faking(answer: str = TOLD, **how: Any) -> list[str]:
    """A command of a process, behind which those of `dycoke` stand; `how` as of `Fake`."""
    return [sys.executable, __file__, json.dumps({"answer": answer, **how})]


class FakeSession:
    """What is asked about a video, and how."""

    is_prefilled = False

    def __init__(
        self,
        fake: Fake,
        loaded: Any,
        clip: Any = None,
        *,
        others: Sequence[Any] = (),
        seconds_video_decode: float = 0.0,
        reuse: bool = True,
        cache: object = None,
        windowed: object = None,
    ) -> None:
        self.loaded, self.info, self.clip = loaded, loaded.info, clip
        self.clips = () if clip is None else (clip, *others)
        self.reuse, self.cache, self.windowed = reuse, cache, windowed
        self.asked: list[dict[str, Any]] = []
        self.on_progress = lambda *progress: None
        self.record_attention_for = self.finish = lambda *methods: None
        self.fitting = lambda *asked: fake.fitting
        self.memory_warning = lambda *asked: fake.warning
        self._told, self._decode_s = fake.answer, seconds_video_decode

    def answered(self, question: str, method: Any, options: GenerationOptions, text: str) -> Answer:
        """The answer to a question."""
        from tests.documents import example

        each = [len(one.timestamps_s) for one in self.clips]
        frames, times = sum(each), tuple(t for one in self.clips for t in one.timestamps_s)
        visual, kept = frames * FRAMES_TOKENS, method.kept_tokens(frames, FRAMES_TOKENS)
        active = int(kept * 0.3) if method.parameters().get("kv_prune", False) else kept
        generated = len(text.split()) + 1
        warnings = [warning for one in self.clips[:1] for warning in one.warnings]
        if expected := self.memory_warning():
            warnings.append(expected)
        is_cut = self._told is not None and len(text.split()) < len(self._told.split())
        drawn = 40 + len(self.asked) if options.temperature else None  # for each question
        return example(
            Answer,
            question=question,
            answer=text,
            finish_reason="length" if is_cut else "stop",
            seed=drawn if options.seed is None else options.seed,
            model=example(ReportedModel, name=self.loaded.name, dtype="bfloat16", device="cpu"),
            method={"name": method.name, **method.parameters()},
            frames=ReportedFrames(max(1, frames), times),
            videos=ABSENT
            if len(each) < 2
            else tuple(
                OneVideo(
                    frames=ReportedFrames(count, tuple(one.timestamps_s)),
                    visual=count * FRAMES_TOKENS,
                    visual_kept=method.kept_tokens(count, FRAMES_TOKENS),
                )
                for one, count in zip(self.clips, each, strict=True)
            ),
            tokens=example(
                Tokens,
                visual=visual,
                visual_kept=kept,
                visual_active_in_decode=float(active),
                visual_read_per_step=(kept + active) / 2,
                generated=generated,
            ),
            decode=example(
                Decode,
                steps=generated - 1,
                choices_renewed=2,
                tokens_evicted=14,
                tokens_recalled=12,
            ),
            flops=Flops(prefill=kept * 6.1e6, decode=active * 2.0e5, uncompressed=visual * 7e6),
            seconds=example(Seconds, load=0.0, video_decode=self._decode_s),
            tokens_per_second=(generated - 1) / 0.12,
            bytes=example(
                Bytes,
                weights=11_400_000,
                kv_cache=kept * 2048,
                kv_active=active * 2048,
                read_per_token=7_000_000 + active * 2048,
            ),
            warnings=tuple(warnings),
        )


SHOWN_S = (1.5, 2.25)


def know(patch: pytest.MonkeyPatch) -> None:
    """Say yes to a question about blue where the part of the video overlaps with `SHOWN_S`."""
    from tests.documents import example

    answered = FakeSession.answered

    def answer(session: FakeSession, question: str, *given: Any) -> Answer:
        start_s, end_s = session.clips[0].part_s or (0.0, DURATION_S)
        yes = 0.875 if start_s < SHOWN_S[1] and end_s > SHOWN_S[0] and "blue" in question else 0.125
        return replace(
            answered(session, question, *given),
            seconds=example(Seconds, load=2.0, video_decode=0.25, total=1.0),
            choice="yes" if yes > 0.5 else "no",
            probabilities={"yes": yes, "no": 1 - yes},
            margin=0.75,
            scoring=example(Scoring, mass=0.25 if "unclear" in question else 0.75),
        )

    patch.setattr(FakeSession, "answered", answer)


class _Decoder:
    """In place of `video.decoder.Decoder`: the file has to be there, and isn't decoded."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake
        self._stopped = threading.Event()
        self.start = lambda: None
        self.stop = self._stopped.set  # ends a reading that waits for the shutter

    def _wait_for_shutter(self) -> None:
        from dycoke_cli.processes.zygote import GoneError
        from dycoke_cli.video.decoder import CrashedError

        self._fake.began.set()
        self._fake.reading += 1
        try:
            while not self._fake.shutter.wait(0.01):
                if self._stopped.is_set():
                    raise CrashedError("a.mp4", GoneError(-9))
        finally:
            self._fake.reading -= 1

    @contextmanager
    def open(
        self, video: Any, sampling: Any, *, shown_as: str | None = None, **options: Any
    ) -> Iterator[Any]:
        """A video of black frames."""
        import numpy as np

        from dycoke_cli.video.clip import Clip, FramePlan, VideoInfo
        from tests.documents import example

        paths = (video,) if isinstance(video, str) else video
        for path in paths:
            if not Path(path).exists() or Path(path).name.startswith("bad"):
                raise VideoError(f"{shown_as or path} can't be read")
        edge = self._fake.size.get(Path(paths[0]).name, 2)
        times = tuple(n / FRAMES_PER_SECOND for n in range(sampling.frames))
        info = example(VideoInfo, path="a.mp4", duration_s=DURATION_S, fps=FRAMES_PER_SECOND)

        def read(on_frame: Any, fit: Any, windows: Any) -> Clip:
            if self._fake.shut_for in Path(paths[0]).read_bytes():
                self._wait_for_shutter()
            self._fake.read.append(len(times))
            self._fake.paths.append(paths[0])
            frames = np.zeros((len(times), edge, edge, 3), np.uint8)
            return Clip(frames, times, info, (), part_s=sampling.part_s(DURATION_S))

        yield SimpleNamespace(plan=FramePlan(times, edge, edge, info, ()), read=read)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a file, it is in no package
    Fake(**json.loads(sys.argv.pop(1))).install(pytest.MonkeyPatch())
    from dycoke_cli.cli.main import main

    sys.exit(main())
