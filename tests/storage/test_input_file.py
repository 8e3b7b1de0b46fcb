"""Files that are read: what is no file is refused at once, whoever reads it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dycoke_cli.storage import input_file
from dycoke_cli.storage.input_file import (
    first_bytes,
    open_file,
    read_file,
    read_lines,
    read_text,
    table_rows,
)
from tests.imports import PACKAGE, SRC

KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "Not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "Not a regular file"),
    "folder": (Path.mkdir, "Is a directory"),
    "nothing": (lambda path: path.symlink_to("gone"), "No such file or directory"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    make, why = KINDS[kind]
    make(tmp_path / "one")
    assert first_bytes(tmp_path / "one", 1) == b""
    for read in (open_file, read_file, read_text, lambda path: [*read_lines(path)]):
        with pytest.raises(OSError, match=why):
            read(tmp_path / "one")


def test_a_file_has_as_many_bytes_as_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one"
    (tmp_path / "link").symlink_to(path)
    path.write_bytes(content := b"\xef\xbb\xbfa\r\n" * 2**17)
    assert read_file(tmp_path / "link", len(content)) == content
    assert b"".join(read_lines(path)) == content
    opened = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match=r"Larger than 0\.5 MiB") as refused:
        read_file(path, 2**19)
    assert len(os.listdir("/dev/fd")) == opened, refused  # which keeps what isn't closed
    with path.open("ab") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="Larger than 1024 MiB"):
        read_text(path)
    monkeypatch.setattr(input_file, "_LONGEST_LINE", 2**20)
    with pytest.raises(OSError, match="Larger than 1 MiB"):
        [*read_lines(path)]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="Larger than 1 MiB"):
        open_file(tmp_path / "a", 2**20)
    open_file(tmp_path / "a", 2**40).close()


def test_a_file_that_hides_its_size_is_read_up_to_the_limit() -> None:
    """Those in /proc say that they have 0 bytes."""
    assert f"Pid:\t{os.getpid()}\n".encode() in read_file("/proc/self/status")
    with pytest.raises(OSError, match="Larger than"):
        read_file("/proc/self/status", 16)


def test_text_is_utf_8(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"\xef\xbb\xbf\xc3\xa9\r\n")
    assert read_text(tmp_path / "one") == "é\r\n"
    (tmp_path / "one").write_bytes(b"\xe9")
    with pytest.raises(OSError, match="Not UTF-8 text"):
        read_text(tmp_path / "one")


# Files of the system and of the package, and those that are opened in a way of their own.
OTHERS = {
    *(
        "version.py",
        "resources.py",
        "kernels/processor.py",
        "kernels/replacing.py",
        "processes/sandbox.py",
    ),
    *("models/catalog.py", "models/prompts/chat.py", "evaluation/presets.py"),
    "inspect/inspection.py",
    "evaluation/datasets/shapes.py",
    "video/live_stream.py",  # pipes by their descriptors
    *("storage/input_file.py", "storage/output_file.py"),
}


def test_rows_have_the_numbers_of_their_first_lines() -> None:
    rows = [*table_rows('a,b\n1,"2\n3"\n\n4,5\n', ",")]
    assert rows == [
        (1, {"a": "a", "b": "b"}),
        (2, {"a": "1", "b": "2\n3"}),
        (5, {"a": "4", "b": "5"}),
    ]


OPENING = re.compile(r"\b(open|read_bytes|read_text)\(")


def test_everything_else_is_read_by_these_functions() -> None:
    found = set()
    for path in (SRC / PACKAGE).rglob("*.py"):
        text = path.read_text("utf-8")
        if not OPENING.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and _reads(node):
                found.add(path.relative_to(SRC / PACKAGE).as_posix())
    assert found == OTHERS


def _reads(call: ast.Call) -> bool:
    """Whether a call is `read_bytes()` or `read_text()` of a path, or an `open` for reading."""
    name, values = ast.unparse(call.func), [getattr(one, "value", None) for one in call.args]
    modes = [mode for mode in values if isinstance(mode, str) and set(mode) <= set("rwxabt+")]
    if name.endswith((".read_bytes", ".read_text")):
        return not name.startswith("input_file.")
    if name in ("open", "gzip.open") or (name.endswith(".open") and modes):
        return not any({*mode} & {*"wxa"} for mode in modes)
    return False
