"""Finds videos: in a folder, by a glob pattern, or in a list of paths."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest

from dycoke_cli.ask import Footage
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.file_walk import files_in, matches
from dycoke_cli.storage.input_file import first_bytes, naming, read_file
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import advice_on_address, is_picture, is_video
from dycoke_cli.video.pictures import in_order, pictures_of

_NAMED = 3
_SHOWN = 60  # characters of a line
_HEAD_BYTES = 1024


@dataclass(frozen=True)
class VideoList:
    """Videos of a run."""

    # in natural order ("clip2" before "clip10"); those of a list in its order
    videos: list[Footage]
    notes: tuple[str, ...] = ()  # sentences about skipped files


def find(where: str, *, stills: bool = False) -> VideoList:
    """Find the videos of a folder (and the folders in it), of a pattern, or of a list.

    A folder without videos may have folders of pictures, or be one: each of those is a video.

    Args:
        where: a folder, a pattern such as `clips/**/*.mp4`, a video, or a text file with one
            path per line, relative to its own folder.
        stills: whether each picture is a video of its own.
    """
    if os.path.isfile(where) and not (is_video(where) or is_picture(where)):
        name = display_name(where)
        if b"\0" not in first_bytes(where, _HEAD_BYTES):  # text, as a list of videos is
            with naming(name):
                content = read_file(where)
            return VideoList(listed(content, os.path.dirname(where), name))
    found = _found(where, stills)
    if not found.videos:
        kind = "folder" if os.path.isdir(where) else "pattern"
        raise UsageError(
            f"there is no video in the {kind} {display_name(where)}: no file has the suffix of "
            "one (.mp4, .mkv, …); name the file itself if it has another suffix"
        )
    return found


def find_several(places: Sequence[str], *, stills: bool = False) -> VideoList:
    """Find the videos of several places, such as a shell makes of a pattern.

    A video has the name that it would have if its place were the only one; two that would have the
    same are named by their paths.
    """
    files = [place for place in places if os.path.isfile(place) and not is_video(place)]
    others = [one for one in files if not (stills and is_picture(one))]
    by_place = {place: _found(place, stills) for place in places if place not in others}
    found = by_place.values()
    videos = [video for each in found for video in each.videos]
    if not videos:
        raise UsageError(
            f"there is no video among these {_files(len(places))}: name videos, or folders of them"
        )
    paths: dict[str, set[str]] = {}
    for video in videos:
        paths.setdefault(video.place, set()).add(os.path.abspath(video.path))
    apart = (
        replace(video, place=_name(video.path, "")) if len(paths[video.place]) > 1 else video
        for video in videos
    )
    notes = [note for each in found for note in each.notes] + _skipped(others)
    empty = [display_name(place) for place, each in by_place.items() if not each.videos]
    notes += [f"No video is in {place}, or matches it" for place in empty]
    return VideoList(once(apart), tuple(notes))


def listed(content: bytes, folder: str, name: str) -> list[Footage]:
    """The videos of a list."""
    if b"\0" in content:
        raise UsageError(f"{name} is neither a video nor a list of videos, one path per line")
    paths = [os.fsdecode(line.rstrip(b"\r")) for line in content.split(b"\n") if line.strip()]
    if not paths:
        raise UsageError(f"{name} lists no video; it needs one path per line")
    videos = [named(path, folder) for path in paths]
    if not any(os.path.lexists(video.path) for video in videos):
        raise UsageError(
            f"{name} isn't a list of videos, one path per line: no line names a file, and the "
            f"first is {display_name(paths[0][:_SHOWN])!r}"
        )
    return once(videos)


def named(path: str, folder: str) -> Footage:
    """A video by a path that is relative to a folder."""
    joined = local_path(path, folder)
    return Footage(joined, path, _name(joined, folder))


def local_path(path: str, folder: str) -> str:
    r"""A path that is relative to a folder; of Windows, `clips\a.mp4`, with other slashes."""
    joined, turned = (os.path.join(folder, one) for one in (path, path.replace("\\", "/")))
    return turned if os.path.lexists(turned) and not os.path.lexists(joined) else joined


def once(videos: Iterable[Footage]) -> list[Footage]:
    """Each video once, in their order."""
    by_name: dict[str, Footage] = {}
    for video in videos:
        by_name.setdefault(video.place, video)
    return list(by_name.values())


def videos_among(paths: Sequence[str], root: str, *, stills: bool = False) -> VideoList:
    """The videos among files, named relative to a folder, and what is said of the others."""
    files = [path for path in paths if not os.path.isdir(path)]
    seen = [path for path in files if not os.path.basename(path).startswith(".")]
    wanted = {path for path in seen if is_video(path) or (stills and is_picture(path))}
    videos = [Footage(path, path, _name(path, root)) for path in seen if path in wanted]
    notes = _skipped([path for path in seen if path not in wanted])
    if hidden := len(files) - len(seen):
        notes.append(f"Skipped {_files(hidden, 'hidden ')}")
    videos.sort(key=lambda video: in_order(video.place))
    return VideoList(once(videos), tuple(notes))


def _found(where: str, stills: bool) -> VideoList:
    """The videos of a folder, of a pattern, or one by its path."""
    if os.path.isdir(where):
        files = files_in(where)
        found = videos_among(files, where, stills=stills)
        folders = dict.fromkeys(map(os.path.dirname, files))
        return found if found.videos else _of_pictures(folders, where.rstrip(os.sep))
    if os.path.exists(where):
        return VideoList([Footage(where, where, os.path.basename(where))])
    is_pattern = glob.has_magic(where)
    paths = [*matches(where)] if is_pattern else []
    if paths or (is_pattern and " " not in where):  # a question is a pattern by its "?"
        root = _root_of(where)
        found = videos_among(paths, root, stills=stills)
        return found if found.videos else _of_pictures(paths, root)
    if (advice := advice_on_address(where)) is not None:
        raise UsageError(f"{display_name(where)} {advice}")
    kinds = "a folder, a pattern, or a list of videos"
    prompt = "; a prompt stands behind --prompt" if " " in where else ""
    raise UsageError(f"{display_name(where)} doesn't exist; give {kinds}{prompt}")


def _of_pictures(folders: Iterable[str], root: str) -> VideoList:
    """Those of some folders that hold pictures."""
    found = [one for one in folders if pictures_of(one) is not None]
    whole = os.path.basename(os.path.abspath(root))
    videos = [Footage(one, one, whole if one == root else _name(one, root)) for one in found]
    return VideoList(sorted(videos, key=lambda video: in_order(video.place)))


def _skipped(paths: Sequence[str]) -> list[str]:
    """The note about files that are no videos, by their names."""
    if not paths:
        return []
    first = nsmallest(_NAMED, paths, key=in_order)
    shown = ", ".join(display_name(os.path.basename(path)) for path in first)
    more = ", …" if len(paths) > _NAMED else ""
    return [f"Skipped {_files(len(paths))} without a video extension: {shown}{more}"]


def _files(count: int, kind: str = "") -> str:
    return f"1 {kind}file" if count == 1 else f"{count:,} {kind}files"


def _root_of(pattern: str) -> str:
    """The folder in which a pattern begins to be one."""
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder


def _name(path: str, root: str) -> str:
    return os.path.relpath(path, root or os.curdir)
