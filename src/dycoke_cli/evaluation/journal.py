"""Every answer as it comes, one JSON object per line, so that nothing is asked twice.

A line that opens with `{"setup": …, "about": …}` says what a setup is; all others are answers. Each
line carries a checksum of itself: what a crash, a full disk or an editor left half done is found,
dropped and asked again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from dycoke_cli.errors import OutputError
from dycoke_cli.evaluation.prediction import Prediction, Setup
from dycoke_cli.runs.journal import check_own, full, locked, replace_content, unwritable

FILE = "answers.jsonl"
_BEGIN = b'{"setup": "'


class Answers:
    """The answers of a journal, as they were when it was read.

    Attributes:
        path: the file.
        damaged: lines that are left out.
        setups: that there are answers of, by the id that they have in the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.setups: dict[str, Setup] = {}
        self._predictions: dict[str, dict[str, Prediction]] = {}
        self._commits: dict[str, set[str]] = {}
        self._sound, self.damaged = self._read()

    def predictions(self, setup: Setup) -> dict[str, Prediction]:
        """The answers there are for a setup, by question."""
        return self._predictions.get(setup.id, {})

    def commits(self, setups: Iterable[Setup]) -> set[str]:
        """The commits of this program that gave the answers of these setups, where known."""
        return {commit for setup in setups for commit in self._commits.get(setup.id, ())}

    def _read(self) -> tuple[list[bytes], int]:
        """Take in the file; return its sound lines, and how many others there are."""
        content = self.path.read_bytes() if self.path.exists() else b""
        lines = content.splitlines(keepends=True)
        sound = [line for line in lines if line.endswith(b"\n") and self._understood(line)]
        return sound, len(lines) - len(sound)

    def _understood(self, line: bytes) -> bool:
        try:
            self._take(_opened(line))
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        return True

    def _take(self, line: dict[str, Any]) -> None:
        if "about" in line:
            about = {k: v for k, v in line["about"].items() if k in Setup.__dataclass_fields__}
            self.setups[line["setup"]] = Setup(**about)
            return
        setup = line["setup"]
        if setup in self.setups:  # what a setup has got since then is part of its id, too
            setup = self.setups[setup].id
        # A field that was added later has its default.
        fields = {name: line[name] for name in Prediction.__dataclass_fields__ if name in line}
        self._predictions.setdefault(setup, {})[line["item"]] = Prediction(**fields)
        if line["commit"] is not None:
            self._commits.setdefault(setup, set()).add(line["commit"])


class Journal(Answers):
    """An open journal. Made by `open_journal`; nobody else writes to the file meanwhile.

    Lines that were damaged are dropped from the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if self.damaged:
            replace_content(path, b"".join(self._sound))
        self._file: TextIO = path.open("a", encoding="utf-8")

    def add(self, setup: Setup, prediction: Prediction, commit: str | None) -> None:
        """Write an answer down; when this returns, a crash of the process can't take it back.

        Raises:
            OutputError: it can't be written.
        """
        lines: list[dict[str, Any]] = []
        if setup.id not in self.setups:
            lines.append({"setup": setup.id, "about": asdict(setup)})
        lines.append({"setup": setup.id, "commit": commit, **asdict(prediction)})
        try:
            self._file.writelines(_sealed(line) for line in lines)
            self._file.flush()
        except OSError as error:
            raise OutputError(full(self.path, error)) from error
        for line in lines:
            self._take(line)

    def close(self) -> None:
        """Close the file."""
        # What a full disk refused is still buffered, was reported, and would be refused again.
        try:
            self._file.close()
        except OSError:
            return


@contextmanager
def open_journal(folder: Path) -> Iterator[Journal]:
    """Open the journal in a folder, which is made where it isn't there, and lock it.

    Raises:
        OutputError: another run is writing to it, it is somebody else's, or nothing can be written
            there.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(unwritable(folder, error)) from error
    with locked(path):
        check_journal(folder)
        try:
            journal = Journal(path)
        except OSError as error:
            raise OutputError(unwritable(path, error)) from error
        try:
            yield journal
        finally:
            journal.close()


def check_journal(folder: Path) -> None:
    """Refuse a folder in which somebody else's file has the name of the journal.

    Raises:
        OutputError: it has; or that can't be read.
    """
    check_own(folder / FILE, _BEGIN, "a journal of dycoke eval")


def _sealed(line: dict[str, Any]) -> str:
    return json.dumps({**line, "check": _check(line)}) + "\n"


def _opened(line: bytes) -> dict[str, Any]:
    content = json.loads(line)
    if not isinstance(content, dict) or content.pop("check") != _check(content):
        raise ValueError("not a line of a journal, or no longer what was written")
    return content


def _check(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
