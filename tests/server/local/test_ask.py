"""A running server answers `dycoke ask`: the words, objects, sentences and codes of the command."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.server.local import local_server
from tests.cli.fake_engine import PATIENCE_S
from tests.cli.harness import CLIP, REAL, ROOT, Outcome, run_here
from tests.server.local.conftest import Served


def ask(*arguments: str | Path, question: str = "What?") -> Outcome:
    return run_here("ask", CLIP, question, "--frames", "2", *arguments)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "seconds"}
    return [*map(without_times, value)] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "flags",
    [
        ("-q", "Why?", "--follow-up"),
        ("--compare", "--method", "dycoke:merge_ratio=0.5,window=2"),
        ("--stats", "--max-tokens", "2"),
        ("--end", "1", "--fps", "4"),
        ("--start", "99"),
        ("--memory-limit", "1MB"),
        ("--prune-layer", "77"),
        ("--every", "2s"),
    ],
    ids=" ".join,
)
def test_words_objects_and_codes_are_those_of_the_command(
    local: Served, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local.pretended, "warning", "there is little memory")
    monkeypatch.setenv("COLUMNS", "200")  # a time of more digits would break lines elsewhere
    served = ask(*flags)
    assert local.has_answered()
    alone = ask(*flags, "--no-server")
    assert (served.code, served.out) == (alone.code, alone.out)
    # The longest time makes the width of a column.
    lines = [
        [re.sub(r"[─━\s]+|[\d.]+ m?s\b", " ", x) for x in run.err.splitlines()]
        for run in (served, alone)
    ]
    assert lines[0] == lines[1]
    objects = [
        without_times(ask(*flags, "--json", *more).objects) for more in ((), ("--no-server",))
    ]
    assert objects[0] == objects[1]


def test_the_command_reads_no_video(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("the server reads the video")

    monkeypatch.setattr("dycoke_cli.loop.local_engine.Engine.prepare", unwanted)
    assert ask().code == 0
    assert ask("--no-server").code == 1


def test_names_of_files_are_shown_as_they_were_given(
    local: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.mp4").write_bytes(CLIP.read_bytes())
    assert run_here("ask", "here.mp4", "What?", "--json").object["video"] == "here.mp4"
    run = run_here("ask", "nofile.mp4", "What?")
    assert (run.code, run.err.splitlines()[-1]) == (
        3,
        "Error: nofile.mp4 doesn't exist: check the spelling and the folder",
    )
    run = run_here("ask", "here.mp4", "What?", "--subtitles", "no.srt")
    assert str(tmp_path) not in run.err
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"nothing")
    (folder / "b.txt").touch()
    for source in (("pictures",), ("pictures/a.png", "pictures/a.png")):
        run = run_here("ask", *source, "What?")
        assert "pictures/a.png" in run.err
        assert str(tmp_path) not in run.err
    assert local.has_answered()


@pytest.mark.parametrize(
    "arguments",
    [
        ("https://host.example/a/clip.mp4",),
        ("file:///tmp/clip.mp4",),
        ("rtsp://camera:554/1",),
        ("s3://bucket/clip.mp4",),
        (str(CLIP), "--subtitles", "https://host.example/a.srt"),
    ],
    ids=" ".join,
)
def test_an_address_is_no_path(local: Served, arguments: tuple[str, ...]) -> None:
    """The sentence is that of the command without a server: nothing is made a path of it."""
    video, *more = arguments
    served = run_here("ask", video, "What?", *more)
    alone = run_here("ask", video, "What?", *more, "--no-server")
    assert (served.code, served.err) == (alone.code, alone.err)
    assert "is an address" in served.err or "is a stream" in served.err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--dtype", "float32"), "it has loaded mini with other flags"),
        (("--model", "llava-onevision-0.5b", "--random-weights"), "it has the model mini"),
    ],
)
def test_what_cannot_be_served_says_so_once_and_runs_in_the_command(
    local: Served, flags: tuple[str, ...], reason: str
) -> None:
    run = ask("-q", "Why?", *flags)
    assert run.code == 0, run.err
    assert run.err.count(f"Asking without your server: {reason}") == 1
    assert not local.has_answered()
    assert "Asking" not in ask(*flags, "--quiet").err


def test_another_version(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_server, "running_code", lambda: "0.0.1 /elsewhere ")
    run = ask()
    assert run.code == 0
    assert "it runs another version of dycoke" in run.err
    assert not local.has_answered()


def test_a_file_whose_name_is_no_unicode(local: Served, tmp_path: Path) -> None:
    named = tmp_path / "\udcff.mp4"
    named.write_bytes(CLIP.read_bytes())
    run = run_here("ask", named, "What?", "--json", "--quiet")
    assert local.has_answered()
    assert (run.code, run.err) == (0, "")
    assert (
        run.object["video"]
        == run_here("ask", named, "What?", "--json", "--no-server").object["video"]
    )


def test_an_overwritten_file_is_another_video(local: Served, tmp_path: Path) -> None:
    """Also one of a folder, and one with subtitles: what the server has in memory is old then."""
    clip, lines, folder = tmp_path / "a.mp4", tmp_path / "a.srt", tmp_path / "pictures"
    folder.mkdir()
    picture = folder / "1.png"

    def frames(*arguments: str | Path) -> Any:
        run = run_here("ask", *arguments, "What?", "--json")
        assert run.code == 0, run.err
        return run.object

    def put(name: str, text: str) -> None:
        clip.write_bytes((ROOT / "sample_videos" / name).read_bytes())
        lines.write_text(f"1\n00:00:00,000 --> 00:00:09,000\n{text}\n")

    from PIL import Image

    Image.new("RGB", (8, 8)).save(picture)
    for name, text in (("move.mp4", "One."), ("minute.mp4", "Two.")):
        put(name, text)
        served = frames(clip), frames(clip, "--subtitles", lines), frames(folder)
        Image.new("RGB", (8, 8), "red").save(picture)
        alone = [frames(clip, "--no-server"), frames(clip, "--subtitles", lines, "--no-server")]
        assert [one["frames"] for one in served[:2]] == [one["frames"] for one in alone]
    read = local.service.metrics.text()
    assert "videos_reused_total" not in read or "videos_reused_total 0" in read


def answered_for_minutes(local: Served) -> subprocess.Popen[bytes]:
    """A command whose answer has begun."""
    local.pretended.pause_s = 0.1
    question = " ".join(["word"] * 2000)
    command = [*REAL, "ask", str(CLIP), question, "--frames", "2", "--max-tokens", "2000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(4) == b"word"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_ends_the_command_and_its_question(local: Served, sent: signal.Signals) -> None:
    process = answered_for_minutes(local)
    process.send_signal(sent)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + sent
    local.wait_until_idle()  # the answer would have taken minutes


@pytest.mark.slow
def test_a_closed_pipe_ends_the_command(local: Served) -> None:
    """Words are written where the command waits: what goes wrong there ends it."""
    process = answered_for_minutes(local)
    process.stdout.close()
    began = time.monotonic()
    process.wait(PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S
    local.wait_until_idle()
