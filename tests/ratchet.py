"""How much there is of everything that should become less; the table of what may be is ratchet.txt.

    python -m tests.ratchet                   how far the source is from its aims
    python -m tests.ratchet --write           lower the numbers of the table to today's
    python -m tests.ratchet --raise "REASON"  raise those that are exceeded, and say why

With --no-ask the source alone is measured: no question is asked and no test collected, which takes
a minute of a processor.
A line of the table is a name, the most that may be, and the reason of the last change. Where two
branches change one line, git keeps both (.gitattributes), and the larger number counts.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.imports import PACKAGE, SRC, import_graph, nodes

TABLE = Path(__file__).with_suffix(".txt")
# Rounded up to these, so that not every mend of a line needs a reason.
STEPS = {"tests.lines": 500, "lines": 100, "statements": 10, "cases": 50}
SHORT = 3  # lines of a function's body

# Who calls these drives the model itself. Checks and measurements of `cli/` and `verification/`
# hold a session of their own, and `engine/` is what is driven.
DRIVING = {"VideoSession", "ReadAhead", "ask_together"}
DRIVEN = ("cli", "engine", "verification")
SCHEDULING = ("runs/", "server/local/")

BESIDE = ("tests", "benchmarks")
"""Folders beside the source whose lines are counted."""
NOT_OF_SOURCE = ("ask.", "tests.cases")
"""How the names of numbers begin that are measured on their own."""

# What a newcomer reads: one question, from the engine to the generated tokens.
CORE = (
    *("loop/engine.py", "ask.py", "video/decoded_clip.py", "models/prompts/stock_prompt.py"),
    *("compression/base.py", "compression/ttm.py", "compression/methods/dycoke.py"),
    *("engine/attach.py", "engine/generation.py"),
)

Numbers = dict[str, int]


class Row(NamedTuple):
    """What may be at most, and why."""

    most: int
    reason: str


class Bar(NamedTuple):
    """A line of the overview: names of numbers, or what is added up of all packages; the aims."""

    title: str
    names: tuple[str, ...]
    aims: tuple[int, ...]


BARS = (
    Bar("modules that drive a session", ("whole.drivers",), (1,)),
    Bar(
        "scheduling: files, lines", ("whole.scheduling_files", "whole.scheduling_lines"), (28, 4300)
    ),
    Bar("frames above keep_indices, their files", ("ask.frames", "ask.frame_files"), (12, 10)),
    Bar("lines of the core", ("whole.core_lines",), (2500,)),
    Bar("files entered by one ask", ("ask.entered",), (130,)),
    Bar("files, lines, statements", ("files", "whole.lines", "statements"), (270, 66000, 32000)),
    Bar("dataclasses, modules with one importer", ("dataclasses", "one_importer"), (300, 60)),
    Bar("functions of three lines or fewer", ("whole.short_functions",), ()),
    Bar("lines of tests, of benchmarks", ("tests.lines", "benchmarks.lines"), (62000, 8000)),
    Bar("cases of make test", ("tests.cases",), (6000,)),
)


def of_source(src: Path = SRC) -> Numbers:
    """The numbers that are read off the source."""
    root = src / PACKAGE
    found: Counter[str] = Counter()
    for path in root.rglob("*.py"):
        place = path.relative_to(root)
        package = place.parts[0] if len(place.parts) > 1 else PACKAGE
        lines, drives = path.read_text(encoding="utf-8").count("\n"), False
        for node in nodes(path):
            if isinstance(node, ast.stmt) and not _is_docstring(node):
                found[f"{package}.statements"] += 1
            if isinstance(node, ast.ClassDef):
                found[f"{package}.dataclasses"] += _is_dataclass(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found["whole.short_functions"] += _lines_of_body(node) <= SHORT
            elif isinstance(node, ast.Call) and package not in DRIVEN:
                drives |= ast.unparse(node.func) in DRIVING
        found[f"{package}.files"] += 1
        found["whole.lines"] += lines
        found["whole.core_lines"] += lines * (place.as_posix() in CORE)
        found["whole.drivers"] += drives
        if drives or place.as_posix().startswith(SCHEDULING):
            found["whole.scheduling_files"] += 1
            found["whole.scheduling_lines"] += lines
    graph = import_graph(src, PACKAGE)
    packages = {module.rpartition(".")[0] for module in graph}
    importers = Counter(other for known in graph.values() for other in known)
    for module in graph.keys() - packages:
        package, *below = module.split(".")[1:]
        if importers[module] == 1:
            found[f"{package if below else PACKAGE}.one_importer"] += 1
    for folder in BESIDE:
        for path in (src.parent / folder).rglob("*.py"):
            found[f"{folder}.lines"] += path.read_text(encoding="utf-8").count("\n")
    return {name: _rounded_up(name, number) for name, number in found.items() if number}


def of_cases(number: int) -> Numbers:
    """The number of the cases that `make test` runs."""
    return {"tests.cases": _rounded_up("tests.cases", number)}


def of_collection() -> Numbers:
    """The same, of tests that are collected in a process of their own."""
    command = ("-m", "pytest", "--collect-only", "-q", "-p", "tests.limits", "-m", "not extended")
    done = subprocess.run(
        [sys.executable, *command], cwd=SRC.parent, capture_output=True, text=True, check=True
    )
    return of_cases(sum("::" in line for line in done.stdout.splitlines()))


def of_one_ask() -> Numbers:
    """The numbers of one question of the bundled model; it is asked in a process of its own."""
    with tempfile.TemporaryDirectory() as own:
        done = subprocess.run(
            [sys.executable, "-m", "tests.one_ask"],
            cwd=SRC.parent,
            env={
                **os.environ,
                "DYCOKE_CACHE": own,
                "DYCOKE_RUNTIME": own,
                "DYCOKE_SETTINGS": f"{own}/s",
            },
            stdout=subprocess.PIPE,
            check=True,
        )
    numbers: Numbers = json.loads(done.stdout.splitlines()[-1])
    return numbers


def table() -> dict[str, Row]:
    """The rows of the table by name."""
    rows: dict[str, Row] = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        name, most, reason = line.split(maxsplit=2)
        row = Row(int(most), reason)
        rows[name] = max(row, rows.get(name, row))
    return rows


def exceeded(numbers: Mapping[str, int]) -> Numbers:
    """The numbers that are larger than the table allows."""
    rows = table()
    return {
        name: number
        for name, number in sorted(numbers.items())
        if number > (rows[name].most if name in rows else 0)
    }


def check(numbers: Mapping[str, int]) -> None:
    """Check that nothing has become more."""
    rows = table()
    more = [
        f"{name} is {number}, and may be {rows[name].most if name in rows else 0}"
        for name, number in exceeded(numbers).items()
    ]
    flag = "" if "ask.entered" in numbers else "--no-ask "
    assert not more, (
        f"{'; '.join(more)}. Take something away, or say why there has to be more: "
        f'python -m tests.ratchet {flag}--raise "REASON"'
    )


def write(numbers: Mapping[str, int], reason: str | None) -> None:
    """Lower the table to these numbers, or, with a reason, raise it where they are larger."""
    rows = table() if TABLE.exists() else {}
    if reason is None:
        rows = {
            name: row._replace(most=min(row.most, numbers.get(name, row.most)))
            for name, row in rows.items()
            if name in numbers or name.startswith(NOT_OF_SOURCE)
        }
    else:
        rows |= {name: Row(number, reason) for name, number in exceeded(numbers).items()}
    lines = [f"{name} {most} {why}\n" for name, (most, why) in sorted(rows.items())]
    TABLE.write_text("".join(lines), encoding="utf-8")


def overview(numbers: Mapping[str, int]) -> Iterable[str]:
    """The bars: what there is now, and the aim."""
    yield f"{'':<44}{'now':>22}{'aim':>22}"
    for title, names, aims in BARS:
        now = [_sum(numbers, name) for name in names]
        if any(now):  # else it wasn't measured
            yield f"{title:<44}{_joined(now):>22}{_joined(aims):>22}"


def _sum(numbers: Mapping[str, int], name: str) -> int:
    """A number, or that of each package added up."""
    return sum(n for each, n in numbers.items() if name in (each, each.partition(".")[2]))


def _joined(numbers: Iterable[int]) -> str:
    return ", ".join(f"{number:,}" for number in numbers)


def _rounded_up(name: str, number: int) -> int:
    step = next((step for of, step in STEPS.items() if name.endswith(of)), 1)
    return -(-number // step) * step


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any(ast.unparse(each).partition("(")[0] == "dataclass" for each in node.decorator_list)


def _lines_of_body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[_is_docstring(node.body[0]) :]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.ratchet")
    parser.add_argument("--write", action="store_true", help="lower the numbers of the table")
    parser.add_argument("--raise", dest="reason", help="raise those that are exceeded, and why")
    parser.add_argument("--no-ask", action="store_true", help="measure the source alone")
    given = parser.parse_args()
    numbers = of_source() | ({} if given.no_ask else of_one_ask() | of_collection())
    if given.write:
        write(numbers, None)
    if given.reason is not None:
        write(numbers, given.reason)
    for line in overview(numbers):
        print(line)


if __name__ == "__main__":
    main()
