"""Machines that fail: no room, no folder, no stream, another clock. One sentence, and nothing half.

Elsewhere: memory (test_main.py, tests/engine/memory), workers (tests/runs/test_lost_workers.py,
tests/runs/ray), journals (tests/runs/test_journal.py), two runs on one file (tests/runs,
tests/evaluation/test_answers.py), the hub (test_pull.py).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from dycoke_cli.errors import OutputError
from dycoke_cli.evaluation.run_record import RunRecord, write_record
from dycoke_cli.storage.made_files import write_made
from dycoke_cli.video import files
from tests.cli.harness import CLIP, FAKE, behind, run_here, run_process

ASK = ("ask", CLIP, "What?", "--frames", "2")
pytestmark = pytest.mark.usefixtures("fake", "engine")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Within the block, no file gets larger than so many bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def spooled(path: Path) -> None:
    with CLIP.open("rb") as video, files.spooled(video):
        raise AssertionError("it has no room")


WRITES: dict[str, Callable[[Path], object]] = {
    "picture": lambda path: write_made(path, b"x" * 999),
    "record": lambda path: write_record(
        path.parent, RunRecord((), (), (), 2, {"x": "x" * 999}, "accuracy", False)
    ),
    "video from stdin": spooled,
}


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_leaves_what_was_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / {"record": "run.jsonl"}.get(name, "settings.json")
    path.write_text('{"schema": "dycoke.run/1"}' if name == "record" else "{}")
    before = path.read_bytes()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with room_for(100), pytest.raises(OutputError) as error:
        WRITES[name](path)
    assert len(str(error.value).splitlines()) == 1
    assert [*folder.iterdir()] == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize("home", ["/dev/null", "/dev/null/none"])
def test_a_home_that_is_none(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but what is to be kept there goes on."""
    for name in ("DYCOKE_CACHE", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", home)
    assert run_here(*ASK).code == 0
    assert run_here("batch", CLIP, "What?").code == 0
    for command in (("models",), ("methods",), ("probe", CLIP)):
        assert run_here(*command).code == 0, command
    run = run_here(*ASK, "--cache")
    assert (run.code, run.out) == (6, "")
    assert "can't be written" in run.err.splitlines()[-1]


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/null/none"])
    run = run_here("ask", "-", "What?", stdin=CLIP.read_bytes())
    assert (run.code, run.out) == (6, "")
    assert "set TMPDIR to another folder" in run.err


PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.extended
@pytest.mark.parametrize("locale", [PLAIN, {"LC_ALL": "xx_YY.koi8"}], ids=["C", "unknown"])
def test_a_name_with_accents_in_another_locale(locale: dict[str, str], tmp_path: Path) -> None:
    path = shutil.copy(CLIP, tmp_path / "été ★.mp4")
    run = run_process(FAKE, "ask", path, "What?", "--json", **locale)
    assert run.code == 0
    assert json.loads(run.out)["answer"]


ENGINES = {"ask": FAKE, "batch": [sys.executable, "-m", "tests.runs.pretended"]}


CLOSED: dict[tuple[int, ...], int] = {(0,): 0, (2,): 0, (1,): 6, (0, 1, 2): 6}
# As of an interpreter that begins without them.
CLOSING = """
import os, sys
for number in {}:
    os.close(number)
    setattr(sys, ("stdin", "stdout", "stderr")[number], None)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("command", "closed"), [*product(ENGINES, CLOSED)])
def test_streams_that_are_closed(command: str, closed: tuple[int, ...], tmp_path: Path) -> None:
    closing = behind(CLOSING.format(closed), ENGINES[command])
    run = run_process(closing, command, CLIP, "What?", TMPDIR=str(tmp_path))
    assert run.code == CLOSED[closed]
    assert "Traceback" not in run.err
    assert run.out.endswith("\n") == (run.code == 0)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("dycoke-")]


def test_a_video_from_a_stdin_that_is_closed() -> None:
    run = run_process(behind(CLOSING.format((0,)), FAKE), "ask", "-", "What?")
    assert run.refusal.endswith("stdin is closed; name a video file, or pipe one in")
