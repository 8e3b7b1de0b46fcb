"""A fingerprint that is kept stands for the content as long as the files are the same."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dycoke_cli.models.resolve import folder_fingerprint

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder; a minute has passed since it was written."""
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / WEIGHTS).write_bytes(b"1234")
    later(monkeypatch)
    return folder


def later(monkeypatch: pytest.MonkeyPatch, seconds: float = 60) -> None:
    now = time.time_ns() + round(seconds * 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: now)


def hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """The fingerprint, and how many files were read for it."""
    files: list[object] = []
    digest = hashlib.file_digest
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda f, name: files.append(f) or digest(f, name))
        return folder_fingerprint(folder), len(files)


def by_hand(folder: Path) -> str:
    parts = (
        f"{name} {hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n"
        for name in ("config.json", WEIGHTS)
    )
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def kept(folder: Path) -> list[Path]:
    return [*(folder.parent / "cache" / "fingerprints").glob("*")]


def test_unchanged_files_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hashed(folder, monkeypatch) == (by_hand(folder), 2)
    (folder / "README.md").write_text("words")
    assert hashed(folder, monkeypatch) == (by_hand(folder), 0)
    (file,) = kept(folder)
    assert file.stat().st_mode & 0o777 == 0o600


def in_place(file: Path) -> None:
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(b"1235")
    os.utime(file, ns=times)


def by_another(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"1235")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file has no time of its last change")
@pytest.mark.parametrize("change", [in_place, by_another])
def test_a_change_that_keeps_size_and_time_counts(
    change: Callable[[Path], None], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = hashed(folder, monkeypatch)
    status = (folder / WEIGHTS).stat()
    time.sleep(0.05)  # the clock of a file system has coarse steps
    change(folder / WEIGHTS)
    changed = (folder / WEIGHTS).stat()
    assert (changed.st_size, changed.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert hashed(folder, monkeypatch) == (by_hand(folder), 2)
    assert by_hand(folder) != before


def test_files_that_were_just_written_arent_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch, -60)
    (folder / WEIGHTS).touch()
    later(monkeypatch, 1)
    hashed(folder, monkeypatch)
    assert kept(folder) == []


def test_files_that_change_meanwhile_arent_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.file_digest
    with monkeypatch.context() as patch:
        patch.setattr(
            hashlib, "file_digest", lambda f, name: os.utime(f.name, (0, 0)) or digest(f, name)
        )
        folder_fingerprint(folder)
    assert kept(folder) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_text("0" * 63),
        lambda file: file.write_bytes(b"\xff" * 64),
        lambda file: file.chmod(0o622),
        lambda file: file.symlink_to(file.rename(file.with_name("elsewhere"))),
    ],
    ids=["cut off", "not a hash", "writable for others", "a link"],
)
def test_what_somebody_else_may_have_written_isnt_used(
    damage: Callable[[Path], object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed(folder, monkeypatch)
    (file,) = kept(folder)
    damage(file)
    assert hashed(folder, monkeypatch) == (by_hand(folder), 2)


def test_a_cache_that_cant_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "cache").write_text("a file")
    assert hashed(folder, monkeypatch) == (by_hand(folder), 2)
