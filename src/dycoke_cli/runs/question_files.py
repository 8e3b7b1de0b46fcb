"""Reads questions from a file: JSON Lines, or CSV with commas or semicolons.

Keys: video, question, and optionally id, start and end (of the part of the video that is asked
about). Others are ignored, and a note names them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import UsageError
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
from dycoke_cli.video.sampling import Sampling, parse_time

_KEYS = ("video", "question", "id", "start", "end")
_LONGEST = 40  # of what a sentence quotes
_ZIP = b"PK\x03\x04"  # begins .xlsx and .ods


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
    videos: dict[str, Footage] = {}
    # By video and sampling; each question once.
    groups: dict[tuple[str, Sampling | None], dict[Ask, None]] = {}
    ids: dict[str, int] = {}  # their lines
    ignored: dict[str, None] = {}
    if content.startswith(_ZIP):
        raise UsageError(f"{name} is a workbook or an archive: save it as CSV in UTF-8")
    with naming(name):
        text = text_of(content)
        begin = text.lstrip()[:1]
        if begin == "[":
            raise UsageError(f"{name} is a JSON array; write one object per line, without brackets")
        is_json = begin == "{"
        rows = json_lines(text) if is_json else table_rows(text, separator_of(text, _KEYS))
        for number, (line, row) in enumerate(rows):
            values = _known(row, line, ignored)
            if not (is_json or number):
                continue  # the header
            path, question, id_ = _checked(values, line)
            if id_ is not None and ids.setdefault(id_, line) != line:
                raise LineError(
                    line, f"the id {id_!r} is that of line {ids[id_]}, too; ids must differ"
                )
            video = named(path, folder)
            video = videos.setdefault(video.place, video)
            part = _part(values, line, request.sampling)
            ask = Ask(question, request, (video,), id=id_, line=line)
            if part is not None:
                own = replace(request, sampling=part)
                ask = replace(ask, request=own, part_s=(part.start_s, part.end_s))
            groups.setdefault((video.place, part), {})[ask] = None
    if not videos:
        raise UsageError(f"{name} has no questions; it needs one per line, with video and question")
    if note is not None and ignored:
        note(f"{name}: ignored {', '.join(ignored)}; read {', '.join(_KEYS)}")
    return [tuple(asks) for asks in groups.values()]


def _known(row: Any, line: int, ignored: dict[str, None]) -> dict[str, Any]:
    """The values of the known keys of a row, whatever the capitals of their names.

    Args:
        ignored: receives the other names, quoted.
    """
    if not isinstance(row, dict):
        raise LineError(line, "one JSON object per line is needed")
    found: dict[str, Any] = {}
    for name, value in row.items():
        key = name.strip().casefold()
        if key in found:
            raise LineError(line, f"there are two of {key!r}; leave one out")
        if key in _KEYS:
            found[key] = value
        elif key:
            short = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
            ignored[f'"{one_line(short)}"'] = None
    for key in ("video", "question"):
        if key not in found:
            has = ", ".join([*map(repr, found), *ignored]) or "nothing"
            raise LineError(
                line,
                f"{key!r} is missing, and what is there is {has}; a file of questions alone, one "
                "per line, is read by -q - < FILE",
            )
    return found


def _checked(values: dict[str, Any], line: int) -> tuple[str, str, str | None]:
    """Video, question and id of a row."""
    for key in ("video", "question"):
        if key == "video" and isinstance(values[key], list):
            raise LineError(
                line,
                "a question of a batch is about one video; `dycoke ask VIDEO VIDEO QUESTION` shows "
                "several together",
            )
        if not isinstance(values[key], str):
            raise LineError(line, f"{key!r} must be a text")
        if not values[key].strip():
            raise LineError(line, f"{key!r} is empty")
    given = values.get("id")
    if isinstance(given, bool) or not isinstance(given, (str, int, type(None))):
        raise LineError(line, "'id' must be a text or a whole number")
    for key in ("question", "id"):
        if isinstance(values.get(key), str) and not is_valid(values[key]):
            raise LineError(line, f"{key!r} has half a character (a surrogate)")
    try:
        os.fsencode(values["video"])
    except UnicodeEncodeError as error:
        raise LineError(line, "no file has such a 'video' name") from error
    return values["video"], values["question"].strip(), None if given in (None, "") else str(given)


def _part(values: dict[str, Any], line: int, sampling: Sampling) -> Sampling | None:
    """Sampling of the part that a row is about; None where it has no start and no end."""
    given = {key: values[key] for key in ("start", "end") if values.get(key) not in (None, "")}
    if not given:
        return None
    try:
        # A number, or a text as `--start` takes it.
        times: dict[str, Any] = {
            f"{key}_s": parse_time(one if isinstance(one, str) else json.dumps(one))
            for key, one in given.items()
        }
        return replace(sampling, **times)
    except UsageError as error:
        raise LineError(line, f"{error}") from error
