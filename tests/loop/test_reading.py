"""Videos are read ahead; one that brings down its decoder costs itself and nothing else."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dycoke_cli.runs.jobs import Job
from dycoke_cli.runs.read_ahead import DecodedJob, ReadAhead

from dycoke_cli import resources
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.runs import read_ahead
from dycoke_cli.video import Clip, Sampling, decoder, read
from dycoke_cli.video.limits import Limits
from tests.runs import decoders
from tests.runs.parts import CLIPS, jobs_in

TWO = Sampling(frames=2)


def take_all(ahead: ReadAhead, patience_s: float = 90.0) -> dict[str, DecodedJob]:
    """By the name of the video; each comes once."""
    taken: dict[str, DecodedJob] = {}
    deadline = time.monotonic() + patience_s
    while not ahead.ended:
        assert time.monotonic() < deadline
        found = ahead.take(0.2)
        if found is not None:
            assert found.job.video.name not in taken
            taken[found.job.video.name] = found
    return taken


def folder_of(folder: Path, *names: str) -> list[Job]:
    """Copies of a clip under these names."""
    for name in names:
        shutil.copy(CLIPS / "move.mp4", folder / name)
    return jobs_in(folder)


def decoding_by(monkeypatch: pytest.MonkeyPatch, name: str, notes: Path) -> None:
    """Decode by a function of `decoders`, which notes what it did in a folder."""
    monkeypatch.setattr(decoder, "PROCESS", f"{decoders.__name__}:{name}")
    monkeypatch.setenv("LC_NOTES", str(notes))


def error_of(read: DecodedJob) -> str:
    assert isinstance(read.clip, VideoError)
    return str(read.clip)


def test_frames_are_those_that_are_read_here() -> None:
    jobs = jobs_in(CLIPS)
    with ReadAhead(jobs, TWO, decoders=2) as ahead:
        taken = take_all(ahead)
    assert set(taken) == {job.video.name for job in jobs}
    for name, found in taken.items():
        here = read(CLIPS / name, TWO)
        assert isinstance(found.clip, Clip)
        np.testing.assert_array_equal(found.clip.frames, here.frames)
        assert found.clip.timestamps_s == here.timestamps_s
        assert found.seconds > 0


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    jobs = folder_of(tmp_path, "good.mp4")
    with ReadAhead(jobs, Sampling(frames=2, start_s=0.5)) as ahead:
        taken = take_all(ahead)
    assert isinstance(taken["good.mp4"].clip, Clip)
    assert "is a text file, not a video" in error_of(taken["text.mp4"])
    with ReadAhead(jobs, Sampling(frames=2, start_s=100.0)) as ahead:
        assert isinstance(take_all(ahead)["good.mp4"].clip, UsageError)


@pytest.mark.extended
@pytest.mark.slow
def test_a_video_that_crashes_its_decoder_costs_three_attempts_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_by(monkeypatch, "decode", tmp_path)
    names = ["crash.mp4", "exit.mp4", "good1.mp4", "good2.mp4", "good3.mp4", "once.mp4"]
    with ReadAhead(folder_of(tmp_path, *names), TWO, decoders=2) as ahead:
        taken = take_all(ahead)
    assert set(taken) == set(names)
    assert "ends the process that decodes it (signal 11), 3 times" in error_of(taken["crash.mp4"])
    assert "ends the process that decodes it (exit code 7)" in error_of(taken["exit.mp4"])
    for name in names[2:]:
        assert isinstance(taken[name].clip, Clip), name
    attempts = Counter(path.suffix[1:] for path in tmp_path.glob("[012].*"))
    assert attempts == {"crash": 3, "exit": 3, "good1": 1, "good2": 1, "good3": 1, "once": 2}


def test_a_video_that_hangs_its_decoder_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_by(monkeypatch, "decode", tmp_path)
    jobs = folder_of(tmp_path, "good1.mp4", "hang.mp4", "good2.mp4")
    # Long enough for a process to start on a machine that is busy.
    with ReadAhead(jobs, TWO, Limits(time_limit=20.0), decoders=1) as ahead:
        taken = take_all(ahead)
    assert "isn't decoded after 20 s" in error_of(taken["hang.mp4"])
    assert isinstance(taken["good1.mp4"].clip, Clip)
    assert isinstance(taken["good2.mp4"].clip, Clip)


def test_no_more_is_read_ahead_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "AHEAD_VIDEOS", 3)
    jobs = folder_of(tmp_path, *(f"{number}.mp4" for number in range(12)))
    drawn: list[Job] = []

    def noted() -> Iterator[Job]:
        for job in jobs:
            drawn.append(job)
            yield job

    with ReadAhead(noted(), TWO, decoders=2) as ahead:
        deadline = time.monotonic() + 60
        while len(ahead._read) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        assert len(drawn) <= 3 + 2
        assert len(take_all(ahead)) == 12


@pytest.mark.parametrize(("free", "at_once"), [(10**6, 1), (10**12, 4)])
def test_as_many_read_at_once_as_there_is_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, at_once: int
) -> None:
    monkeypatch.setattr(read_ahead, "free_main_memory", lambda: free)
    decoding_by(monkeypatch, "slow", tmp_path)
    jobs = folder_of(tmp_path, *(f"{number}.mp4" for number in range(6)))
    with ReadAhead(jobs, TWO, decoders=4) as ahead:
        taken = take_all(ahead)
    assert len(taken) == 6
    assert all(isinstance(found.clip, Clip) for found in taken.values())
    times = [path.name.split()[:2] for path in tmp_path.glob("* of *")]
    spans = [(float(begun), float(ended)) for begun, ended in times]
    assert len(spans) == 6
    most = max(sum(begun <= at < ended for begun, ended in spans) for at, _ in spans)
    assert (most == 1) == (at_once == 1)


@pytest.mark.extended
@pytest.mark.slow
def test_time_to_wait_for_memory_is_not_that_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of seven that are read one after the other, the last waits for longer than it may take."""
    monkeypatch.setattr(read_ahead, "free_main_memory", lambda: 10**6)
    decoding_by(monkeypatch, "slow", tmp_path)
    jobs = folder_of(tmp_path, *(f"{number}.mp4" for number in range(7)))
    patient = Limits(time_limit=5 * decoders.SLOW_S, memory_limit=10**10)
    with ReadAhead(jobs, TWO, patient, decoders=7) as ahead:
        taken = take_all(ahead)
    assert all(isinstance(found.clip, Clip) for found in taken.values())


def test_one_that_dies_while_it_waits_for_memory_is_read_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_by(monkeypatch, "decode", tmp_path)
    with ReadAhead(folder_of(tmp_path, "asks.mp4", "good.mp4"), TWO, decoders=2) as ahead:
        taken = take_all(ahead)
    assert "ends the process that decodes it (exit code 5)" in error_of(taken["asks.mp4"])
    assert isinstance(taken["good.mp4"].clip, Clip)


def test_decoders_are_as_many_as_there_are_cpus_and_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gigabyte = 1024**3
    for cpus, free, expected in (
        (4, None, 4),
        (64, 100 * gigabyte, 8),
        (64, gigabyte, 2),
        (64, 0, 1),
        (1, 100 * gigabyte, 1),
    ):
        monkeypatch.setattr(read_ahead, "usable_cpus", lambda cpus=cpus: cpus)
        monkeypatch.setattr(read_ahead, "free_main_memory", lambda free=free: free)
        assert read_ahead.usual_decoders() == expected


@pytest.mark.extended
@pytest.mark.slow
def test_tiny_files_with_huge_pictures_take_no_more_memory_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """273 bytes of GIF are pictures of 256 MB each; four aren't decoded at the same time."""
    screen = (7999).to_bytes(2, "little")
    frame = b"\x21\xf9\x04\0\x0a\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x4c\x01\0"
    gif = b"GIF89a" + 2 * screen + b"\x80\0\0" + b"\0\0\0\xff\xff\xff" + 6 * frame + b"\x3b"
    for number in range(4):
        (tmp_path / f"{number}.gif").write_bytes(gif)
    before = resources.free_main_memory()
    if before is None or before < 8 * 1024**3:
        pytest.skip("less than 8 GiB of memory are free on this machine")
    monkeypatch.setattr(read_ahead, "_decoding_budget", lambda: 0.0)
    peak = 0
    with ReadAhead(jobs_in(tmp_path), TWO, decoders=4) as ahead:
        for _ in range(4):
            while (found := ahead.take(0.05)) is None:
                pids = [one._process.pid for one in list(ahead._busy) if one._process]
                peak = max(peak, sum(map(resident_bytes, pids)))
            assert isinstance(found.clip, Clip), found.clip
    assert peak < 2 * 10**9


def resident_bytes(pid: int) -> int:
    """Memory that a process has; 0 where it has ended."""
    try:
        words = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_is_wrong_with_the_jobs_is_raised() -> None:
    def broken() -> Iterator[Job]:
        yield jobs_in(CLIPS)[0]
        raise KeyError("no job")

    with ReadAhead(broken(), TWO) as ahead, pytest.raises(KeyError, match="no job"):
        take_all(ahead)


def test_leaving_early_leaves_no_process() -> None:
    with ReadAhead(jobs_in(CLIPS), TWO, decoders=2) as ahead:
        assert ahead.take(60) is not None
        pids = [one._process.pid for one in ahead._busy if one._process]
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
