"""Files of what was measured, one JSON object per line; a killed run may leave half a line.

Those of docs/data are compressed with xz.
"""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, which need not be there; a line that was left half done is skipped."""
    if not file.exists():
        return
    content = file.read_bytes()
    for line in (lzma.decompress(content) if file.suffix == ".xz" else content).splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # the end of a run that was killed
            continue


def write_compressed(file: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write the objects in place of what the file has; the same ones make the same bytes."""
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    file.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def replace_lines(file: Path, table: str, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write lines, which get the name of their table, in place of what a file has of that table."""
    others = [line for line in read_lines(file) if line["table"] != table]
    rows = ({"table": table, **line} for line in lines)
    write_compressed(file, sorted([*others, *rows], key=lambda line: line["table"]))


def append_line(file: Path, content: Mapping[str, Any]) -> None:
    """Write an object on a line of its own, whatever half of one the file ends in."""
    with file.open("ab+") as opened:
        whole = opened.tell() == 0
        if not whole:
            opened.seek(-1, os.SEEK_END)
            whole = opened.read(1) == b"\n"
        opened.write(b"" if whole else b"\n")
        opened.write(json.dumps(content).encode() + b"\n")
