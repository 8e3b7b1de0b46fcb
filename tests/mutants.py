"""Breaks the program at places that are drawn, and shows which test goes red each time.

    python -m tests.mutants                     as many as a turn, drawn by the commit
    python -m tests.mutants engine/kv_cache 50  of a folder or a file, so many
    python -m tests.mutants --seed 7 answer 20  others

Nothing is listed by hand: places are read off the syntax tree, and the tests that should notice off
the imports: those that name the module, of its own room first, the shortest files first; then all
of its room. It edits a copy of `src`, never the checkout. A survivor is a test that is missing, or
a place that makes no difference: its line ends with `# equivalent: why`, and isn't drawn any more.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.imports import PACKAGE, SRC, module_name, named

ROOT = SRC.parent
PRELOADED = ("av", "numpy", "PIL.Image", "rich.console", "torch", "typer")
WEIGHTS = Path("models", "mini", "checkpoint")  # large and never broken: linked, not copied
OF_A_TURN, MOST_FILES, PATIENCE_S = 60, 12, 120.0
LEAST_CAUGHT = 0.9

OPERATORS: dict[type[ast.AST], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.And: "or",
    ast.Or: "and", ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "*",
}  # fmt: skip
"""What stands in the place of an operator."""


@dataclass(frozen=True)
class Mutant:
    """A place of a file, and what stands there instead."""

    file: Path  # relative to the package
    line: int
    begin: int  # in the text of the file
    end: int
    instead: str

    def applied(self, text: str) -> str:
        """The text of the file with the place broken."""
        return text[: self.begin] + self.instead + text[self.end :]

    def shown(self, text: str) -> str:
        """The place, as a reader finds it."""
        return f"{self.file}:{self.line}: {text[self.begin : self.end]} => {self.instead}"


def mutants_of(file: Path, text: str) -> list[Mutant]:
    """Every place of a file that can be broken."""
    starts, lines = [0], text.splitlines(keepends=True)
    for line in lines:
        starts.append(starts[-1] + len(line))

    def place(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    found = []
    for node, begin, end, instead in _broken(ast.parse(text)):
        at, to = place(*begin), place(*end)
        if instead.startswith("operator"):  # between two parts, perhaps in brackets
            old = re.search(rf"{instead.split(' ', 2)[1]}", text[at:to])
            if old is None:
                continue
            at, to, instead = at + old.start(), at + old.end(), instead.split(" ", 2)[2]
        if "# equivalent:" not in lines[node.lineno - 1]:
            found.append(Mutant(file, node.lineno, at, to, instead))
    return found


Place = tuple[int, int]


def _broken(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, Place, Place, str]]:
    """Of each way to break a place its node, where it begins and ends, and what is there then."""
    for node in _run(tree):
        whole = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
                yield node, _end(left), _begin(right), _operator(op)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                yield node, _end(left), _begin(right), _operator(op)
            case ast.BoolOp(op=op, values=[left, right, *_]):
                yield node, _end(left), _begin(right), _operator(op)
            case ast.UnaryOp(op=ast.Not()):
                yield node, whole[0], (node.lineno, node.col_offset + len("not ")), ""
            case ast.Constant(value=bool() as value):
                yield node, *whole, str(not value)
            case ast.Constant(value=int() as value):
                yield node, *whole, str(value + 1)
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                if not isinstance(test, ast.NamedExpr):  # which would need parentheses
                    yield test, _begin(test), _begin(test), "not "
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield node, _begin(value), _end(value), "None"
            case ast.Expr(value=ast.Call()) | ast.AugAssign():
                yield node, *whole, "pass"


SYMBOLS: dict[type[ast.AST], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: r"is\s+not", ast.In: "in", ast.NotIn: r"not\s+in", ast.And: "and",
    ast.Or: "or", ast.Add: r"\+", ast.Sub: "-", ast.Mult: r"\*", ast.Div: "/", ast.FloorDiv: "//",
}  # fmt: skip


def _operator(op: ast.AST) -> str:
    return f"operator {SYMBOLS[type(op)]} {OPERATORS[type(op)]}"


def _begin(node: ast.expr) -> Place:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> Place:
    return node.end_lineno or 0, node.end_col_offset or 0


def _run(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """What is run: neither annotations, decorators and texts, nor what is for type checkers."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.JoinedStr) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.expr | ast.stmt):
                yield child
            yield from _run(child)


def noticing(file: Path) -> list[str]:
    """The files of tests that should notice: those that name the module, of its room first."""
    module = module_name(SRC / PACKAGE / file, SRC)
    room = file.parts[0]

    def names(path: Path) -> bool:
        return any(f"{name}.".startswith(f"{module}.") for name in named(path, "tests"))

    naming = [path for path in (ROOT / "tests").rglob("test_*.py") if names(path)]
    if not naming:  # nobody names it: whoever tests its room
        naming = [*(ROOT / "tests" / room).rglob("test_*.py")]

    def order(path: Path) -> tuple[bool, bool, int]:
        return file.stem not in path.stem, room not in path.parts, path.stat().st_size

    return [str(path.relative_to(ROOT)) for path in sorted(naming, key=order)[:MOST_FILES]]


def drawn(below: str, count: int, seed: str) -> list[tuple[Mutant, str]]:
    """So many mutants of the files below a place, each with the text of its file."""
    texts = {
        path.relative_to(SRC / PACKAGE): path.read_text(encoding="utf-8")
        for path in sorted((SRC / PACKAGE).rglob("*.py"))
        if f"{path.relative_to(SRC / PACKAGE)}".startswith(below)
    }
    every = [(one, text) for file, text in texts.items() for one in mutants_of(file, text)]
    return Random(seed).sample(every, min(count, len(every)))


def red(tests: Sequence[str], file: Path, text: str, first: bool = True) -> list[str]:
    """The tests that go red where a file has this text, or the first of them."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, PACKAGE)
        ignored = shutil.ignore_patterns(WEIGHTS.name, "__pycache__")
        shutil.copytree(SRC / PACKAGE, copy, ignore=ignored)
        (copy / WEIGHTS).symlink_to(SRC / PACKAGE / WEIGHTS)
        (copy / file).write_text(text, encoding="utf-8")
        output = Path(folder, "output")
        # A fork has torch already: most runs are shorter than its import.
        how = [*(["-x"] if first else []), "-q", "--tb=no", "-p", "no:cacheprovider", "-m"]
        given = (folder, [*how, "not slow and not extended and not cuda", *tests], output)
        run = multiprocessing.get_context("fork").Process(target=_pytest, args=given)
        run.start()
        run.join(PATIENCE_S)
        if run.is_alive():
            run.kill()
            run.join()
            return ["no end in time"]
        printed = output.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^(?:FAILED|ERROR) (\S+)", printed, re.MULTILINE)
    return found or ([] if re.search(r"\d+ passed", printed) else [f"broken: {printed[-200:]}"])


def _pytest(folder: str, arguments: Sequence[str], output: Path) -> None:
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = folder  # for the processes that tests start
    sys.path.insert(0, folder)
    pytest.main([*arguments])


def main(arguments: Sequence[str]) -> int:
    """Try those that are drawn; the exit code is 1 if too many survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("below", nargs="?", default="", help="a folder or file of the package")
    parser.add_argument("count", nargs="?", type=int, default=OF_A_TURN)
    parser.add_argument("--seed", help="in place of the commit")
    given = parser.parse_args(arguments)
    head = ("git", "rev-parse", "HEAD")
    seed = given.seed or subprocess.run(head, cwd=ROOT, capture_output=True, text=True).stdout
    for library in PRELOADED:
        importlib.import_module(library)
    caught, chosen = 0, drawn(given.below, given.count, seed)
    for mutant, text in chosen:
        begun = time.monotonic()
        broken, room = mutant.applied(text), ROOT / "tests" / mutant.file.parts[0]
        found = red(noticing(mutant.file), mutant.file, broken)
        if not found and room.is_dir():
            found = red([str(room)], mutant.file, broken)
        caught += bool(found)
        said = f"caught    {found[0]}" if found else "SURVIVED "
        print(f"{mutant.shown(text)}\n    {said} {time.monotonic() - begun:.0f} s", flush=True)
    print(f"{caught} of {len(chosen)} mutants caught")
    return int(caught < LEAST_CAUGHT * len(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
