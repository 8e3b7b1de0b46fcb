"""Benchmarks in a folder of the user: annotation files as published, videos, version.

The folder is searched recursively, so that a download can keep its layout. Annotations are JSON,
JSON lines, CSV or Parquet; malformed content raises an error of one sentence that names the file
and the row.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from typing_extensions import override

from dycoke_cli.errors import UsageError, how_to_install
from dycoke_cli.evaluation.dataset import ROW_FILES, About, Dataset, Item, Score, Split
from dycoke_cli.evaluation.scoring.statistics import grouped
from dycoke_cli.runs.file_walk import walk
from dycoke_cli.storage.input_file import (
    LFS_POINTER,
    is_lfs_pointer,
    json_lines,
    naming,
    read_file,
    read_text,
    separator_of,
    table_rows,
)
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import SUFFIXES

_COLUMNS = ("video", "question", "answer")  # by which the separator is known
_SHOWN = 40
_MOST_TEXTS = 26  # options have a letter each
_LONGEST_S = 1e9  # thirty years


@dataclass(frozen=True)
class AnnotationRow:
    """Row of an annotation file, with typed access to its fields."""

    where: str  # file and row, for errors
    fields: Mapping[str, Any]  # values by field name

    def text(self, name: str) -> str:
        """Non-empty text of a field; a number is converted."""
        value = self.fields[name]
        # A bool is an int in Python; an answer "true" in JSON is more likely a mistake.
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
            raise self.wrong(name, "isn't a text")
        return str(value)

    def index(self, name: str, below: int) -> int:
        """Whole number in `[0, below)`."""
        value = self.fields[name]
        try:
            number = int(str(value))
        except ValueError:  # also raised for thousands of digits, Python's limit of a conversion
            raise self.wrong(name, "isn't a whole number") from None
        if not 0 <= number < below:
            raise self.wrong(name, f"is out of range (0 to {below - 1})")
        return number

    def seconds(self, name: str) -> float:
        """Non-negative time in seconds."""
        value = self.fields[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(name, "isn't a number of seconds")
        if not 0 <= value <= _LONGEST_S:  # true for NaN, too
            raise self.wrong(name, "isn't a time from 0 on")
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """List of 2 to 26 texts; CSV files have it as a Python or JSON literal."""
        value = self.fields[name]
        if isinstance(value, str):
            try:
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                raise self.wrong(name, "isn't a list") from None
        if not isinstance(value, list) or len(value) < 2 or {*map(type, value)} != {str}:
            raise self.wrong(name, "isn't a list of two texts or more")
        if len(value) > _MOST_TEXTS:
            raise self.wrong(name, f"has {len(value)} texts, and there are {_MOST_TEXTS} letters")
        return tuple(value)

    def one_of(self, name: str, known: Collection[Any]) -> Any:
        """Value of a field with an enumerated range."""
        value = self.fields[name]
        if value not in known:
            raise self.wrong(name, f"is none of {', '.join(map(str, known))}")
        return value

    def wrong(self, name: str, why: str) -> UsageError:
        """Error about a field; `why` follows its value in the sentence."""
        text = str(self.fields[name])
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        return UsageError(f"{self.where}: {name} {display_name(shown)!r} {why}")


def read_rows(path: Path) -> list[AnnotationRow]:
    """Read the rows of an annotation file."""
    if path.suffix == ".parquet":
        records: Iterable[Any] = _parquet(path)
    elif path.suffix in (".csv", ".jsonl"):
        with naming(path.name, ": was its download interrupted?"):
            text = _text(path)
            is_table = path.suffix == ".csv"
            read = table_rows(text, separator_of(text, _COLUMNS)) if is_table else json_lines(text)
            records = [fields for _, fields in read][is_table:]  # without the header
    else:
        records = read_json(path, list)
    rows = [
        AnnotationRow(f"{path.name}, row {number}", fields)
        for number, fields in enumerate(records, 1)
    ]
    if not rows:
        raise UsageError(f"{path.name} has no rows: was its download interrupted?")
    for row in rows:
        if not isinstance(row.fields, dict):
            raise UsageError(f"{row.where} isn't an object")
    return rows


def read_json(path: Path, kind: type) -> Any:
    """Read a JSON file whose content must be a list or a dict."""
    text = _text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(
            f"{path.name} isn't JSON, or is cut off: was its download interrupted?"
        ) from None
    if not isinstance(content, kind):
        raise UsageError(
            f"{path.name} isn't {'a list' if kind is list else 'an object'}, as this benchmark has "
            "it: is it that of another?"
        )
    return content


def _text(path: Path) -> str:
    if is_lfs_pointer(path):
        raise UsageError(f"{path.name} {LFS_POINTER}")
    with naming(path.name):
        return read_text(path)


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            f"{path.name} is Parquet, which needs another package: {how_to_install('eval')} (or "
            "save its rows as .jsonl beside it)"
        ) from None
    if is_lfs_pointer(path):
        raise UsageError(f"{path.name} {LFS_POINTER}")
    try:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(read_file(path))).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError):  # the last from column names
        raise UsageError(
            f"{path.name} can't be read as Parquet: was its download interrupted?"
        ) from None
    return rows


_NAMED = 3


class Folder:
    """Index of the files below a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            what = "isn't a folder" if path.exists() else "doesn't exist"
            raise UsageError(f"--data {display_name(path)} {what}: name the benchmark's folder")

    @cached_property
    def _below(self) -> tuple[list[str], dict[str, list[str]], dict[str, list[str]]]:
        """Annotation files, videos by name without suffix, and folders by name.

        Paths are relative; fewer folders come first.
        """
        annotations: list[str] = []
        videos: dict[str, list[str]] = {}
        folders: dict[str, list[str]] = {}
        for relative, names, files in walk(os.fspath(self.path), links=True):
            inside = f"{relative.replace(os.sep, '/')}/" if relative else ""
            # macOS adds __MACOSX to archives, with a ._ file per video.
            names[:] = [name for name in names if not name.startswith("__MACOSX")]
            for name in names:
                folders.setdefault(name, []).append(inside + name)
            for name in files:
                stem, suffix = os.path.splitext(name)
                if name.startswith("."):
                    continue
                if suffix.lower() in SUFFIXES:
                    videos.setdefault(stem, []).append(inside + name)
                elif suffix in (*ROW_FILES, ".srt"):
                    annotations.append(inside + name)
        for paths in (*videos.values(), *folders.values(), annotations):
            paths.sort(key=lambda path: (path.count("/"), path))
        return annotations, videos, folders

    def annotations(self, *patterns: str) -> Path | None:
        """Annotation file that matches the first pattern with a match; None if none matches."""
        for pattern in patterns:
            fitting = [p for p in self._below[0] if fnmatch(p.rpartition("/")[2], pattern)]
            if not fitting:
                continue
            nearest = [p for p in fitting if p.count("/") == fitting[0].count("/")]
            if len(nearest) > 1:
                raise UsageError(
                    f"--data {display_name(self.path)} has several files that may be meant "
                    f"({', '.join(map(display_name, nearest[:_NAMED]))}): name the folder of one"
                )
            return self.path / nearest[0]
        return None

    def video(self, name: str, within: str = "") -> Path | None:
        """Path of a video, in any format; None if there is none."""
        # Compared from the end, since the download may be unpacked at any depth.
        # A name without a suffix may end as one: clip.360 of the file clip.360.mp4.
        for stem in dict.fromkeys((without_suffix(name), name)):
            suffix = PurePosixPath(within, stem).parts
            for path in self._below[1].get(suffix[-1], ()):
                if PurePosixPath(without_suffix(path)).parts[-len(suffix) :] == suffix:
                    return self.path / path
        return None

    @cached_property
    def subtitles(self) -> dict[str, Path]:
        """Subtitle files by name without suffix; of equal names the one with fewer folders."""
        paths = [self.path / path for path in self._below[0] if path.endswith(".srt")]
        return {path.stem: path for path in reversed(paths)}

    def directory(self, name: str) -> Path | None:
        """Folder whose path ends in `name`; None if there is none."""
        suffix = PurePosixPath(name).parts
        for path in self._below[2].get(suffix[-1], ()):
            if PurePosixPath(path).parts[-len(suffix) :] == suffix:
                return self.path / path
        return None


def without_suffix(name: str) -> str:
    """Remove the suffix of a video file; other suffixes are part of the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


class FolderDataset(Dataset, ABC):
    """Benchmark in a folder of the user; see `Dataset`.

    Args:
        folder: folder with the files, at any depth.
        task: one of `tasks`; None for all.

    Raises:
        UsageError: there is no such folder.
    """

    group: ClassVar[str]
    """Name on the command line, without a task."""
    about: ClassVar[About]
    """Description; see `Dataset.about`."""
    tasks: ClassVar[tuple[str, ...]] = ()
    """Parts that can be run separately."""

    def __init__(self, folder: Path, task: str | None = None) -> None:
        self.folder = Folder(folder)
        self.task = task

    @property
    @override
    def name(self) -> str:
        return self.group if self.task is None else f"{self.group}_{self.task}"

    @abstractmethod
    def files(self, split: Split) -> list[Path]:
        """Annotation files of a split.

        Raises:
            UsageError: one is missing.
        """

    @abstractmethod
    def read(self, split: Split) -> list[Item]:
        """All questions of a split, in the order of the files.

        Raises:
            UsageError: see `Dataset.items`.
        """

    @abstractmethod
    def find(self, video: str) -> Path | None:
        """File of a video; None if it is missing."""

    @staticmethod
    @abstractmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Score an answer; each benchmark has its own rule."""

    @override
    def edition(self, split: Split) -> str:
        """Hash of the annotation files."""
        digest = hashlib.sha256()
        for path in self.files(split):
            # A digest of digests, so that the boundary between two files counts.
            digest.update(hashlib.sha256(read_file(path)).digest())
        return digest.hexdigest()[:12]

    @override
    def items(self, split: Split, limit_videos: int | None) -> list[Item]:
        """See `Dataset.items`; the order for `limit_videos` is that of a hash of the names.

        The first videos of a file are often of one source. A hash is a random sample that doesn't
        change when the limit grows.
        """
        items = self.read(split)
        seen: set[str] = set()
        for item in items:
            if item.id in seen:
                raise UsageError(f"{self.name} has the question {display_name(item.id)!r} twice")
            seen.add(item.id)
        videos = grouped(items, lambda item: item.video)
        chosen = set(sorted(videos, key=_shuffled)[:limit_videos])
        return [item for video, all_ in videos.items() if video in chosen for item in all_]

    @override
    def notes(self) -> list[str]:
        return []

    @override
    def missing(self, videos: Iterable[str]) -> list[str]:
        return [video for video in videos if self.find(video) is None]

    @override
    def file(self, video: str) -> Path:
        return self.find(video) or self.folder.path / video

    def required(self, *patterns: str) -> Path:
        """Annotation file that must exist; see `Folder.annotations`.

        Raises:
            UsageError: it is missing.
        """
        path = self.folder.annotations(*patterns)
        if path is None:
            raise UsageError(
                f"--data {display_name(self.folder.path)} has no {' or '.join(patterns[:2])}, nor "
                f"has a folder in it: {self.name} needs {self.about.needs}"
            )
        return path

    @staticmethod
    def checked(rows: list[AnnotationRow], needed: Collection[str]) -> list[AnnotationRow]:
        """Check that all rows have the fields of the benchmark; others are ignored.

        Raises:
            UsageError: a field is missing.
        """
        for row in rows:
            for name in needed:
                if name not in row.fields:
                    raise UsageError(
                        f"{row.where} has no field {name!r}: is it the file of another benchmark?"
                    )
        return rows


def _shuffled(name: str) -> bytes:
    """Sort key of a random but fixed order of names."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
