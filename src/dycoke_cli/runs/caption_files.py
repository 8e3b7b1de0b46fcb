"""Files of captions: a text file beside each clip, or one JSON Lines, JSON or CSV file for all.

A file appears whole or not at all. A caption whose hash isn't kept (`storage/made_files.py`) was
edited, or another program wrote it.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.runs.discovery import local_path
from dycoke_cli.runs.journal import locked
from dycoke_cli.runs.results import Outcome
from dycoke_cli.runs.tables import no_formula, without_apostrophe
from dycoke_cli.storage.input_file import (
    json_lines,
    naming,
    read_file,
    separator_of,
    table_rows,
    text_of,
)
from dycoke_cli.storage.made_files import MadeFiles, hash_of, note, write_made
from dycoke_cli.storage.output_file import beside, check_writable, short_name
from dycoke_cli.unicode import display_name, is_valid

FORMATS = ("txt", "jsonl", "json", "csv")
"""Kinds of files of captions; of the first one there is a file for each clip."""
SENTENCES = "sentences"
"""Key of the sentences of a caption with their probabilities, where they were checked."""
KEYS = ("video_path", "caption")
"""Keys of the path and of the caption, where a file has all captions."""
# A file of all captions is written again if that takes a twentieth of the time since, or less.
_SHARE = 20
_MOST_BYTES = 2**24  # of the caption of one video


More = Mapping[str, Any]
Replaces = Callable[[str | None], bool]
"""Whether a caption that is there when another one is written is replaced; None: there is none."""


class CaptionFiles(Protocol):
    """Where captions are."""

    @property
    def where(self) -> str:
        """Where they are, in words: "beside the clips"."""

    def place(self, video: Footage) -> tuple[str, str]:
        """Absolute path of the file with the caption of a video, and which of its entries it is."""

    def current(self, video: Footage) -> str | None:
        """The caption of a video that is there; None if there is none."""

    def write(self, video: Footage, caption: str, more: More, replaces: Replaces) -> None:
        """Write the caption of a video, in place of the one that is there.

        Args:
            more: what is known of it, by keys other than the two of the file.
        """

    def save(self) -> None:
        """Write what isn't written yet."""


@dataclass(frozen=True)
class TextFiles:
    """A text file for each video, with its name and the suffix ".txt"."""

    folder: Path | None = None  # has the files, in the same subfolders; None: beside each video

    @property
    def where(self) -> str:
        """See `CaptionFiles`."""
        return "beside the clips" if self.folder is None else f"in {short_name(self.folder)}"

    def path(self, video: Footage) -> Path:
        """Of the file of a video."""
        return beside(video.path, video.place, ".txt", self.folder)

    def place(self, video: Footage) -> tuple[str, str]:
        """See `CaptionFiles`."""
        return os.path.abspath(self.path(video)), ""

    def current(self, video: Footage) -> str | None:
        """See `CaptionFiles`; an empty file is no caption."""
        path = self.path(video)
        try:
            return self._caption(read_file(path, _MOST_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(
                f"{short_name(path)} can't be read ({error.strerror}); move it away, or give "
                "--out-dir FOLDER"
            ) from error

    @staticmethod
    def _caption(content: bytes) -> str | None:
        return content.decode("utf-8", "replace").rstrip("\r\n") or None

    def write(self, video: Footage, caption: str, more: More, replaces: Replaces) -> None:
        """See `CaptionFiles`; a text file has the caption alone."""
        path, content = self.path(video), f"{caption}\n".encode()
        flag = "--out-dir FOLDER"
        write_made(path, content, flag, lambda there: replaces(self._caption(there)))

    def save(self) -> None:
        """See `CaptionFiles`; each file is written at once."""

    def check(self, videos: Iterable[Footage]) -> None:
        """Check that the files can be written."""
        for folder in dict.fromkeys(self.path(video).parent for video in videos):
            check_writable(folder, "--out-dir FOLDER puts the captions elsewhere")


class OneFile:
    """A file with all captions, an object or a row for each; other rows and keys stay.

    Args:
        path: of the file; its suffix is its format.
        keys: of the path and of the caption.
        videos: of the run, whose order is that of the file.
        absolute: whether paths are absolute; else they are relative to the file's folder.

    Raises:
        OutputError: the file is there, and isn't such a file.
        UsageError: a name isn't UTF-8.
    """

    def __init__(
        self, path: Path, keys: tuple[str, str], videos: Sequence[Footage], *, absolute: bool
    ) -> None:
        for video in videos:
            if not is_valid(os.path.abspath(video.path)):
                raise UsageError(
                    f"the name of {display_name(video.path)} isn't UTF-8, and {path.name} can't "
                    "hold it: rename it, or use --format txt"
                )
        self.path, self._keys, self._absolute = path, keys, absolute
        self._is_csv = path.suffix.lower() == ".csv"
        self._folder = os.path.abspath(path.parent)
        self._order = {self.place(video)[1]: number for number, video in enumerate(videos)}
        self._rows: dict[str, dict[str, Any]] = {}  # by the absolute path
        self._there = b""  # content of the file, which has these rows
        # Of CSV, as the file has them.
        self._begin, self._separator, self._line_end = "", ",", "\n"
        self._saved_s, self._saved_at = 0.0, float("-inf")
        self._unsaved: dict[str, tuple[dict[str, Any], Replaces]] = {}
        self._read_anew()

    @property
    def where(self) -> str:
        """See `CaptionFiles`."""
        return f"in {short_name(self.path)}"

    def place(self, video: Footage) -> tuple[str, str]:
        """See `CaptionFiles`."""
        return os.path.abspath(self.path), os.path.abspath(video.path)

    def current(self, video: Footage) -> str | None:
        """See `CaptionFiles`."""
        return self._caption(self._rows.get(self.place(video)[1], {}))

    def _caption(self, row: Mapping[str, Any]) -> str | None:
        cell = row.get(self._keys[1])
        return (without_apostrophe(cell) if cell and self._is_csv else cell) or None

    def write(self, video: Footage, caption: str, more: More, replaces: Replaces) -> None:
        """See `CaptionFiles`; what comes quickly is written together."""
        text = no_formula(caption) if self._is_csv else caption
        self._unsaved[self.place(video)[1]] = {self._keys[1]: text, **more}, replaces
        if time.monotonic() - self._saved_at >= _SHARE * self._saved_s:
            self.save()

    def save(self) -> None:
        """See `CaptionFiles`."""
        if not self._unsaved:
            return
        begun = time.monotonic()
        written = False
        while not written:  # what somebody writes at this moment is read the next time
            self._read_anew()
            rows = {**self._rows}
            for place, (new, replaces) in self._unsaved.items():
                row = {**rows.get(place, {self._keys[0]: self._name(place)})}
                if replaces(self._caption(row)):
                    row.pop(SENTENCES, None)  # those of another caption
                    rows[place] = {**row, **new}
            # Those of other runs come first.
            places = sorted(rows, key=lambda place: self._order.get(place, -1))
            content = self._text([rows[place] for place in places]).encode()
            written = write_made(self.path, content, is_ours=lambda there: there == self._there)
        self._rows, self._there = rows, content
        self._unsaved.clear()
        self._saved_at = time.monotonic()
        self._saved_s = self._saved_at - begun

    def _read_anew(self) -> None:
        """Read the file where it isn't as it was; what people write meanwhile counts."""
        if not self.path.exists():
            return
        with naming(short_name(self.path), "; give another --out", OutputError):
            there = read_file(self.path)
            if there == self._there:
                return
            text = text_of(there)
        self._begin = "\ufeff" * there.startswith(codecs.BOM_UTF8)
        self._line_end = "\r\n" if there.partition(b"\n")[0].endswith(b"\r") else "\n"
        self._separator = separator_of(text, self._keys)
        rows: dict[str, dict[str, Any]] = {}
        try:
            for row in self._read(text):
                names = {name.strip().casefold(): name for name in row}
                path, caption = (names.get(key.casefold(), key) for key in self._keys)
                self._keys = path, caption
                place = os.path.abspath(local_path(row[path], self._folder))
                others = [value for key, value in row.items() if key != path]
                # Where the caption is missing, a text may be one, by another key.
                unclear = caption not in row and any(isinstance(one, str) for one in others)
                if unclear or not isinstance(self._caption(row), str | None) or place in rows:
                    raise ValueError("no caption, or a second row")
                rows[place] = row
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OutputError(
                f"{short_name(self.path)} isn't a file with one caption for each path, by the keys "
                f"{' and '.join(self._keys)}, and stays as it is; give another --out, or its keys "
                "with --key"
            ) from error
        self._rows, self._there = rows, there

    def _name(self, place: str) -> str:
        """A path as it is written to the file."""
        if self._absolute:
            return place
        try:
            path = os.path.relpath(place, self._folder).replace(os.sep, "/")
        except ValueError:  # on another drive
            return place
        # An apostrophe in front would name another file.
        return path if no_formula(path) == path else f"./{path}"

    def _read(self, text: str) -> Iterator[dict[str, Any]]:
        if self._is_csv:
            yield from (row for _, row in islice(table_rows(text, self._separator), 1, None))
        elif self.path.suffix.lower() == ".json":
            rows = json.loads(text or "[]")
            if not isinstance(rows, list):
                raise ValueError("no list")
            yield from rows
        else:
            yield from (row for _, row in json_lines(text))

    def _text(self, rows: Sequence[dict[str, Any]]) -> str:
        if self._is_csv:
            file = io.StringIO()
            columns = dict.fromkeys(key for row in rows for key in row)
            writer = csv.DictWriter(
                file, [*columns], delimiter=self._separator, lineterminator=self._line_end
            )
            writer.writeheader()
            for row in rows:  # sentences are lists
                cells = {k: _json(v) if isinstance(v, list) else v for k, v in row.items()}
                writer.writerow(cells)
            return self._begin + file.getvalue()
        if self.path.suffix.lower() == ".json":
            return _json(rows, indent=1) + "\n"
        return "".join(f"{_json(row)}\n" for row in rows)


def _json(value: Any, indent: int | None = None) -> str:
    """JSON in letters; in escapes where another program's row has half a surrogate."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if is_valid(text) else json.dumps(value, indent=indent)


class CaptionResults:
    """Destination of a run whose answers are captions.

    Attributes:
        reasons: always empty: a failure leaves nothing behind, and is tried again.
        written: captions of this run and the names of their videos, by their ids.
        stayed: ids of videos with a caption that wasn't there when the run began, and stays.

    Args:
        asks: about one video each, by their ids.
        made: how captions are made of answers; one that is made in another way is another one.
        replaces: whether the caption of a video is replaced.
    """

    def __init__(
        self,
        files: CaptionFiles,
        hashes: MadeFiles,
        asks: Mapping[str, Ask],
        made: str,
        replaces: Callable[[Footage, str | None], bool],
        warn: Callable[[str], None],
    ) -> None:
        self.reasons: dict[str, str] = {}
        self.written: dict[str, tuple[str, str]] = {}
        self.stayed: set[str] = set()
        self._files, self._asks, self._made = files, asks, made
        self._replaces, self._warn = replaces, warn
        # How the captions that are there were made.
        videos = [ask.videos[0] for ask in asks.values()]
        there = (hashes.ways(*files.place(video), files.current(video)) for video in videos)
        self._there = set[bytes]().union(*there)

    def state(self, key: str) -> str | None:
        """ "answered" if the caption by this key is there."""
        return "answered" if hash_of(key + self._made) in self._there else None

    def warned(self, key: str) -> bool:
        """Always False: a file of captions has no warnings."""
        return False

    def add(self, outcome: Outcome) -> None:
        """Write a caption; of a failure nothing."""
        if outcome.failed:
            return
        id_, caption = outcome.line["id"], outcome.line["answer"]
        (video,) = self._asks[id_].videos
        path, entry = self._files.place(video)

        def replaces(current: str | None) -> bool:
            if not (found := self._replaces(video, current)) and id_ not in self.stayed:
                self.stayed.add(id_)
                self.written.pop(id_, None)
                shown, name = display_name(os.path.relpath(path)), display_name(video.name)
                self._warn(f"{shown} has another caption of {name} by now, which stays")
            return found

        note(path, entry, caption, outcome.key + self._made)
        sentences = outcome.line.get(SENTENCES)
        more = {} if sentences is None else {SENTENCES: sentences}
        self._files.write(video, caption, more, replaces)
        if id_ not in self.stayed:
            self.written[id_] = caption, video.name


@contextmanager
def opened(
    path: Path, keys: tuple[str, str], videos: Sequence[Footage], *, absolute: bool
) -> Iterator[OneFile]:
    """Lock a file of all captions, and write at the end what isn't written. Args: as of it."""
    with locked(path):
        file = OneFile(path, keys, videos, absolute=absolute)
        try:
            yield file
        finally:
            file.save()
