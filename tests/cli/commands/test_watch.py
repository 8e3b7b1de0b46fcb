"""`dycoke watch`: pipes, growing files and folders, with the engine that only pretends."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from dycoke_cli.runs import watching
from dycoke_cli.runs.discovery import find
from dycoke_cli.runs.file_walk import FileState
from dycoke_cli.video.live_stream import LiveStream
from tests import warm
from tests.cli.fake_engine import Fake, faking
from tests.cli.harness import CLIP, FAKE, ROOT, Outcome, run_here, run_in_terminal
from tests.documents import valid
from tests.video.live_sources import growing, piped, recorded, up_to
from tests.waiting import until

WINDOWS = ("--every", "3s", "--frames", "3")
CAMERA = Path(__file__).parents[2] / "video" / "camera.py"


def windows_of(run: Outcome) -> list[tuple[float, float, list[float]]]:
    return [(one["start"], one["end"], one["frames"]["timestamps_s"]) for one in run.objects]


def during_asks(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], object]) -> None:
    """Call `before` with the number of each question that is asked."""
    ask = Fake.ask_together
    number = count()

    def noted(fake: Fake, *given: Any) -> Any:
        before(next(number))
        fake.clear()
        return ask(fake, *given)

    monkeypatch.setattr(Fake, "ask_together", noted)


def after_looks(monkeypatch: pytest.MonkeyPatch, then: dict[int, Callable[[], object]]) -> None:
    """Call functions after so many looks into a folder."""
    look, number = watching._clips, count(1)

    def noted(folder: str) -> list[FileState]:
        found = look(folder)
        then.get(next(number), lambda: None)()
        return found

    monkeypatch.setattr(watching, "_clips", noted)
    monkeypatch.setattr(watching, "LOOK_S", 0.02)
    monkeypatch.setattr(watching, "QUIET_S", 0.02)


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
def test_a_growing_file_has_the_windows_of_the_finished_one(
    fake: Fake, tmp_path: Path, suffix: str
) -> None:
    recording = recorded(tmp_path, suffix)
    path = tmp_path / f"growing{suffix}"
    expected = windows_of(run_here("ask", recording, "What?", *WINDOWS, "--json"))
    with growing(recording, path):
        run = run_here("watch", path, "What?", *WINDOWS, "--timeout", "1", "--json")
    assert (run.code, len(expected)) == (0, 4), run.err
    assert "hasn't grown for 1 s (--timeout)" in run.err
    found = windows_of(run)
    for one in run.objects:
        valid(one, "answer", "answer")
    # Only the last is shorter than anybody could know before: its frames are those of a whole one.
    assert found[:3] == expected[:3]
    assert found[3][:2] == pytest.approx(expected[3][:2])
    assert run.objects[0]["video"] == str(path)


def test_what_a_file_has_when_the_watch_begins_is_asked_about_whole(
    fake: Fake, tmp_path: Path
) -> None:
    fake.pause_s = 0.02
    run = run_here("watch", recorded(tmp_path), "What?", *WINDOWS, "--timeout", "0.5")
    assert [line[:9] for line in run.out.splitlines()] == [
        "0:00-0:03", "0:03-0:06", "0:06-0:09", "0:09-0:10",
    ]  # fmt: skip


def test_the_newest_window_where_asking_is_slow(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = recorded(tmp_path)
    content, first = recording.read_bytes(), up_to(recording, 4.5)
    asking, sent = threading.Event(), threading.Event()

    def send(write: Callable[[bytes], object]) -> None:
        write(content[:first])
        asking.wait(20)
        write(content[first:])
        sent.set()

    streams: list[LiveStream] = []
    monkeypatch.setattr(LiveStream, "__enter__", lambda self: (streams.append(self), self)[1])

    def slow(number: int) -> None:
        asking.set()
        until(lambda: number or streams[0].dropped >= 2, 20)

    during_asks(monkeypatch, slow)
    with piped(send) as pipe:
        run = run_here("watch", "-", "What?", *WINDOWS, "--json", stdin=pipe)
    assert run.code == 0, run.err
    assert [(one["start"], one["dropped"]) for one in run.objects] == [(0, 0), (9, 2)]
    assert run.err.count("Asking takes longer than a window lasts") == 1


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
def test_a_stream_on_stdin(fake: Fake, tmp_path: Path, suffix: str) -> None:
    content = recorded(tmp_path, suffix).read_bytes()
    with piped(lambda write: write(content)) as pipe:
        run = run_here("watch", "-", "What?", "Where?", *WINDOWS, "--json", stdin=pipe)
    assert run.code == 0, run.err
    assert "the video on stdin has ended\n" in run.err
    for one in run.objects:
        valid(one, "answer", "answer")
    assert {one["video"] for one in run.objects} == {"-"}
    assert len(run.objects) + sum(one["dropped"] for one in run.objects) == 4
    assert (run.objects[-1]["start"], run.objects[-1]["end"]) == (9, 10)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--until", "yes")])
def test_answers_come_before_a_pipe_ends(flags: tuple[str, ...]) -> None:
    """The page's pipe; its other end films until it is stopped, or until nobody reads it."""
    watching = ["watch", "-", "Is a person there?", "--every", "1s", "--frames", "2", *flags]
    with (
        subprocess.Popen([sys.executable, CAMERA], stdout=subprocess.PIPE) as camera,
        warm.Popen(
            [*faking(answer="yes"), *watching, "--json"],
            stdin=camera.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as watch,
    ):  # fmt: skip
        camera.stdout.close()  # `watch` alone has it
        lines = [json.loads(watch.stdout.readline())]
        if not flags:
            lines.append(json.loads(watch.stdout.readline()))
            assert camera.poll() is None
            camera.terminate()
        _, err = watch.communicate(timeout=30)
        camera.wait(30)
    assert watch.returncode == 0, err
    assert [one["start"] for one in lines] == sorted({one["start"] for one in lines})
    assert (b"the video on stdin has ended" in err) is not bool(flags)


def test_a_pipe_that_stalls(fake: Fake, tmp_path: Path) -> None:
    content = recorded(tmp_path).read_bytes()
    end = threading.Event()

    def send(write: Callable[[bytes], object]) -> None:
        write(content[: len(content) // 2])
        end.wait(20)

    with piped(send) as pipe:
        flags = ("--timeout", "1", "--json")
        run = run_here("watch", "-", "What?", *WINDOWS, *flags, stdin=pipe)
        end.set()
    *answers, failure = run.objects
    assert (run.code, bool(answers)) == (3, True)
    assert failure["error"]["message"] == "the video on stdin has sent nothing for 1 s (--timeout)"
    assert failure["question"] == "What?"
    valid(failure, "answer", "error")


def test_what_can_be_no_stream_on_stdin(fake: Fake) -> None:
    for content in (b"", b"no video" * 1000):
        with piped(lambda write, content=content: write(content)) as pipe:
            run = run_here("watch", "-", "What?", stdin=pipe)
        assert (run.code, run.out) == (3, "")
        assert "the video on stdin can't be read while it comes, or is empty: " in run.err
    code, _, err = run_in_terminal(FAKE, "watch", "-", "What?", streams="out", environment={})
    assert (code, b"stdin, and that is a terminal" in err) == (2, True)
    assert run_here("watch", "-", "-q", "-").code == 2


def test_clips_of_a_folder(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(CLIP, folder / "before.mp4")
    (folder / "notes.txt").write_text("no clip")

    new = folder / "2026-11-29" / "new.mp4"
    new.parent.mkdir()
    # Its writer pauses for too long: asked about once it is whole.
    fill = {1: lambda: new.write_bytes(CLIP.read_bytes()[:1000]), 6: lambda: shutil.copy(CLIP, new)}
    after_looks(monkeypatch, fill)
    flags = ("--every", "2", "--frames", "2", "--timeout", "2", "--json")
    run = run_here("watch", folder, "What?", *flags)
    assert run.code == 0, run.err
    failure, *answers = run.objects
    assert failure["video"] == str(new)
    assert failure["error"]["code"] == "video_unreadable"
    found = [(one["video"], one["start"], one["end"]) for one in answers]
    assert found == [(str(new), 0, 2), (str(new), 2, 4)]
    assert f"{folder} has had no new clip for 2 s (--timeout)\n" in run.err


def test_clips_wait_and_are_asked_about_in_order(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are complete first come first, whatever their names; lines have these."""
    names = iter([["c.mp4", "b.mp4"], ["a.mp4"], [], []])

    def come(number: int) -> None:
        for name in next(names):
            shutil.copy(CLIP, tmp_path / name)
        time.sleep(0.1)

    after_looks(monkeypatch, {1: lambda: come(0)})
    during_asks(monkeypatch, come)
    run = run_here("watch", tmp_path, "What?", "--every", "9", "--timeout", "0.5")
    shown = [line.partition("  0:00-")[0] for line in run.out.splitlines()]
    assert shown == [str(tmp_path / name) for name in ("c.mp4", "b.mp4", "a.mp4")]
    assert run.err.count("Clips wait: all are asked about") == 1


def test_until_ends_the_watch(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["no", "no", "Yes.", "no"]
    during_asks(monkeypatch, lambda number: setattr(fake, "answer", answers[number]))
    run = run_here("watch", recorded(tmp_path), "What?", *WINDOWS, "--until", "yes", "--quiet")
    assert (run.code, run.err) == (0, "")
    assert run.out.splitlines() == ["0:00-0:03  no", "0:03-0:06  no", "0:06-0:09  Yes."]


def test_what_the_page_tells_to_type_works(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "long-video.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (ffmpeg .* \| )?dycoke (watch .*)$", page, re.MULTILINE)
    assert len(commands) == 4
    monkeypatch.chdir(tmp_path)
    fake.answer = "yes"
    content = recorded(tmp_path).rename("recording.ts").read_bytes()
    clips = tmp_path / "clips"
    clips.mkdir()
    after_looks(monkeypatch, {1: lambda: shutil.copy(CLIP, clips / "new.mp4")})
    for camera, command in commands:
        with piped(lambda write: write(content)) as pipe:
            words = shlex.split(command.partition(" | jq ")[0])
            assert ("-" in words) is (camera == "ffmpeg -i rtsp://CAMERA -c copy -f mpegts - | ")
            run = run_here(*words, "--timeout", "2", stdin=pipe)
            assert run.code == 0, run.err
            assert "yes" in run.out


WRONG = [
    (["none.ts"], 3, "none.ts doesn't exist"),
    (["rtsp://me:secret@camera/1"], 2, "from a pipe: `ffmpeg -i rtsp://CAMERA -c copy -f mpegts"),
    (["/dev/null"], 2, '- | dycoke watch - "QUESTION" --json`'),
    ([CLIP, "--every", "0"], 2, "--every must be longer than 0 s"),
    ([CLIP, "--timeout", "0"], 2, "--timeout must be longer than 0 s"),
    ([CLIP, "--until", "maybe", "--yes-no"], 2, "--until 'maybe' is none of the options"),
    ([__file__, "--timeout", "0.5"], 3, "can't be read while it comes, or is empty: write MPEG-TS"),
    # Its index comes last.
    ([CLIP.with_name("minute.mp4"), "--timeout", "0.5"], 3, "can't be read while it comes"),
    # Even where 32 frames are the default.
    (["-", "--frames", "32", "--fps", "1"], 2, "--frames and --fps exclude each other"),
]


@pytest.mark.parametrize(("arguments", "code", "sentence"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_one_sentence(
    fake: Fake, arguments: list[str | Path], code: int, sentence: str
) -> None:
    source, *flags = arguments
    run = run_here("watch", source, "What?", *flags)
    assert (run.code, run.out) == (code, "")
    [line] = [line for line in run.err.splitlines() if line.startswith("Error")]
    assert sentence in line
    assert "secret" not in run.err


def write_large(path: Path, frames: int) -> Path:
    """A recording at 25 frames a second, of which a frame takes 230 kB."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        frame = av.VideoFrame(320, 240, "yuv420p")
        for number in range(frames):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.extended
def test_memory_of_two_hundred_windows(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_large(tmp_path / "long.ts", 4 * 200)
    streams: list[LiveStream] = []
    monkeypatch.setattr(LiveStream, "__enter__", lambda self: (streams.append(self), self)[1])
    sizes: list[tuple[int, int]] = []

    def resident(pid: int | str) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def measure(number: int) -> None:
        clip: Any = streams[-1]._clip
        streams[:] = streams[-1:]
        sizes.append((resident("self"), resident(clip._process.pid)))

    during_asks(monkeypatch, measure)
    run = run_here("watch", path, "What?", "--every", "0.16", "--frames", "4", "--timeout", "0.3")
    assert (run.code, len(sizes)) == (0, 200), run.err
    for early, late in zip(sizes[50], sizes[-1], strict=True):
        assert late < 1.05 * early


def test_what_is_complete_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()  # a second passes with each look
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    (tmp_path / "recording.mp4").write_bytes(b"x")
    arrivals = watching._Arrivals(str(tmp_path))

    def seen(looks: int) -> list[str]:
        for _ in range(looks):
            arrivals.look()
        names = [os.path.relpath(path, tmp_path) for _, path, _ in arrivals.waiting]
        assert {video.place for video in find(str(tmp_path)).videos} >= {*names}
        return names

    def write(name: str, content: bytes = b"x", mode: str = "ab") -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with path.open(mode) as file:
            file.write(content)
        os.utime(path, ns=(0, next(changes)))

    changes = count()
    for name in (".~new.mp4", "._new.mp4", ".git/a.mp4", "b.mp4.part", "c.crdownload", "d.mp4.tmp"):
        write(name)
    write("new.mp4")
    assert (seen(20), arrivals.coming) == ([], True)
    write("new.mp4")  # another burst, after a pause of 19 s
    assert (seen(20), arrivals.coming) == ([], True)
    assert (seen(1), arrivals.coming) == (["new.mp4"], False)
    write("new.mp4")  # while it waits
    assert seen(1) == []
    assert seen(21) == ["new.mp4"]
    arrivals.waiting.clear()
    write("new.mp4", b"yyy", "wb")  # another clip of its name, as long
    write("recording.mp4")  # was there when the watch began
    write("2026-11-29/08.mp4")
    assert seen(21) == ["new.mp4", "recording.mp4", "2026-11-29/08.mp4"]
    (tmp_path / "new.mp4").unlink()
    assert seen(1) == ["recording.mp4", "2026-11-29/08.mp4"]
