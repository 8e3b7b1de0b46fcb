"""Reads questions from a file: JSON Lines or CSV.

Keys: video, question, and optionally id, start and end (of the part of the video that is asked
about).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import UsageError
from dycoke_cli.request import Request
from dycoke_cli.runs.discovery import named
from dycoke_cli.storage.lfs_pointer import LFS_POINTER, starts_lfs_pointer
from dycoke_cli.unicode import is_valid
from dycoke_cli.video.sampling import Sampling, format_time, parse_time

_KEYS = ("video", "question", "id", "start", "end")
_TIMES = ("start", "end")
_NEEDED = ("video", "question")
_LONGEST_KEY = 40  # in a sentence


@dataclass(frozen=True)
class _Row:
    """A question as it stands in the file, not yet looked at."""

    line: int
    values: dict[str, Any]


def read_questions(
    content: bytes, folder: str, name: str, request: Request
) -> list[tuple[Ask, ...]]:
    """The questions of a file, those about one video or part of it together, in the file's order.

    Args:
        content: JSON Lines or CSV with a header.
        folder: what the paths of videos are relative to.
        name: what to call the file in errors.
        request: how they are asked; a part is sampled likewise, between its own start and end.

    Raises:
        UsageError: something in it is wrong; the sentence has the line.
    """
    if starts_lfs_pointer(content):
        raise UsageError(f"{name} {LFS_POINTER}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{name}, line {line}: that isn't UTF-8 text") from error
    rows = _json_rows if text.lstrip().startswith("{") else _csv_rows
    videos: dict[str, Footage] = {}
    # By video and sampling; each question once.
    groups: dict[tuple[str, Sampling | None], dict[Ask, None]] = {}
    seen: dict[str, int] = {}
    for row in rows(text, name):
        path, question, id_ = _checked(row, name)
        if id_ is not None:
            if id_ in seen:
                raise UsageError(
                    f"{name}, line {row.line}: the id {id_!r} is that of line "
                    f"{seen[id_]}, too; ids must differ"
                )
            seen[id_] = row.line
        video = named(path, folder)
        video = videos.setdefault(video.place, video)
        part = _part(row, name, request.sampling)
        ask = Ask(question, request, (video,), id=id_)
        if part is not None:
            own = replace(request, sampling=part)
            ask = replace(ask, request=own, part_s=(part.start_s, part.end_s))
        groups.setdefault((video.place, part), {})[ask] = None
    if not videos:
        raise UsageError(f"{name} has no questions; it needs one per line, with video and question")
    return [tuple(asks) for asks in groups.values()]


def _json_rows(text: str, name: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{name}, line {number}: that isn't JSON ({error})") from error
        except RecursionError as error:
            raise UsageError(
                f"{name}, line {number}: that is nested too deeply; an object with texts is needed"
            ) from error
        if not isinstance(values, dict):
            raise UsageError(f"{name}, line {number}: one JSON object per line is needed")
        _check_keys(values, name, number, "key")
        yield _Row(number, values)


def _csv_rows(text: str, name: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    begins = 1
    try:
        for values in reader:
            number, begins = begins, reader.line_num + 1
            if not any(value.strip() for value in values):
                continue
            if header is None:
                header = [value.strip() for value in values]
                _check_keys(dict.fromkeys(header), name, number, "column")
                continue
            if len(values) != len(header):
                raise UsageError(
                    f"{name}, line {number}: {len(values)} values under {len(header)} columns; "
                    "put quotes around a value with a comma"
                )
            row = dict(zip(header, values, strict=True))
            optional = {key: value for key, value in row.items() if key in _NEEDED or value}
            yield _Row(number, optional)
    except csv.Error as error:
        raise UsageError(f"{name}, line {reader.line_num}: that isn't CSV ({error})") from error


def _check_keys(values: dict[str, Any], name: str, line: int, kind: str) -> None:
    for key in values:
        if key not in _KEYS:
            raise UsageError(
                f"{name}, line {line}: there is no {kind} {key[:_LONGEST_KEY]!r}; "
                f"there are {', '.join(_KEYS)}"
            )
    for key in _NEEDED:
        if key not in values:
            raise UsageError(f"{name}, line {line}: the {kind} {key!r} is missing")


def _checked(row: _Row, name: str) -> tuple[str, str, str | None]:
    """Video, question and id of a row."""
    values = row.values
    for key in _NEEDED:
        if not isinstance(values[key], str):
            raise UsageError(f"{name}, line {row.line}: {key!r} must be a text")
        if not values[key].strip():
            raise UsageError(f"{name}, line {row.line}: {key!r} is empty")
    given = values.get("id")
    if isinstance(given, bool) or not isinstance(given, (str, int, type(None))):
        raise UsageError(f"{name}, line {row.line}: 'id' must be a text or a whole number")
    for key in ("question", "id"):
        if isinstance(values.get(key), str) and not is_valid(values[key]):
            raise UsageError(f"{name}, line {row.line}: {key!r} has half a character (a surrogate)")
    try:
        os.fsencode(values["video"])
    except UnicodeEncodeError as error:
        raise UsageError(f"{name}, line {row.line}: no file has such a 'video' name") from error
    return values["video"], values["question"].strip(), None if given is None else str(given)


def _part(row: _Row, name: str, sampling: Sampling) -> Sampling | None:
    """Sampling of the part that a row is about; None where it has no start and no end."""
    given = {key: row.values[key] for key in _TIMES if row.values.get(key) is not None}
    if not given:
        return None
    try:
        times = {f"{key}_s": _time(value) for key, value in given.items()}
    except UsageError as error:
        raise UsageError(f"{name}, line {row.line}: {error}") from error
    start_s = times.get("start_s", sampling.start_s)
    end_s = times.get("end_s", sampling.end_s)
    if end_s is not None and end_s <= (start_s or 0.0):
        raise UsageError(
            f"{name}, line {row.line}: the end {format_time(end_s)} must be later than the start "
            f"{format_time(start_s or 0.0)}"
        )
    return replace(sampling, start_s=start_s, end_s=end_s)


def _time(value: Any) -> float:
    """Seconds of a value: a number, or a text as `--start` takes it."""
    return parse_time(value if isinstance(value, str) else json.dumps(value))
