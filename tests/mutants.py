"""Breaks the program at places that are drawn, and shows which test goes red each time.

    python -m tests.mutants                     as many as a turn, drawn by the commit
    python -m tests.mutants engine/kv_cache 50  of a folder or a file, so many
    python -m tests.mutants --seed 7 answer 20  others

Nothing is listed by hand: places are read off the syntax tree, and the tests that should notice off
one run of all: those that reach the place and are quick and reach few others, first those of its
room; then all of the room, and the others, until the patience with a mutant is over. It edits a
copy of `src` for each core, never the checkout. A survivor is a test that is missing, or a place
that makes no difference: its line ends with `# equivalent: why`, and isn't drawn any more. With
`--minutes` none begins later.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from random import Random

from tests import warm
from tests.imports import PACKAGE, SRC

ROOT = SRC.parent
WEIGHTS = Path("models", "mini", "checkpoint")  # large and never broken: linked, not copied
OF_A_TURN, MOST_TESTS = 60, 40
# Seconds: of the tests of one mutant together, and of a test, which is a hang beyond that.
PATIENCE_S, HANG_S = 80.0, 30
LEAST_CAUGHT, LEAST_TRIED = 0.9, 12
NONE_COLLECTED = 5  # an exit code of pytest
OVERHEAD_S = 0.03  # of a test

OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"), ast.In: ("in", "not in"), ast.NotIn: (r"not\s+in", "in"),
    ast.And: ("and", "or"), ast.Or: ("or", "and"), ast.Add: (r"\+", "-"), ast.Sub: ("-", "+"),
    ast.Mult: (r"\*", "+"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
}  # fmt: skip
"""How an operator is written, and what stands in its place."""

RECORDING = """
import builtins, os
_seen = set()
def _reached(number, value=None):
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" (")[0].partition("[")[0]
    line = f"{number} {test}"
    if test and line not in _seen:
        _seen.add(line)
        try:
            file = os.open(%r, os.O_WRONLY | os.O_APPEND)
            os.write(file, line.encode() + b"\\n")
            os.close(file)
        except OSError:
            pass  # of a sandbox
    return value
builtins.__reached__ = _reached
"""
"""Stands at the end of the package's first file while it is found out which tests reach a place."""


@dataclass(frozen=True)
class Mutant:
    """A place of a file, and what stands there instead."""

    file: Path  # relative to the package
    line: int
    begin: int  # in the text of the file
    end: int
    instead: str
    whole: tuple[int, int]  # where what is run begins and ends
    is_statement: bool

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

    found, tree = [], ast.parse(text)
    patterns = {n for p in ast.walk(tree) if isinstance(p, ast.pattern) for n in ast.walk(p)}
    for node, begin, end, instead in _broken(tree):
        at, to = place(*begin), place(*end)
        run = node.value if isinstance(node, ast.Return) and node.value else node
        whole = place(*_begin(run)), place(*_end(run))
        if instead.startswith("operator"):  # between two parts, perhaps in brackets
            old = re.search(instead.split(" ", 2)[1], text[at:to])
            if old is None:
                continue
            at, to, instead = at + old.start(), at + old.end(), instead.split(" ", 2)[2]
        if "# equivalent:" not in lines[node.lineno - 1]:
            is_statement = isinstance(run, ast.stmt)
            whole = (0, 0) if run in patterns else whole
            found.append(Mutant(file, node.lineno, at, to, instead, whole, is_statement))
    return found


def recording(text: str, numbered: Sequence[tuple[int, Mutant]]) -> str:
    """The text of a file that tells of each of these places when it is run."""
    parts: list[tuple[int, int, str]] = []
    for number, one in numbered:
        begin, end = one.whole
        if one.is_statement:
            parts.append((begin, -end, f"__reached__({number}); "))
        elif end:  # what is within others stands within them
            parts += [(begin, -end, f"__reached__({number}, ("), (end, -begin - len(text), "))")]
    for at, _, part in sorted(parts, reverse=True):
        text = text[:at] + part + text[at:]
    return text


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


def _operator(op: ast.AST) -> str:
    return "operator {} {}".format(*OPERATORS[type(op)])


def _begin(node: ast.expr | ast.stmt) -> Place:
    return node.lineno, node.col_offset


def _end(node: ast.expr | ast.stmt) -> Place:
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


def drawn(below: str, count: int, seed: str) -> list[tuple[Mutant, str]]:
    """So many mutants of the files below a place, each with the text of its file."""
    texts = {
        path.relative_to(SRC / PACKAGE): path.read_text(encoding="utf-8")
        for path in sorted((SRC / PACKAGE).rglob("*.py"))
        if f"{path.relative_to(SRC / PACKAGE)}".startswith(below)
    }
    every = [(one, text) for file, text in texts.items() for one in mutants_of(file, text)]
    return Random(seed).sample(every, min(count, len(every)))


class _Pytest(warm.Popen):
    """A process that has the libraries already: most runs are shorter than the import of torch."""

    imported = (*warm.IMPORTED, "hypothesis", "pytest")


class Copy:
    """A copy of the package, in which one mutant at a time is tried."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(
            SRC / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns(WEIGHTS.name)
        )
        (folder / PACKAGE / WEIGHTS).symlink_to(SRC / PACKAGE / WEIGHTS)
        compileall.compile_dir(folder / PACKAGE, quiet=1)

    def reached(self, chosen: Sequence[tuple[Mutant, str]]) -> list[list[str]]:
        """The tests that reach each place, by a run of all; those of its room come first."""
        record, first = self.folder / "reached", self.folder / PACKAGE / "__init__.py"
        record.touch()
        for file, text in {one.file: text for one, text in chosen}.items():
            of_file = [(n, one) for n, (one, _) in enumerate(chosen) if one.file == file]
            (self.folder / PACKAGE / file).write_text(recording(text, of_file), encoding="utf-8")
        first.write_text(first.read_text("utf-8") + RECORDING % str(record), encoding="utf-8")
        workers = ["--workers", str((os.cpu_count() or 1) + 4), "-p", "tests.workers"]
        _, printed = self._pytest(*workers, "--durations=0", "tests", "plugins", "training/tests")
        seconds = defaultdict[str, float](float)
        for taken, test in re.findall(r"^([\d.]+)s \w+ +([^[\n]+)", printed, re.MULTILINE):
            seconds[test] += float(taken)
        reached: list[set[str]] = [set() for _ in chosen]
        for line in record.read_text("utf-8").splitlines():
            number, _, test = line.partition(" ")
            reached[int(number)].add(test)
        often = Counter(test for tests in reached for test in tests)
        cost = {test: (OVERHEAD_S + seconds[test]) * (3 + often[test]) for test in often}
        rooms = [f"tests/{one.file.parts[0]}/" for one, _ in chosen]
        return [
            sorted(tests, key=lambda test: (not test.startswith(room), cost[test], test))
            for room, tests in zip(rooms, reached, strict=True)
        ]

    def judge(self, mutant: Mutant, text: str, tests: Sequence[str]) -> str | None:
        """What noticed a mutant, "" if nothing did; None if its tests were too long to say so."""
        file, until = self.folder / PACKAGE / mutant.file, time.monotonic() + PATIENCE_S
        file.write_text(mutant.applied(text), encoding="utf-8")
        room = (ROOT / "tests" / mutant.file.parts[0]).rglob("test_*.py")
        files = sorted(room, key=lambda path: path.stat().st_size)
        try:
            for some in (tests[:MOST_TESTS], [*map(str, files)], tests[MOST_TESTS:]):
                found = self._red(some, until) if some else ""
                if found != "":
                    return found
            return ""
        finally:
            shutil.copy2(SRC / PACKAGE / mutant.file, file)  # as old as what was compiled of it

    def _red(self, tests: Sequence[str], until: float) -> str | None:
        """The first test that goes red; None if there is none when the time is over."""
        limit = [f"faulthandler_timeout={HANG_S}", "faulthandler_exit_on_timeout=true"]
        options = ["-x", *(w for o in limit for w in ("-o", o))]
        try:
            code, printed = self._pytest(*options, *tests, seconds=until - time.monotonic())
        except subprocess.TimeoutExpired:
            return None
        if "Timeout (" in printed:
            return "a test that doesn't end"
        if red := re.search(r"^(?:FAILED|ERROR) (\S+)", printed, re.MULTILINE):
            return red[1]
        return "" if code in (0, NONE_COLLECTED) else f"broken: {printed[-200:]}"

    def _pytest(self, *arguments: str, seconds: float | None = None) -> tuple[int, str]:
        """The exit code of the tests of a push among these, and what they print."""
        how = ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "tests.limits", "--cpu-limit=1000"]
        how += ["-m", "not extended and not cuda"]
        # What tests start finds the copy as well. Nothing that is broken is left compiled.
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        with (self.folder / "output").open("w+", encoding="utf-8", errors="replace") as output:
            run = _Pytest(
                [sys.executable, "-m", "pytest", *how, *arguments], cwd=ROOT, env=environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, fresh=True,
            )  # fmt: skip
            try:
                run.wait(seconds)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)  # with what its tests left running
                run.wait()
            output.seek(0)
            return run.returncode, output.read()


def main(arguments: Sequence[str]) -> int:
    """Try those that are drawn; the exit code is 1 if too many survive, or too few were tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("below", nargs="?", default="", help="a folder or file of the package")
    parser.add_argument("count", nargs="?", type=int, default=OF_A_TURN)
    parser.add_argument("--seed", help="in place of the commit")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="to begin mutants in")
    given = parser.parse_args(arguments)
    head = ("git", "rev-parse", "HEAD")
    seed = given.seed or subprocess.run(head, cwd=ROOT, capture_output=True, text=True).stdout
    chosen = drawn(given.below, given.count, seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    _Pytest([sys.executable, "-c", ""], fresh=True).wait()  # imports the libraries, once for all
    found: list[str] = []
    copies: SimpleQueue[Copy] = SimpleQueue()

    def judge(mutant: Mutant, text: str, tests: list[str]) -> None:
        begun, copy = time.monotonic(), copies.get()
        if begun < until:
            killer = copy.judge(mutant, text, tests)
            said = f"caught    {killer}" if killer else "SURVIVED"
            said = "NOT JUDGED" if killer is None else said
            seconds = f"{time.monotonic() - begun:.0f} s"
            print(f"{mutant.shown(text)}\n    {said} {seconds}", flush=True)
            if killer is not None:
                found.append(killer)
        copies.put(copy)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        reached = Copy(Path(folder, "reached")).reached(chosen)
        until = time.monotonic() + 60 * given.minutes
        for number in range(os.cpu_count() or 1):
            copies.put(Copy(Path(folder, str(number))))
        [*pool.map(judge, *zip(*chosen, strict=True), reached)]
    caught = sum(map(bool, found))
    print(f"{caught} of {len(found)} mutants caught; {len(chosen)} were drawn")
    enough = len(found) >= min(LEAST_TRIED, len(chosen))
    return int(not enough or caught < LEAST_CAUGHT * len(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
