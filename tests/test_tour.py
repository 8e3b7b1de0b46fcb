"""docs/dev/tour.md: a question takes the way that the page shows, file by file."""

from __future__ import annotations

import ast
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "dycoke_cli"
PAGE = (ROOT / "docs" / "dev" / "tour.md").read_text("utf-8")


@dataclass(frozen=True)
class Stop:
    """A row of the page's table."""

    file: Path
    function: str
    code: str

    @property
    def lines(self) -> list[int]:
        """Where its code stands in its function."""
        source = self.file.read_text("utf-8")
        node: Any = ast.parse(source)
        for name in self.function.split("."):
            (node,) = (each for each in node.body if getattr(each, "name", None) == name)
        lines = source.splitlines()
        within = range(node.lineno, node.end_lineno + 1)
        return [number for number in within if lines[number - 1].strip() == self.code]


STOPS = [
    Stop(SRC / file, function, code)
    for file, function, code in re.findall(
        r"^\| \d+ \| `([^`]+)`, `([^`]+)` \| `([^`]+)` \|", PAGE, re.MULTILINE
    )
]


def name_of(frame: FrameType) -> list[str]:
    """File and function of a frame of ours; a module that is imported has none."""
    code = frame.f_code
    is_ours = code.co_filename.startswith(f"{SRC}/") and code.co_name != "<module>"
    return [f"{code.co_filename} {code.co_qualname}"] if is_ours else []


def test_the_tour_has_twelve_files_one_after_the_other() -> None:
    assert len({stop.file for stop in STOPS}) == len(STOPS) == 12
    assert re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE) == [str(n) for n in range(1, 13)]


@pytest.mark.slow
def test_the_question_reaches_every_line_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    where = {(str(stop.file), stop.lines[0]): number for number, stop in enumerate(STOPS, 1)}
    files = {file for file, _ in where}
    reached: list[int] = []
    above: list[str] = []  # functions of ours above the selection

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in files:
            return None
        number = where.get((frame.f_code.co_filename, frame.f_lineno))
        if event == "line" and number is not None and number not in reached:
            reached.append(number)
            while number == 8 and (caller := frame.f_back) is not None:
                frame = caller
                above.extend(name_of(frame))
        return trace

    monkeypatch.chdir(ROOT)
    command = re.search(r"-m dycoke_cli (.*?) \"(.*)\"", PAGE)
    from dycoke_cli.cli.main import main

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        assert main([*command[1].split(), command[2], "--quiet"]) == 0
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
    # The frames are read while the model loads: either may be first.
    assert sorted(reached) == [*range(1, 13)]
    assert [number for number in reached if number not in (3, 4)] == [1, 2, *range(5, 13)]
    assert len(above) <= 14, above
