"""What the benchmarks share that lie in a folder of the user's: its files, its videos, an edition.

The folder is searched with all that is below it, so that a download may keep the layout in which it
was unpacked.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

from typing_extensions import override

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.annotations import ROW_FILES, Row, check_fields
from dycoke_cli.evaluation.dataset import About, Dataset, Item, Rule, Score, Split
from dycoke_cli.evaluation.scoring.statistics import grouped
from dycoke_cli.unicode import display_name
from dycoke_cli.video.pictures import SUFFIXES

_NAMED = 3


class Folder:
    """The files and folders below a folder.

    Args:
        path: the folder.

    Raises:
        UsageError: it isn't one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            what = "isn't a folder" if path.exists() else "doesn't exist"
            raise UsageError(f"--data {display_name(path)} {what}: name the benchmark's folder")

    @cached_property
    def _below(self) -> tuple[list[str], dict[str, list[str]], dict[str, list[str]]]:
        """Annotation files; videos by name without suffix; folders by name. The nearest first."""
        notes: list[str] = []
        videos: dict[str, list[str]] = {}
        folders: dict[str, list[str]] = {}
        seen: set[str] = set()
        for parent, names, files in os.walk(self.path, followlinks=True):
            real = os.path.realpath(parent)
            if real in seen:  # a link that leads back
                names.clear()
                continue
            seen.add(real)
            relative = os.path.relpath(parent, self.path)
            inside = "" if relative == "." else f"{relative.replace(os.sep, '/')}/"
            # What a Mac packs beside the files, and caches.
            names[:] = [name for name in names if not name.startswith((".", "__MACOSX"))]
            for name in names:
                folders.setdefault(name, []).append(inside + name)
            for name in files:
                stem, suffix = os.path.splitext(name)
                if name.startswith("."):
                    continue
                if suffix.lower() in SUFFIXES:
                    videos.setdefault(stem, []).append(inside + name)
                elif suffix in (*ROW_FILES, ".srt"):
                    notes.append(inside + name)
        for found in (*videos.values(), *folders.values(), notes):
            found.sort(key=lambda path: (path.count("/"), path))
        return notes, videos, folders

    def annotations(self, *patterns: str) -> Path | None:
        """The file whose name fits the first pattern that any fits; None where none does.

        Args:
            patterns: as of a shell, without folders.

        Raises:
            UsageError: several files that are equally near fit.
        """
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
        """A video by its name, in whichever format; None where there is none.

        Args:
            name: with or without suffix, and with folders if its name alone doesn't tell it.
            within: the folders that it lies in, the last of them at least.
        """
        wanted = PurePosixPath(within, without_suffix(name)).parts
        for path in self._below[1].get(wanted[-1], ()):
            if PurePosixPath(without_suffix(path)).parts[-len(wanted) :] == wanted:
                return self.path / path
        return None

    @cached_property
    def subtitles(self) -> dict[str, Path]:
        """Subtitle files by their names without suffix; of equal names the nearest."""
        found = [self.path / path for path in self._below[0] if path.endswith(".srt")]
        return {path.stem: path for path in reversed(found)}

    def directory(self, name: str) -> Path | None:
        """A folder by the end of its path; None where there is none."""
        wanted = PurePosixPath(name).parts
        for path in self._below[2].get(wanted[-1], ()):
            if PurePosixPath(path).parts[-len(wanted) :] == wanted:
                return self.path / path
        return None


def without_suffix(name: str) -> str:
    """A name without the suffix of a video, if it has one."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in SUFFIXES else name


class FolderDataset(Dataset, ABC):
    """A benchmark in a folder of the user's; see `Dataset`.

    Args:
        folder: where its files are, at any depth.
        task: one of `tasks`; None is all of it.

    Raises:
        UsageError: there is no such folder.
    """

    group: ClassVar[str]
    """Its name on the command line, without a task."""
    about: ClassVar[About]
    """What it is, as of every `Dataset`."""
    tasks: ClassVar[tuple[str, ...]] = ()
    """Parts that can be asked alone."""
    rules: ClassVar[Mapping[str, Rule]] = {}
    """How other harnesses score it, by name."""

    def __init__(self, folder: Path, task: str | None = None) -> None:
        self.folder = Folder(folder)
        self.task = task
        self._unknown: dict[str, None] = {}

    @property
    @override
    def name(self) -> str:
        return self.group if self.task is None else f"{self.group}_{self.task}"

    @abstractmethod
    def files(self, split: Split) -> list[Path]:
        """The annotation files of a split.

        Raises:
            UsageError: one isn't there.
        """

    @abstractmethod
    def read(self, split: Split) -> list[Item]:
        """All questions of a split, in the order of the files.

        Raises:
            UsageError: see `Dataset.items`.
        """

    @abstractmethod
    def find(self, video: str) -> Path | None:
        """The file of a video, or None where it is missing."""

    @staticmethod
    @abstractmethod
    @override
    def score(item: Item, said: str) -> Score:
        """What an answer is worth; each benchmark has its own rule."""

    @override
    def edition(self, split: Split) -> str:
        """A fingerprint of the annotations."""
        digest = hashlib.sha256()
        for path in self.files(split):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:12]

    @override
    def items(self, split: Split, limit_videos: int | None) -> list[Item]:
        """The first videos are those that a hash of their names puts first."""
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
        """Fields that aren't known."""
        if not self._unknown:
            return []
        fields = ", ".join(map(display_name, self._unknown))
        return [f"{self.name} has fields in its files that aren't known, and are ignored: {fields}"]

    @override
    def missing(self, videos: Iterable[str]) -> list[str]:
        return [video for video in videos if self.find(video) is None]

    @override
    def file(self, video: str) -> Path:
        return self.find(video) or self.folder.path / video

    def required(self, *patterns: str) -> Path:
        """An annotation file.

        Raises:
            UsageError: it isn't there.
        """
        path = self.folder.annotations(*patterns)
        if path is None:
            raise UsageError(
                f"--data {display_name(self.folder.path)} has no {' or '.join(patterns[:2])}, nor "
                f"has a folder in it: {self.name} needs {self.about.needs}"
            )
        return path

    def checked(
        self, rows: list[Row], needed: Sequence[str], known: Sequence[str] = ()
    ) -> list[Row]:
        """Rows whose fields are those of the benchmark; others are kept for `notes`.

        Raises:
            UsageError: one is missing.
        """
        self._unknown |= dict.fromkeys(check_fields(rows, needed, known))
        return rows


def _shuffled(name: str) -> bytes:
    """A key that puts names into an order which is random, and always the same."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
