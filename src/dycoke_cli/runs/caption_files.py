"""Files of captions: a text file beside each clip, and one file of JSON Lines made of them.

A file appears whole or not at all. A caption whose hash isn't kept (`storage/made_files.py`) was
edited, or another program wrote it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.runs.batch_journal import Known, Outcome
from dycoke_cli.storage.input_file import LineError, json_lines, read_file, read_text
from dycoke_cli.storage.made_files import (
    MadeFiles,
    check_replaceable,
    hash_of,
    note,
    stays,
    write_made,
)
from dycoke_cli.storage.output_file import beside, check_output_file, check_writable, short_name
from dycoke_cli.unicode import display_name, is_valid
from dycoke_cli.video.sampling import Sampling

_MOST_BYTES = 2**24  # of the caption of one video
_CUT = "cut "
CUT_OUT = "cut the part out (`ffmpeg -ss START -to END -i {} part.mp4`)"
"""Advice about a clip, whose caption trainers take for one of the whole clip."""


@dataclass(frozen=True)
class CaptionFiles:
    """A text file for each video, with its name and the suffix ".txt"."""

    folder: Path | None = None  # has the files, in the same subfolders; None: beside each video

    @property
    def where(self) -> str:
        """Where they are, in words."""
        return "beside the clips" if self.folder is None else f"in {short_name(self.folder)}"

    def path(self, video: Footage) -> Path:
        """Of the file of a video."""
        return beside(video.path, video.place, ".txt", self.folder)

    def current(self, video: Footage) -> str | None:
        """The caption of a video that is there; None if there is none, or an empty file."""
        path = self.path(video)
        try:
            return _caption(read_file(path, _MOST_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(
                f"{short_name(path)} can't be read ({error.strerror}); move it away, or give "
                "--out-dir FOLDER"
            ) from error

    def write(self, video: Footage, caption: str, replaces: Callable[[str | None], bool]) -> None:
        """Write the caption of a video.

        Args:
            replaces: whether the caption that is there by then is replaced; None: there is none.
        """
        path, content = self.path(video), f"{caption}\n".encode()
        flag = "--out-dir FOLDER"
        write_made(path, content, flag, lambda there: replaces(_caption(there)))

    def check(self, videos: Iterable[Footage]) -> None:
        """Check that the files can be written."""
        for folder in dict.fromkeys(self.path(video).parent for video in videos):
            check_writable(folder, "--out-dir FOLDER puts the captions elsewhere")

    def is_cut(self, video: Footage, hashes: MadeFiles, limits: str) -> bool:
        """Whether the caption ends in mid-sentence, by other limits than these."""
        ways = hashes.ways(self.path(video), self.current(video))
        return hash_of(_CUT) in ways and hash_of(_CUT + limits) not in ways

    def is_unlike(self, video: Footage, hashes: MadeFiles, settings: str) -> bool:
        """Whether the caption was written by other settings than these."""
        ways = hashes.ways(self.path(video), self.current(video))
        return bool(ways) and hash_of(settings) not in ways

    def check_part(self, videos: Iterable[Footage], hashes: MadeFiles, sampling: Sampling) -> None:
        """Refuse to leave out a video whose caption is about another part of it, or another."""
        for video in videos:
            ways = hashes.ways(path := self.path(video), self.current(video))
            if ways and hash_of(_part(video, sampling)) not in ways:
                film = display_name(video.name)
                raise UsageError(
                    f"{short_name(path)} is about another part of {film}, or another clip of that "
                    f"name: add --overwrite, or another --out-dir, or {CUT_OUT.format(film)}"
                )


def _part(video: Footage, sampling: Sampling) -> str:
    # By its size: folders are renamed, and clips replaced.
    return (
        f"{os.path.isfile(video.path) and os.path.getsize(video.path)} bytes, "
        f"from {sampling.start_s} to {sampling.end_s}"
    )


def _caption(content: bytes) -> str | None:
    return content.decode("utf-8", "replace").rstrip("\r\n") or None


@dataclass(frozen=True)
class OneFile:
    """A file of JSON Lines with all captions, which is made of the text files when a run ends."""

    path: Path
    keys: tuple[str, str]  # of the path and of the caption
    absolute: bool  # whether paths are absolute; else they are relative to the file's folder

    def check(self, videos: Iterable[Footage]) -> None:
        """Check that the file can be written."""
        check_output_file(self.path, "--out", "give a file", folder=OutputError)
        check_replaceable(self.path)
        for video in videos:
            if not is_valid(os.path.abspath(video.path)):
                raise UsageError(
                    f"the name of {display_name(video.path)} isn't UTF-8, and {self.path.name} "
                    "can't hold it: rename it, or leave out --out"
                )

    def write(self, videos: Collection[Footage], files: CaptionFiles) -> None:
        """Write the captions of the videos that have one, and keep those of other clips."""
        place, text = self.keys
        found = [(video, caption) for video in videos if (caption := files.current(video))]
        rows = [{place: self._name(video), text: caption} for video, caption in found]
        asked = {os.path.abspath(video.path) for video in videos}
        # There is none, or somebody has changed it; then it stays.
        with suppress(OSError, LineError, LookupError, TypeError):
            for _, row in json_lines(read_text(self.path)):
                path = os.path.abspath(self.path.parent / row[place])
                if path not in asked and os.path.isfile(path):
                    rows.append(row)
        content = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        if not write_made(self.path, content.encode()):
            raise stays([self.path])

    def _name(self, video: Footage) -> str:
        path = os.path.abspath(video.path)
        return path if self.absolute else os.path.relpath(path, self.path.parent)


class CaptionResults:
    """Destination of a run whose answers are captions.

    Attributes:
        written: captions of this run, the names of their videos and whether each ends within a
            sentence, by their ids.
        stayed: ids of videos with a caption that wasn't there when the run began, and stays.

    Args:
        asks: about one video each, by their ids.
        settings: how captions are made of answers, with the prompt.
        limits: of their lengths; a caption by other settings or limits is another one.
        replaces: whether the caption of a video is replaced.
    """

    def __init__(
        self,
        files: CaptionFiles,
        hashes: MadeFiles,
        asks: Mapping[str, Ask],
        settings: str,
        limits: str,
        replaces: Callable[[Footage, str | None], bool],
        warn: Callable[[str], None],
    ) -> None:
        self.written: dict[str, tuple[str, str, bool]] = {}
        self.stayed: set[str] = set()
        self._files, self._asks = files, asks
        self._settings, self._limits, self._made = settings, limits, settings + limits
        self._replaces, self._warn = replaces, warn
        # How the captions that are there were made.
        there = (
            hashes.ways(files.path(video), files.current(video))
            for ask in asks.values()
            for video in ask.videos
        )
        self._there = set[bytes]().union(*there)

    def known(self, key: str) -> Known | None:
        """See `Results`: the caption that is there. A failure leaves nothing behind."""
        return Known() if hash_of(key + self._made) in self._there else None

    def add(self, outcome: Outcome) -> None:
        """Write a caption; of a failure nothing."""
        if outcome.failed:
            return
        id_, caption = outcome.line["id"], outcome.line["answer"]
        ask = self._asks[id_]
        (video,) = ask.videos
        path = self._files.path(video)

        def replaces(current: str | None) -> bool:
            if not (found := self._replaces(video, current)) and id_ not in self.stayed:
                self.stayed.add(id_)
                shown, name = display_name(os.path.relpath(path)), display_name(video.name)
                self._warn(f"{shown} has another caption of {name} by now, which stays")
            return found

        ways = [outcome.key + self._made, _part(video, ask.request.sampling), self._settings]
        if is_cut := outcome.line["finish_reason"] == "length":
            ways += [_CUT, _CUT + self._limits]
        for way in ways:
            note(path, caption, way)
        self._files.write(video, caption, replaces)
        if id_ not in self.stayed:
            self.written[id_] = caption, display_name(video.name), is_cut
