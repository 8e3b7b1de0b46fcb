"""A long video whose reading was interrupted is continued by the same command, and by a batch."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.engine import read_window, unfinished_video
from dycoke_cli.loop.engine import Engine
from dycoke_cli.storage.cache_folder import UNFINISHED, encoded_videos
from tests.cli.harness import PATIENCE_S, REAL, ROOT, run_here, run_process

pytestmark = pytest.mark.slow
MINUTE = ROOT / "sample_videos" / "minute.mp4"
QUESTION = "What happens?"
FLAGS = ("--fps", "4", "--max-tokens", "100", "--max-new-tokens", "6", "--device", "cpu")
SAME = ("answer", "tokens", "windows", "frames", "method", "decode", "flops", "finish_reason")
SENTENCE = "continues at 0:16 of 0:59.75, where an interrupted run ended"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))


def interrupt(monkeypatch: pytest.MonkeyPatch, video: Path) -> None:
    """Ctrl-C comes in the third window of `dycoke ask`."""
    windows, encode = [], read_window.encode_cached
    monkeypatch.setattr(unfinished_video, "SHARE", 0)

    def stopped(*given: Any, **options: Any) -> Any:
        windows.append(None)
        if len(windows) == 3:
            raise KeyboardInterrupt
        return encode(*given, **options)

    monkeypatch.setattr(read_window, "encode_cached", stopped)
    assert run_here("ask", video, QUESTION, *FLAGS).code == 130
    monkeypatch.setattr(read_window, "encode_cached", encode)
    [path] = encoded_videos().listed()
    assert path.name.startswith(UNFINISHED)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, MINUTE)


def undisturbed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    with monkeypatch.context() as patched:
        patched.setenv("DYCOKE_CACHE", str(tmp_path / "other"))
        run = run_here("ask", MINUTE, QUESTION, *FLAGS, "--json")
    assert "continues" not in run.err
    return run.object


@pytest.mark.usefixtures("interrupted")
def test_ask_continues_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = run_here("cache")
    assert "1 encoded video (1 of them in part)" in told.out
    run = run_here("ask", MINUTE, QUESTION, *FLAGS, "--json")
    assert SENTENCE in run.err
    expected = undisturbed(monkeypatch, tmp_path)
    assert {key: run.object[key] for key in SAME} == {key: expected[key] for key in SAME}
    assert encoded_videos().listed() == []


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.usefixtures("interrupted")
def test_so_does_a_batch_and_a_chat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    [path] = encoded_videos().listed()
    kept = path.read_bytes()
    run = run_here("batch", MINUTE, QUESTION, *FLAGS, "-q", "How many objects are there?")
    assert SENTENCE in run.err
    assert encoded_videos().listed() == []
    expected = undisturbed(monkeypatch, tmp_path)
    [first, _] = sorted(run.objects, key=lambda line: line["question"] != QUESTION)
    assert {key: first[key] for key in SAME} == {key: expected[key] for key in SAME}
    path.write_bytes(kept)
    chat = run_here("chat", MINUTE, *FLAGS, stdin=f"{QUESTION}\n".encode())
    assert SENTENCE in chat.err
    assert expected["answer"] in chat.out
    assert encoded_videos().listed() == []


@pytest.mark.usefixtures("interrupted")
def test_other_frames_begin_anew_and_clear_removes_what_is_left() -> None:
    run = run_here("ask", MINUTE, QUESTION, *FLAGS, "--end", "50")
    assert run.code == 0
    assert "continues" not in run.err
    assert len(encoded_videos().listed()) == 1
    assert "1 encoded video and" in run_here("cache", "clear").err
    assert encoded_videos().listed() == []


@pytest.mark.parametrize("when", ["after the interrupt", "while the model is loaded"])
def test_a_file_that_was_replaced_begins_anew(
    when: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also by one of the same length, and with the times that it says itself."""
    video, other = (Path(shutil.copy2(MINUTE, tmp_path / name)) for name in ("a.mp4", "b.mp4"))
    bind = Engine.bound

    def replaced(engine: Engine, *given: Any, **options: Any) -> Any:
        if other.exists():
            os.replace(other, video)
        return bind(engine, *given, **options)

    with monkeypatch.context() as patched:
        if when == "while the model is loaded":
            patched.setattr(Engine, "bound", replaced)
        interrupt(patched, video)
    if when == "after the interrupt":
        times = video.stat().st_atime_ns, video.stat().st_mtime_ns
        video.write_bytes(MINUTE.read_bytes())
        os.utime(video, ns=times)
    run = run_here("ask", video, QUESTION, *FLAGS)
    assert run.code == 0
    assert "continues" not in run.err


@pytest.mark.extended
def test_a_killed_process_is_continued_by_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = ("ask", str(MINUTE), QUESTION, *FLAGS, "--json")
    deadline = time.monotonic() + PATIENCE_S
    with subprocess.Popen([*REAL, *command], stdout=subprocess.PIPE, env=os.environ) as process:
        while not encoded_videos().listed():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -9
    [path] = encoded_videos().listed()
    run = run_process(REAL, *command)
    assert "continues at" in run.err
    expected = undisturbed(monkeypatch, tmp_path)
    assert {key: run.object[key] for key in SAME} == {key: expected[key] for key in SAME}
    assert not path.exists()
