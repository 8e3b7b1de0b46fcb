"""Patterns match what `glob` matches, and end where it doesn't: in loops of links, and far down."""

from __future__ import annotations

import glob
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dycoke_cli.cli.flags.words import is_pattern
from dycoke_cli.evaluation.folder import Folder
from dycoke_cli.runs.discovery import find
from dycoke_cli.runs.file_walk import matches, walk
from dycoke_cli.storage.made_files import write_made
from dycoke_cli.video.pictures import pictures_of
from tests.runs.pretended import make_clips

DEEP = 1500
"""More folders in each other than Python's recursion has levels."""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_clips(tmp_path, "a.mp4", ".b.mp4", "c[1].mp4")
    make_clips(tmp_path / "x" / "y" / "x", "a.mp4", "d.txt")
    make_clips(tmp_path / "x" / ".git", "e.mp4")
    make_clips(tmp_path / "z", "a.mp4", "A.MP4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "z" / "gone.mp4").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        "*.mp4", "**", "**/*", "**/*.mp4", "**/x/**", "**/x/*", "x/**/a.mp4", "*/**/a.mp4",
        "**/**/x/**/*.txt", "./**/a.mp4", "**/.b*", "**/[ax]*", "x/y/x/none/**/*", "a**b", "**/y",
        "none/**/*.mp4", "**/c[[]1].mp4", "[xz]/**/*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("absolute", [False, True])
def test_as_glob(tree: Path, pattern: str, absolute: bool) -> None:
    if absolute:
        pattern = os.path.join(glob.escape(str(tree)), pattern)
    expected = {os.path.normpath(path) for path in glob.glob(pattern, recursive=True)}
    found = [os.path.normpath(path) for path in matches(pattern)]
    assert len(found) == len(set(found))
    assert set(found) - {"."} == expected - {"."}


def test_paths_are_as_the_pattern_has_them(tree: Path) -> None:
    assert sorted(matches("./x/**/a.mp4")) == ["./x/y/x/a.mp4"]
    assert sorted(matches("**/y")) == ["x/y"]


def test_what_a_command_wrote_is_not_found(tmp_path: Path) -> None:
    def found() -> Counter[str]:
        by_pattern = [*matches(str(tmp_path / "*.*")), *matches(str(tmp_path / "**/*.*"))]
        [(_, _, files)] = walk(str(tmp_path))
        pictures = pictures_of(str(tmp_path))
        assert pictures is not None
        return Counter(map(os.path.basename, (*files, *by_pattern, *pictures.paths)))

    (tmp_path / "1.png").touch()
    assert write_made(tmp_path / "2.png", b"content")
    assert found() == {"1.png": 4}
    (tmp_path / "2.png").write_text("edited")
    assert found() == {"1.png": 4, "2.png": 4}


@pytest.mark.parametrize("pattern", ["**/*.mp4", "**/none.mp4", "x/**/*.mp4"])
def test_links_that_lead_back_end(tree: Path, pattern: str) -> None:
    """Two of them are 2^40 paths to `glob`."""
    before = sorted(matches(pattern))
    for folder in (tree, tree / "x", tree / "z"):
        (folder / "back").symlink_to(tree)
        (folder / "here").symlink_to(folder)
    begun = time.process_time()
    assert sorted(matches(pattern)) == before
    assert is_pattern(pattern) == bool(before)
    assert time.process_time() - begun < 1
    assert sorted(name for _, _, files in walk(str(tree), links=True) for name in files) == [
        ".b.mp4", "A.MP4", "a.mp4", "a.mp4", "a.mp4", "c[1].mp4", "d.txt", "gone.mp4",
    ]  # fmt: skip


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A video so far down, by its path from the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = os.path.join(*["d"] * DEEP)
    os.mkdir("d")
    for _ in range(DEEP - 1):
        os.chdir("d")
        os.mkdir("d")
    os.chdir(tmp_path)
    Path(folder, "a.mp4").touch()
    yield f"{folder}/a.mp4"
    os.remove(f"{folder}/a.mp4")
    os.removedirs(folder)  # pytest's way of removing folders is recursive, too


@pytest.mark.extended
@pytest.mark.slow
def test_folders_far_down(deep: str, tmp_path: Path) -> None:
    assert [video.place for video in find(".").videos] == [deep]
    assert [video.place for video in find("**/*.mp4").videos] == [deep]
    assert Folder(tmp_path).video("a") == tmp_path / deep
