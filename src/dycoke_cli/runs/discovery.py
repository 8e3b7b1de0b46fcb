"""Finds videos: in a folder, by a pattern, in a list of paths."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dycoke_cli.errors import UsageError
from dycoke_cli.runs.jobs import Video
from dycoke_cli.unicode import display_name

SUFFIXES = frozenset(
    (
        ".3gp", ".asf", ".avi", ".flv", ".gif", ".h264", ".hevc", ".m2ts",
        ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
        ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
    )
)  # fmt: skip
_DIGITS = re.compile(r"(\d+)")
_NAMED = 3


@dataclass(frozen=True)
class Found:
    """What was found.

    Args:
        videos: in the order in which a person would count them; those of a list in its order.
        notes: sentences about what was left out.
    """

    videos: list[Video]
    notes: tuple[str, ...] = ()


def find(where: str) -> Found:
    """Find the videos of a folder (and the folders in it), of a pattern, or of a list.

    Args:
        where: a folder, a pattern such as `clips/**/*.mp4`, a video, or a text file with a path a
            line, relative to its own folder.

    Raises:
        UsageError: there is nothing, or no video in it.
    """
    if os.path.isdir(where):
        return _sorted_out(_below(where), where, f"the folder {display_name(where)}")
    if os.path.exists(where):
        return _file(where)
    if glob.has_magic(where):
        paths = glob.glob(where, recursive=True)
        return _sorted_out(paths, _root_of(where), f"the pattern {display_name(where)}")
    raise UsageError(
        f"{display_name(where)} doesn't exist; give a folder, a pattern, or a list of videos"
    )


def listed(content: bytes, folder: str, name: str) -> list[Video]:
    """The videos of a list.

    Args:
        content: a path a line.
        folder: what they are relative to.
        name: what to call the list in errors.

    Raises:
        UsageError: it isn't a list, or an empty one.
    """
    if b"\0" in content:
        raise UsageError(f"{name} is neither a video nor a list of videos, a path a line")
    paths = [os.fsdecode(line.rstrip(b"\r")) for line in content.split(b"\n") if line.strip()]
    if not paths:
        raise UsageError(f"{name} lists no video; it needs a path a line")
    return once(named(path, folder) for path in paths)


def named(path: str, folder: str) -> Video:
    """A video by a path that is relative to a folder."""
    joined = os.path.join(folder, path)
    return Video(joined, path, _name(joined, folder))


def once(videos: Iterable[Video]) -> list[Video]:
    """Each video once, in their order."""
    by_name: dict[str, Video] = {}
    for video in videos:
        by_name.setdefault(video.name, video)
    return list(by_name.values())


def _file(where: str) -> Found:
    folder = os.path.dirname(where)
    if os.path.splitext(where)[1].lower() in SUFFIXES:
        return Found([Video(where, where, os.path.basename(where))])
    try:
        content = Path(where).read_bytes()
    except OSError as error:
        raise UsageError(f"{display_name(where)} can't be read ({error.strerror})") from error
    return Found(listed(content, folder, display_name(where)))


def _below(folder: str) -> list[str]:
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(place, name) for name in files]
    return found


def _sorted_out(paths: Sequence[str], root: str, what: str) -> Found:
    """The videos among files, and what is said of the others."""
    files = [path for path in paths if not os.path.isdir(path)]
    seen = [path for path in files if not os.path.basename(path).startswith(".")]
    videos = [path for path in seen if os.path.splitext(path)[1].lower() in SUFFIXES]
    if not videos:
        raise UsageError(f"there is no video in {what} ({', '.join(sorted(SUFFIXES))})")
    others = sorted(set(seen) - set(videos), key=_counted)
    notes = []
    if others:
        shown = ", ".join(display_name(os.path.basename(path)) for path in others[:_NAMED])
        more = ", …" if len(others) > _NAMED else ""
        notes.append(
            f"{_files(len(others))} in {what} left out, by the name no video: {shown}{more}"
        )
    if hidden := len(files) - len(seen):
        notes.append(f"{_files(hidden)} in {what} left out, hidden by the name")
    videos.sort(key=lambda path: _counted(_name(path, root)))
    return Found(once(Video(path, path, _name(path, root)) for path in videos), tuple(notes))


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _root_of(pattern: str) -> str:
    """The folder in which a pattern begins to be one."""
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder


def _name(path: str, root: str) -> str:
    return Path(os.path.relpath(path, root or os.curdir)).as_posix()


def _counted(name: str) -> list[tuple[int, int, str]]:
    """Sorts clip9 before clip10."""
    parts = _DIGITS.split(name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts]
