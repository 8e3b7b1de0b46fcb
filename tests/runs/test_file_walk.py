"""Videos of folders and patterns: which are found, and in which order."""

from __future__ import annotations

import glob
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dycoke_cli.cli.flags.arguments import is_pattern
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.folder import Folder
from dycoke_cli.runs.discovery import find, find_several
from dycoke_cli.runs.file_walk import matches, walk
from dycoke_cli.storage.made_files import write_made
from dycoke_cli.video.pictures import pictures_of
from tests.runs.pretended import make_clips


def names(where: Path | str) -> list[str]:
    return [video.place for video in find(str(where)).videos]


def test_a_folder_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    make_clips(tmp_path, "clip10.mp4", "clip9.MP4", "Clip1.webm", "2.mkv", "²3.mov")
    make_clips(tmp_path / "more", "clip1.mp4")
    assert names(tmp_path) == [
        "2.mkv", "Clip1.webm", "clip9.MP4", "clip10.mp4", "more/clip1.mp4", "²3.mov",
    ]  # fmt: skip
    assert find(str(tmp_path)).videos[0].path == str(tmp_path / "2.mkv")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    make_clips(tmp_path, "a.mp4", ".b.mp4", "c.txt", "d\x1b[2J", "e.jpg", "f.jpg", "10.md", "9.md")
    make_clips(tmp_path / ".git", "g.mp4")
    found = find(str(tmp_path))
    assert [video.place for video in found.videos] == ["a.mp4"]
    others, hidden = found.notes
    assert others == ("Skipped 6 files without a video extension: 9.md, 10.md, c.txt, …")
    assert hidden == "Skipped 1 hidden file"


def test_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clips(tmp_path / "a", "1.mp4", "2.webm", "3.txt")
    make_clips(tmp_path / "b" / "c", "1.mp4")
    monkeypatch.chdir(tmp_path)
    assert names("a/*.mp4") == ["1.mp4"]
    assert names("**/*.mp4") == ["a/1.mp4", "b/c/1.mp4"]
    assert names(f"{tmp_path}/[ab]/*") == ["a/1.mp4", "a/2.webm"]
    found = find("a/*")
    assert [video.name for video in found.videos] == ["a/1.mp4", "a/2.webm"]
    assert found.notes == ("Skipped 1 file without a video extension: 3.txt",)


def test_a_place_without_a_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.mp4").touch()
    places = [str(tmp_path / name) for name in ("a.mp4", "empty", "b*.mp4")]
    found = find_several(places)
    assert [video.place for video in found.videos] == ["a.mp4"]
    assert found.notes == tuple(f"No video is in {place}, or matches it" for place in places[1:])
    with pytest.raises(UsageError, match=r"^What happens\? doesn't exist"):
        find_several([*places, "What happens?"])  # a pattern by its "?"


def test_a_list_is_relative_to_its_folder_and_keeps_its_order(tmp_path: Path) -> None:
    folder = make_clips(tmp_path / "x", "b.mp4", "a.dat")
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"x/b.mp4\r\n\nx\\a.dat\n./x/b.mp4\nx/a.dat\nx/not there.mp4\ncaf\xe9.mp4")
    found = find(str(listed))
    assert [video.name for video in found.videos[:3]] == ["x/b.mp4", r"x\a.dat", "x/not there.mp4"]
    assert found.videos[1].path == str(folder / "a.dat")
    assert os.fsencode(found.videos[3].place) == b"caf\xe9.mp4"


def test_a_file_that_is_named_is_looked_into(tmp_path: Path) -> None:
    """In a folder the name decides; a file that is named may have any."""
    make_clips(tmp_path, "a.mp4", "notes.txt", "b.jpg")
    (tmp_path / "clip.000").write_bytes(b"\0\0\0\x20ftypisom")
    assert names(tmp_path / "clip.000") == ["clip.000"]
    assert names(tmp_path / "b.jpg") == ["b.jpg"]
    assert names(tmp_path) == names(f"{tmp_path}/*") == ["a.mp4"]
    found = find_several([str(path) for path in sorted(tmp_path.iterdir())])
    assert [Path(video.path).name for video in found.videos] == ["a.mp4"]
    assert found.notes == ("Skipped 3 files without a video extension: b.jpg, clip.000, notes.txt",)


@pytest.mark.parametrize(
    "name",
    [
        "a.dav", "GX010001.LRV", "VID_0001.insv", "GS010001.360",
        "MOV001.MOD", "a.f4v", "a.ivf", "a.nut", "a.divx", "a.m2t",
    ],
)  # fmt: skip
def test_a_video_of_a_camera_is_found_in_a_folder(tmp_path: Path, name: str) -> None:
    make_clips(tmp_path, name)
    assert names(tmp_path) == [name]


def test_a_folder_of_photos_of_a_phone_is_a_video(tmp_path: Path) -> None:
    make_clips(tmp_path / "photos", "1.HEIC", "2.HEIC")
    assert names(tmp_path) == ["photos"]


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("none", r"none doesn't exist; give a folder, a pattern, or a list of videos"),
        ("empty", r"there is no video in the folder .*empty: no file has the suffix of one"),
        ("*.avi", r"there is no video in the pattern .*\*\.avi"),
        ("blank.txt", r"blank.txt lists no video; it needs one path per line"),
        ("not\x1b2J", r"not\\x1b2J doesn't exist"),
    ],
)
def test_nothing_to_find(tmp_path: Path, where: str, sentence: str) -> None:
    make_clips(tmp_path / "empty", "a.txt")
    (tmp_path / "blank.txt").write_text(" \n\n")
    with pytest.raises(UsageError, match=sentence):
        find(str(tmp_path / where))


def test_an_address() -> None:
    with pytest.raises(
        UsageError, match=r"https://a/b\.mp4 is an address, not a file: download it"
    ):
        find("https://a/b.mp4")


DEEP = sys.getrecursionlimit() + 10
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


@pytest.mark.slow
def test_folders_far_down(deep: str, tmp_path: Path) -> None:
    assert [video.place for video in find(".").videos] == [deep]
    assert [video.place for video in find("**/*.mp4").videos] == [deep]
    assert Folder(tmp_path).video("a") == tmp_path / deep
