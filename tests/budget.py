"""How large the project may be: bounds of the whole, which fall and never rise.

    python -m tests.budget    print each count beside its bound; lower the bounds that have room

A bound is of a sum, so code may move between packages. Docstrings and comments aren't statements,
so that explaining costs nothing but lines. What is added is paid for by what is taken away.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
BOUNDS = Path("tests", "budget.txt")
# One part in so many of a count. More room than the first is taken back, down to the second: a fix
# of three lines fits.
ROOM, KEPT = 100, 200


def _lines(folder: str) -> int:
    return sum(path.read_text(encoding="utf-8").count("\n") for path in _files(folder))


def _statements(folder: str) -> int:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in _files(folder))
    return sum(not _is_docstring(node) for tree in trees for node in _within(tree))


def _within(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements in a module, a statement or a branch of one: most other nodes are skipped."""
    for name in ("body", "handlers", "cases", "orelse", "finalbody"):
        for child in getattr(node, name, ()):
            if isinstance(child, ast.stmt):
                yield child
            yield from _within(child)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _files(folder: str) -> Iterator[Path]:
    return (ROOT / folder).rglob("*.py")


def _words() -> int:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return sum(len(page.read_text(encoding="utf-8").split()) for page in pages)


COUNTS: Mapping[str, Callable[[], int]] = {
    "lines of src": lambda: _lines("src"),
    "statements of src": lambda: _statements("src"),
    "files of src": lambda: sum(1 for _ in _files("src")),
    "lines of tests": lambda: _lines("tests"),
    "statements of tests": lambda: _statements("tests"),
    "lines of benchmarks": lambda: _lines("benchmarks"),
    "words of docs and README.md": _words,
}


def bounds(text: str) -> dict[str, int]:
    """The bounds of a version of the file."""
    rows = (line.rpartition(" ") for line in text.splitlines())
    return {name.strip(): int(bound) for name, _, bound in rows}


def lowered(now: int, bound: int) -> int:
    """The bound of a count from now on."""
    return now + now // KEPT if bound > now + now // ROOM else bound


def least_before() -> dict[str, int]:
    """The lowest committed bound of each count. Empty outside of a repository."""
    command = ["git", "log", "--format=", "--patch", "--unified=0", "--", str(BOUNDS)]
    log = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    least: dict[str, int] = {}
    for name, bound in re.findall(r"^\+(?!\+)(.*\S) +(\d+)$", log, re.MULTILINE):
        least[name] = min(int(bound), least.get(name, int(bound)))
    return least


def main() -> int:
    """Returns 1 if a count is above its bound."""
    file = ROOT / BOUNDS
    counts = {name: count() for name, count in COUNTS.items()}
    old = bounds(file.read_text(encoding="utf-8"))
    new = {name: lowered(now, old[name]) for name, now in counts.items()}
    for name, now in counts.items():
        note = "  too many: take something away" if now > new[name] else ""
        print(f"{name:28}{now:8,}   of at most {new[name]:7,}{note}")
    if new != old:
        file.write_text("".join(f"{name:28}{new[name]:8}\n" for name in new), encoding="utf-8")
    return int(any(now > new[name] for name, now in counts.items()))


if __name__ == "__main__":
    sys.exit(main())
