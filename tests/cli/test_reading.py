"""The video is read while the model is loaded: the same frames, the same errors, no thread left."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import pytest

from dycoke_cli.cli import render
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError, VideoError
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.converse import asks_of, engine_of, work_on
from dycoke_cli.runs.listener import Listener
from dycoke_cli.video.clip import Clip, FrameResize
from dycoke_cli.video.decoder import OpenClip
from dycoke_cli.video.sampling import Sampling
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, Outcome, run_here
from tests.processes.test_worker import ended
from tests.waiting import until

PATIENCE_S = 30


@pytest.fixture(autouse=True)
def _no_thread_is_left(fake: Fake) -> Iterator[None]:
    before = {*threading.enumerate()}  # a server of other tests may be alive in this process
    yield
    until(lambda: all(one.name != "reading" for one in {*threading.enumerate()} - before))


def load_with(monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any]) -> None:
    monkeypatch.setattr("dycoke_cli.models.load.load", load)


def ask(*flags: str) -> Outcome:
    return run_here("ask", CLIP, "What?", "--model", "mini", "--frames", "16", *flags)


def test_they_are_kept_at_the_size_that_the_model_reads_unless_they_are_shown(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.fit = lambda _, *size: FrameResize(size, (8, 6), "bicubic", False, True, False)
    monkeypatch.setattr("dycoke_cli.loop.answer_batch.fitted", lambda clip, fit: clip)
    assert ask().code == 0
    assert fake[0].clip.frames.shape == (16, 8, 6, 3)
    request = Request("mini", LoadOptions(), Sampling(frames=2), Method(), GenerationOptions())
    with engine_of(request, Listener()) as engine:
        [ask_] = asks_of([str(CLIP)], ["What?"], request)
        shape = work_on(
            engine, ask_, lambda session, _: session.clip.frames.shape, Listener(), decoded=True
        )
    assert shape == (2, 256, 256, 3)


def test_reading_and_loading_go_on_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each waits for the other to have begun.
    both = threading.Barrier(2, timeout=PATIENCE_S)
    usual = OpenClip.read

    def meeting(clip: OpenClip, *more: Any) -> Clip:
        both.wait()
        return usual(clip, *more)

    def load(name: str, **options: Any) -> Any:
        both.wait()
        return Fake().load(name)

    monkeypatch.setattr(OpenClip, "read", meeting)
    load_with(monkeypatch, load)
    assert ask().code == 0


@pytest.mark.parametrize("broken", [("video",), ("model",), ("video", "model")])
@pytest.mark.parametrize("first", ["video", "model"])
def test_the_videos_error_comes_first_whichever_was_faster(
    broken: tuple[str, ...], first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = {"video": threading.Event(), "model": threading.Event()}
    usual = OpenClip.read

    def reading(clip: OpenClip, *more: Any) -> Clip:
        if first == "model":
            assert done["model"].wait(PATIENCE_S)
        try:
            if "video" in broken:
                raise VideoError("no picture can be decoded")
            return usual(clip, *more)
        finally:
            done["video"].set()

    def load(name: str, **options: Any) -> Any:
        # Frames that can be read wait for the model, which knows the size they are kept at.
        if first == "video" and "video" in broken:
            assert done["video"].wait(PATIENCE_S)
        done["model"].set()
        if "model" in broken:
            raise ModelError("no such model")
        return Fake().load(name)

    monkeypatch.setattr(OpenClip, "read", reading)
    load_with(monkeypatch, load)
    if first == "video" and "video" in broken:
        # So early that the model isn't loaded at all.
        monkeypatch.setattr(Engine, "advance", when_read)
    run = ask()
    assert (run.code, run.out) == (3 if "video" in broken else 4, "")
    sentence = "no picture can be decoded" if "video" in broken else "no such model"
    assert sentence in run.err
    assert len(run.err.splitlines()) == 1
    # What is known to be broken costs no loading.
    assert done["model"].is_set() == (first == "model" or "video" not in broken)


advance = Engine.advance


def when_read(engine: Engine) -> None:
    """Begin nothing before all videos are read."""
    for pending in [*engine._waiting]:
        assert pending.video.reading._ended.wait(PATIENCE_S)
    advance(engine)


@pytest.mark.skipif(sys.platform != "linux", reason="signals stop no process on Windows")
def test_interrupt_ends_the_reading_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even of a process that does nothing any more."""
    begun, pids = threading.Event(), list[int]()
    usual = OpenClip.read

    def stopped(clip: OpenClip, *more: Any) -> Clip:
        pids.append(clip._process.pid)
        os.kill(pids[0], signal.SIGSTOP)
        begun.set()
        return usual(clip, *more)

    def load(name: str, **options: Any) -> Any:
        assert begun.wait(PATIENCE_S)
        raise KeyboardInterrupt

    monkeypatch.setattr(OpenClip, "read", stopped)
    load_with(monkeypatch, load)
    started = time.monotonic()
    run = ask()
    assert (run.code, run.out, run.err) == (130, "", "Interrupted\n")
    assert time.monotonic() - started < PATIENCE_S
    assert ended(pids[0])


def test_the_line_on_the_terminal_is_the_videos_and_then_the_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages: list[str] = []
    monkeypatch.setattr(
        render.ProgressLine, "update", lambda self, stage, done, total: stages.append(stage)
    )

    def load(name: str, *, fit: Any, **options: Any) -> Any:
        fit.set_result(lambda *_: None)  # known before the weights are read
        until(lambda: "load" in stages)
        return Fake().load(name)

    load_with(monkeypatch, load)
    assert ask().code == 0
    seen = [stage for stage, _ in groupby(stages)]
    assert seen == ["start", "video", "load", "vision", "prefill", "decode"]
