"""Videos are read ahead; one that brings down its decoder costs itself and nothing else."""

from __future__ import annotations

import gc
import shutil
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.loop import reading as reading_module
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.reading import Readers, Reading
from dycoke_cli.video import decoder
from dycoke_cli.video import limits as limits_module
from dycoke_cli.video.clip import Fit
from dycoke_cli.video.decoder import read
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling
from tests.loop import decoders
from tests.runs.parts import CLIPS, PLAN, Group, groups_in, plan_with, settled_in
from tests.waiting import until, until_gone

TWO = Sampling(frames=2)


@contextmanager
def reading(
    groups: list[Group],
    decoders: int | None = None,
    limits: Limits | None = None,
    on_change: Callable[[Reading], None] = lambda _: None,
) -> Iterator[dict[str, Reading]]:
    """The videos while they are read ahead, by their names."""
    limits = limits or Limits()
    readers = Readers(limits, lambda _: None, lambda _: None, on_change, decoders)
    begun = {}
    for ask, *_ in groups:
        ask = replace(ask, request=replace(ask.request, limits=limits))
        begun[ask.videos[0].place] = one = Reading(ask, decoded=True, urgent=False)
        readers.read(one)
    try:
        yield begun
    finally:
        readers.close()


def read_all(
    groups: list[Group], decoders: int | None = None, limits: Limits | None = None
) -> dict[str, Reading]:
    """The videos, once all are read."""
    with reading(groups, decoders, limits) as begun:
        for one in begun.values():
            assert one._ended.wait(90)
    return begun


def folder_of(folder: Path, *names: str) -> list[Group]:
    """Copies of a clip under these names."""
    for name in names:
        shutil.copy(CLIPS / "move.mp4", folder / name)
    return groups_in(folder)


def decoding_by(monkeypatch: pytest.MonkeyPatch, name: str, notes: Path) -> None:
    """Decode by a function of `decoders`, which notes what it did in a folder."""
    monkeypatch.setattr(decoder, "PROCESS", f"{decoders.__name__}:{name}")
    monkeypatch.setenv("LC_NOTES", str(notes))


def error_of(read: Reading) -> str:
    assert isinstance(read.error, VideoError)
    return str(read.error)


def is_read(reading: Reading) -> bool:
    if reading.error is not None:
        raise reading.error
    return len(reading.clips) == 1


def test_a_thread_that_waits_for_a_video_holds_none(tmp_path: Path) -> None:
    readers = Readers(Limits(), lambda _: None, lambda _: None, lambda _: None)
    ((ask, *_),) = folder_of(tmp_path, "a.mp4")
    one = Reading(ask, decoded=True, urgent=False)
    readers.read(one)
    try:
        assert one._ended.wait(90)
        assert all(thread.daemon for thread in readers._threads)  # one may be in a long read
        readers.release(one)
        held = weakref.ref(one)
        del one

        def let_go() -> bool:
            gc.collect()
            return held() is None

        until(let_go)
    finally:
        readers.close()


def test_frames_are_those_that_are_read_here() -> None:
    groups = groups_in(CLIPS)
    taken = read_all(groups, 2)
    assert set(taken) == {group[0].videos[0].place for group in groups}
    for name, found in taken.items():
        here, (clip,) = read(CLIPS / name, TWO), found.clips
        np.testing.assert_array_equal(clip.frames, here.frames)
        assert clip.timestamps_s == here.timestamps_s
        assert found.seconds > 0


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    folder_of(tmp_path, "good.mp4")

    def from_(start_s: float) -> list[Group]:
        return groups_in(tmp_path, plan=plan_with(sampling=Sampling(frames=2, start_s=start_s)))

    taken = read_all(from_(0.5))
    assert is_read(taken["good.mp4"])
    assert "is a text file, not a video" in error_of(taken["text.mp4"])
    assert isinstance(read_all(from_(100.0))["good.mp4"].error, UsageError)


@pytest.mark.slow
def test_a_video_that_crashes_its_decoder_costs_three_attempts_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_by(monkeypatch, "decode", tmp_path)
    names = ["crash.mp4", "exit.mp4", "good1.mp4", "good2.mp4", "good3.mp4", "once.mp4"]
    taken = read_all(folder_of(tmp_path, *names), 2)
    assert set(taken) == set(names)
    assert "ends the process that decodes it (signal 11), 3 times" in error_of(taken["crash.mp4"])
    assert "ends the process that decodes it (exit code 7)" in error_of(taken["exit.mp4"])
    for name in names[2:]:
        assert is_read(taken[name]), name
    attempts = Counter(path.suffix[1:] for path in tmp_path.glob("[012].*"))
    assert attempts == {"crash": 3, "exit": 3, "good1": 1, "good2": 1, "good3": 1, "once": 2}


def test_another_attempt_begins_without_the_error_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first windows are encoded before it is read to its end."""
    decoding_by(monkeypatch, "decode", tmp_path)
    seen: list[BaseException | None] = []
    groups = folder_of(tmp_path, "once.mp4")
    with reading(groups, on_change=lambda one: seen.append(one.error)) as begun:
        assert begun["once.mp4"]._ended.wait(90)
    assert {*seen} == {None}


@pytest.mark.parametrize(
    ("name", "limit", "seconds"),
    [("hang.mp4", 4.0, "decoded after 4 s"), ("burn.mp4", 60.0, "opened after 1 s of")],
)
def test_a_video_that_hangs_its_decoder_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: float, seconds: str
) -> None:
    if name == "burn.mp4" and sys.platform != "linux":
        pytest.skip("CPU time isn't limited here")
    decoding_by(monkeypatch, "decode", tmp_path)
    monkeypatch.setattr(limits_module, "_OPENING_CPU_S", 1.0)
    groups = folder_of(tmp_path, "good1.mp4", name, "good2.mp4")
    taken = read_all(groups, 1, Limits(time_limit=limit))
    assert f"{name} isn't {seconds}" in error_of(taken[name])
    assert [*tmp_path.glob(f"?.{name[:4]}")] == [tmp_path / f"0.{name[:4]}"]
    assert is_read(taken["good1.mp4"])
    assert is_read(taken["good2.mp4"])


def test_no_more_is_read_ahead_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "_MOST_VIDEOS", 3)
    groups = folder_of(tmp_path, *(f"{number}.mp4" for number in range(12)))
    with reading(groups, 2) as begun:
        until(lambda: sum(one.is_read for one in begun.values()) >= 3)
        time.sleep(0.5)
        assert sum(one.is_read for one in begun.values()) <= 3 + 1


def test_slow_videos_of_one_owner_leave_room_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_by(monkeypatch, "decode", tmp_path)
    names = ["hang1.mp4", "hang2.mp4", "hang3.mp4", "good4.mp4", "good5.mp4", "left6.mp4"]
    asks = {ask.videos[0].place: ask for ask, *_ in folder_of(tmp_path, *names)}
    readers = Readers(Limits(), lambda _: None, lambda _: None, lambda _: None, 2)
    by_name = {
        name: Reading(asks[name], decoded=True, urgent=True, owner=owner)
        for name, owner in zip(names, "aaabba", strict=True)
    }
    try:
        for one in by_name.values():
            readers.read(one)
        for name in names[3:5]:
            assert by_name[name]._ended.wait(90)
            assert is_read(by_name[name])
        assert {*tmp_path.glob("0.hang?")} == {tmp_path / "0.hang1", tmp_path / "0.hang2"}
        readers.release(by_name["left6.mp4"])
        assert [*readers._queue] == [by_name["hang3.mp4"]]
        readers.release(by_name["hang1.mp4"])  # then the third one has its turn
        until((tmp_path / "0.hang3").exists)
    finally:
        readers.close()


def test_what_somebody_waits_for_is_read_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "_MOST_VIDEOS", 1)
    groups = folder_of(tmp_path, *(f"{number}.mp4" for number in range(4)))
    with reading(groups[:3], 1) as begun:
        assert begun["0.mp4"]._ended.wait(60)  # and the run has no more room
        readers = Readers(Limits(), lambda _: None, lambda _: None, lambda _: None, 1)
        monkeypatch.setattr(Readers, "is_full", True)
        urgent = Reading(groups[3][0], decoded=True, urgent=True)
        readers.read(Reading(groups[1][0], decoded=True, urgent=False))
        readers.read(urgent)
        assert urgent._ended.wait(60)
        readers.close()


@pytest.mark.parametrize(("free", "at_once"), [(10**6, 1), (10**12, 4)])
def test_as_many_read_at_once_as_there_is_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, at_once: int
) -> None:
    monkeypatch.setattr(reading_module, "free_main_memory", lambda: free)
    decoding_by(monkeypatch, "slow", tmp_path)
    groups = folder_of(tmp_path, *(f"{number}.mp4" for number in range(4)))
    taken = read_all(groups, 4, Limits(memory_limit=10**10))  # of which each needs a tenth
    assert all(map(is_read, taken.values()))
    times = [path.name.split()[:2] for path in tmp_path.glob("* of *")]
    spans = [(float(begun), float(ended)) for begun, ended in times]
    assert len(spans) == 4
    most = max(sum(begun <= at < ended for begun, ended in spans) for at, _ in spans)
    assert (most == 1) == (at_once == 1)


def test_seconds_that_were_waited_for_memory_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(readers: Readers, one: Reading, decoder: object, needed: int) -> None:
        one.waited_s += 1000

    monkeypatch.setattr(Readers, "_wait_for_memory", wait)
    (one,) = read_all(folder_of(tmp_path, "a.mp4"), 1).values()
    assert is_read(one)
    assert one.seconds < -500


def test_seconds_that_were_waited_for_the_model_are_not_counted(tmp_path: Path) -> None:
    fit = Future[Fit]()
    (group,) = folder_of(tmp_path, "a.mp4")
    one = Reading(group[0], decoded=False, urgent=False)
    readers = Readers(Limits(), lambda _: None, lambda _: fit, lambda _: None, 1)
    readers.read(one)
    until(lambda: bool(one.plans))
    began = time.perf_counter()
    until(lambda: time.perf_counter() > began + 0.5)
    fit.set_result(lambda count, height, width: None)
    one.wait()
    assert one.waited_s > 0.4
    readers.close()


def test_one_video_at_a_time_is_read_in_windows(tmp_path: Path) -> None:
    (ask, *_), (other, *_) = folder_of(tmp_path, "a.mp4", "b.mp4")
    request = replace(ask.request, video_tokens=64)
    in_windows = Reading(replace(ask, request=request), decoded=True, urgent=False)
    whole = Reading(other, decoded=True, urgent=False)
    readers = Readers(Limits(), lambda _: None, lambda _: None, lambda _: None, 2)
    with readers._in_windows:
        readers.read(in_windows)
        readers.read(whole)
        whole.wait_end()
        assert not in_windows.plans
    in_windows.wait_end()
    assert is_read(whole)
    assert is_read(in_windows)
    readers.close()


def test_one_that_dies_while_it_waits_for_memory_is_read_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_by(monkeypatch, "decode", tmp_path)
    taken = read_all(folder_of(tmp_path, "asks.mp4", "good.mp4"), 2)
    assert "ends the process that decodes it (exit code 5)" in error_of(taken["asks.mp4"])
    assert is_read(taken["good.mp4"])


def test_decoders_are_as_many_as_there_are_cpus_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gigabyte = 1024**3
    for cpus, free, expected in (
        (4, None, 4),
        (64, 100 * gigabyte, 8),
        (64, gigabyte, 2),
        (64, 0, 1),
        (1, 100 * gigabyte, 1),
    ):
        monkeypatch.setattr(reading_module, "usable_cpus", lambda cpus=cpus: cpus)
        monkeypatch.setattr(reading_module, "free_main_memory", lambda free=free: free)
        assert reading_module.usual_decoders() == expected


def test_what_is_wrong_with_the_questions_is_raised() -> None:
    def broken() -> Iterator[Group]:
        yield settled_in(CLIPS)[0]
        raise KeyError("no question")

    with Engine(PLAN.request) as engine, pytest.raises(KeyError, match="no question"):
        list(engine.answers(broken()))


def test_leaving_early_leaves_no_process() -> None:
    with reading(groups_in(CLIPS), 2) as begun:
        first = next(iter(begun.values()))
        assert first._ended.wait(60)
        busy = [decoder for one in begun.values() for decoder in one.decoders]
        pids = [process.pid for decoder in busy if (process := decoder._process) is not None]
    until_gone(*pids, seconds=30)
