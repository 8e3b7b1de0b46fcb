"""Reads questions from a file: JSON Lines, or CSV with commas or semicolons.

Keys: video, question, and optionally id, start and end (of the part of the video that is asked
about). Others are ignored, and a note names them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.features import BATCH, refusal
from dycoke_cli.request import Request
from dycoke_cli.runs.discovery import named
from dycoke_cli.storage.input_file import (
    LFS_POINTER,
    LineError,
    json_lines,
    naming,
    separator_of,
    starts_lfs_pointer,
    table_rows,
    text_of,
)
from dycoke_cli.unicode import is_valid, one_line
from dycoke_cli.video.sampling import Sampling, format_time, parse_time

_KEYS = ("video", "question", "id", "start", "end")
_TIMES = ("start", "end")
_NEEDED = ("video", "question")
_NEAR = 0.75  # of difflib; "strat" is "start", and "answer" is none of them
_LONGEST = 40  # of what a sentence quotes


@dataclass(frozen=True)
class _Row:
    """A question as it is in the file, unchecked."""

    line: int  # number of its line
    values: dict[str, Any]  # by key, which is one of `_KEYS`
    decimal: str = "."  # what separates the decimals of a number


def read_questions(
    content: bytes,
    folder: str,
    name: str,
    request: Request,
    note: Callable[[str], object] | None = None,
) -> list[tuple[Ask, ...]]:
    """The questions of a file, those about one video or part of it together, in the file's order.

    Args:
        content: JSON Lines or CSV with a header, in UTF-8.
    """
    if starts_lfs_pointer(content):
        raise UsageError(f"{name} {LFS_POINTER}")
    keys = _Keys()
    with naming(name):
        text = text_of(content)
        begin = text.lstrip()[:1]
        if begin == "[":
            raise UsageError(f"{name} is a JSON array; write one object per line, without brackets")
        rows = keys.rows(text, is_json=begin == "{")
        groups = _groups(rows, folder, name, request)
    if note is not None and keys.ignored:
        note(f"{name}: ignored {', '.join(keys.ignored)}; read {', '.join(_KEYS)}")
    return groups


def _groups(
    found: Iterable[_Row], folder: str, name: str, request: Request
) -> list[tuple[Ask, ...]]:
    videos: dict[str, Footage] = {}
    # By video and sampling; each question once.
    groups: dict[tuple[str, Sampling | None], dict[Ask, None]] = {}
    seen: dict[str, int] = {}
    for row in found:
        path, question, id_ = _checked(row)
        if id_ is not None:
            if id_ in seen:
                raise LineError(
                    row.line, f"the id {id_!r} is that of line {seen[id_]}, too; ids must differ"
                )
            seen[id_] = row.line
        video = named(path, folder)
        video = videos.setdefault(video.place, video)
        part = _part(row, request.sampling)
        ask = Ask(question, request, (video,), id=id_, line=row.line)
        if part is not None:
            own = replace(request, sampling=part)
            ask = replace(ask, request=own, part_s=(part.start_s, part.end_s))
        groups.setdefault((video.place, part), {})[ask] = None
    if not videos:
        raise UsageError(f"{name} has no questions; it needs one per line, with video and question")
    return [tuple(asks) for asks in groups.values()]


@dataclass(frozen=True)
class _Keys:
    """Reads the rows of a file, and the keys that it knows of each."""

    ignored: dict[str, None] = field(default_factory=dict)  # the other keys so far, quoted

    def rows(self, text: str, *, is_json: bool) -> Iterator[_Row]:
        """The rows of JSON Lines, or of a table."""
        separator = "," if is_json else separator_of(text, _KEYS)
        names: dict[str, str] = {}
        for line, values in json_lines(text) if is_json else table_rows(text, separator):
            if not isinstance(values, dict):
                raise LineError(line, "one JSON object per line is needed")
            is_header = not (is_json or names)
            if is_json or is_header:
                names = self._known(values, line, "key" if is_json else "column")
            if not is_header:
                all_ = {key: values[name] for key, name in names.items()}
                given = {key: one for key, one in all_.items() if key in _NEEDED or one != ""}
                # Programs that write decimals with a comma separate cells by something else.
                yield _Row(line, given, "." if separator == "," else ",")

    def _known(self, names: Iterable[str], line: int, kind: str) -> dict[str, str]:
        """Names in the file by the known key that each is, whatever its capitals."""
        found: dict[str, str] = {}
        for name in names:
            key = name.strip().casefold()
            if key in found:
                raise LineError(line, f"there are two {kind}s {key!r}; leave one out")
            if key in _KEYS:
                found[key] = name
            elif near := get_close_matches(key, _KEYS, 1, _NEAR):
                raise LineError(
                    line, f"there is no {kind} {_quoted(name)}; did you mean {near[0]}?"
                )
            elif key:
                self.ignored[_quoted(name)] = None
        for key in _NEEDED:
            if key not in found:
                raise LineError(line, f"the {kind} {key!r} is missing")
        return found


def _quoted(text: str) -> str:
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f'"{one_line(short)}"'


def _checked(row: _Row) -> tuple[str, str, str | None]:
    """Video, question and id of a row."""
    values = row.values
    for key in _NEEDED:
        if key == "video" and isinstance(values[key], list):
            raise LineError(row.line, f"{refusal('several', BATCH)}")
        if not isinstance(values[key], str):
            raise LineError(row.line, f"{key!r} must be a text")
        if not values[key].strip():
            raise LineError(row.line, f"{key!r} is empty")
    given = values.get("id")
    if isinstance(given, bool) or not isinstance(given, (str, int, type(None))):
        raise LineError(row.line, "'id' must be a text or a whole number")
    for key in ("question", "id"):
        if isinstance(values.get(key), str) and not is_valid(values[key]):
            raise LineError(row.line, f"{key!r} has half a character (a surrogate)")
    try:
        os.fsencode(values["video"])
    except UnicodeEncodeError as error:
        raise LineError(row.line, "no file has such a 'video' name") from error
    return values["video"], values["question"].strip(), None if given is None else str(given)


def _part(row: _Row, sampling: Sampling) -> Sampling | None:
    """Sampling of the part that a row is about; None where it has no start and no end."""
    given = {key: row.values[key] for key in _TIMES if row.values.get(key) is not None}
    if not given:
        return None
    try:
        times = {f"{key}_s": _time(value, row.decimal) for key, value in given.items()}
    except UsageError as error:
        raise LineError(row.line, f"{error}") from error
    start_s = times.get("start_s", sampling.start_s)
    end_s = times.get("end_s", sampling.end_s)
    if end_s is not None and end_s <= (start_s or 0.0):
        raise LineError(
            row.line,
            f"the end {format_time(end_s)} must be later than the start "
            f"{format_time(start_s or 0.0)}",
        )
    return replace(sampling, start_s=start_s, end_s=end_s)


def _time(value: Any, decimal: str) -> float:
    """Seconds of a value: a number, or a text as `--start` takes it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return parse_time(text.replace(decimal, "."))
