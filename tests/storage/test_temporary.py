"""Temporary files and folders: what was left of a killed process goes, all else stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dycoke_cli.errors import OutputError
from dycoke_cli.runs.journal import locked
from dycoke_cli.storage.cache_folder import CacheFiles
from dycoke_cli.storage.made_files import write_made
from dycoke_cli.storage.output_file import (
    check_writable,
    replace_content,
    temporary_file,
    temporary_folder,
)

FILE = "temporary_file(Path(sys.argv[1]), 0o666)"
FOLDER = "temporary_folder(Path(sys.argv[1]))"
USING = """
import sys, time
from pathlib import Path
from dycoke_cli.storage.output_file import temporary_file
from dycoke_cli.storage.output_file import temporary_folder
with {} as made:
    (made / "half" if made.is_dir() else made).write_text("half")
    print(flush=True)
    time.sleep(600)
"""


@contextmanager
def used(what: str, place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is at work on a file or a folder."""
    command = [sys.executable, "-c", USING.format(what), str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["a" * 250 + ".json", "語" * 83 + ".txt"])
def test_a_name_may_be_as_long_as_the_file_system_allows(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    with used(FILE, out) as process:
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 1
    with locked(out):
        replace_content(out, b"mine")
    assert names(tmp_path) == [name]
    assert out.read_bytes() == b"mine"


def test_a_file_that_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("before")
    with used(FILE, out) as process:
        (half,) = set(names(tmp_path)) - {"out.json"}
        replace_content(out, b"mine")
        assert names(tmp_path) == [half, "out.json"], "it is still being written"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "who looks whether it runs ends nobody"
    assert out.read_bytes() == b"mine"
    replace_content(tmp_path / "other.json", b"")
    assert half in names(tmp_path), "of another file"
    replace_content(out, b"again")
    assert names(tmp_path) == ["other.json", "out.json"]
    assert out.read_bytes() == b"again"


def test_a_folder_that_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    with used(FOLDER, tmp_path) as process:
        (left,) = names(tmp_path)
        assert (tmp_path / left).stat().st_mode & 0o777 == 0o700
        with temporary_folder(tmp_path) as mine:
            assert names(tmp_path) == sorted([left, mine.name]), "it is still used"
        assert names(tmp_path) == [left]
        process.send_signal(signal.SIGKILL)
    with temporary_folder(tmp_path) as mine:
        assert names(tmp_path) == [mine.name]


def test_what_another_user_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with used(FOLDER, tmp_path):
        pass
    (left,) = names(tmp_path)
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        with temporary_folder(tmp_path):
            assert left in names(tmp_path)
    (tmp_path / left).rename(tmp_path / "elsewhere")
    (tmp_path / left).symlink_to(tmp_path / "elsewhere")
    with temporary_folder(tmp_path):
        assert (names(tmp_path / "elsewhere"), left in names(tmp_path)) == (["half"], False)


def test_what_another_machine_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with used(FOLDER, tmp_path):
        pass
    (left,) = names(tmp_path)
    monkeypatch.setattr("dycoke_cli.storage.output_file._HOST", "zzzz")
    with temporary_folder(tmp_path):
        assert left in names(tmp_path)


def test_names_that_only_look_alike_stay(tmp_path: Path) -> None:
    own = [".out.json.part", ".out.json.12.part", "out.json.0123-1-abcdef.part", "dycoke-0-1"]
    for name in own:
        (tmp_path / name).write_text("mine")
    replace_content(tmp_path / "out.json", b"")
    with temporary_folder(tmp_path):
        pass
    assert names(tmp_path) == sorted([*own, "out.json"])
    assert not (tmp_path / "out.json").stat().st_mode & 0o111


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("before")
    with pytest.raises(ZeroDivisionError), temporary_file(out, 0o666) as made:
        made.write_text("half" * (1 // 0))
    assert (names(tmp_path), out.read_text()) == (["out.json"], "before")


@pytest.mark.parametrize("what", [FILE, FOLDER])
def test_a_cache_drops_what_was_left_in_it(what: str, tmp_path: Path) -> None:
    files = CacheFiles(tmp_path, ".safetensors", 100)
    with used(what, files.path("key") if what == FILE else tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 1
    files.trim()
    assert names(tmp_path) == []


def test_folders_are_made(tmp_path: Path) -> None:
    out = tmp_path / "new" / "below" / "out.txt"
    check_writable(out.parent, "choose another")
    assert write_made(out, b"mine", is_ours=lambda there: False)
    assert not write_made(out, b"other", is_ours=lambda there: False)
    assert out.read_bytes() == b"mine"
    with pytest.raises(OutputError, match=r"out.txt is a file, not a folder; choose another"):
        check_writable(out, "choose another")
