"""Breaks the code on purpose, one place at a time, and checks that a test goes red each time.

Run on demand: `python -m tests.mutations` (or `make mutants`). It edits a copy of `src`, never the
checkout. `mutations.txt` says what is broken, and the output which test caught it;
`test_mutations.py` holds that each place is still there, once.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "dycoke_cli"
TABLE = Path(__file__).with_suffix(".txt")
PRELOADED = (
    "av",
    "numpy",
    "PIL.Image",
    "rich.console",
    "torch",
    "transformers.modeling_utils",
    "typer",
)
WEIGHTS = Path("models", "mini", "checkpoint")  # large and never broken: linked, not copied


class NotOnePlaceError(ValueError):
    """The file of a mutation, or its place there, is none or several."""


@dataclass(frozen=True)
class Mutation:
    """One place broken: in `file`, `pattern` becomes `replacement`; `tests` should notice."""

    tests: tuple[str, ...]
    file: str
    """As much of the end of its path in the package as tells it from others."""
    pattern: str
    """Text within one line that the file contains once."""
    replacement: str

    def __str__(self) -> str:
        return f"{self.file}: {self.pattern} => {self.replacement}"

    def applied(self, package: Path) -> tuple[Path, str]:
        """The file, relative to `package`, and its text with the place broken."""
        wanted = Path(self.file).parts
        named = _files(package).get(wanted[-1], [])
        files = [file for file in named if file.parts[-len(wanted) :] == wanted]
        if len(files) != 1:
            raise NotOnePlaceError(f"{len(files)} files instead of one: {self}")
        text = (package / files[0]).read_text(encoding="utf-8")
        if (count := text.count(self.pattern)) != 1:
            raise NotOnePlaceError(f"{count} places instead of one: {self}")
        return files[0], text.replace(self.pattern, self.replacement)


def read(table: str) -> list[Mutation]:
    """The mutations of a table: indented lines, below a line with the tests that should notice."""
    found: list[Mutation] = []
    tests: tuple[str, ...] = ()
    for line in table.splitlines():
        if line.startswith(" "):
            file, _, change = line.strip().partition(": ")
            pattern, arrow, replacement = f"{change} ".partition(" => ")  # which may be empty
            if not (tests and pattern and arrow):
                raise ValueError(f"no mutation: {line}")
            found.append(Mutation(tests, file, pattern, replacement.strip()))
        elif line and not line.startswith("#"):
            tests = tuple(line.split())
    return found


@functools.cache
def _files(package: Path) -> dict[str, list[Path]]:
    """Of each name the files that have it, relative to the package."""
    found: dict[str, list[Path]] = {}
    for file in package.rglob("*.py"):
        found.setdefault(file.name, []).append(file.relative_to(package))
    return found


def main(arguments: Sequence[str]) -> int:
    """Try every mutation, or those that are chosen; the exit code is 1 if one survives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wanted", nargs="*", help="texts of a line, or of its line of tests")
    parser.add_argument("--part", default="1/1", help="of the table, as 2/4")
    options = parser.parse_args(arguments)
    part, parts = map(int, options.part.split("/"))
    table = read(TABLE.read_text(encoding="utf-8"))
    mutations = [
        mutation
        for mutation in table[len(table) * (part - 1) // parts : len(table) * part // parts]
        if not options.wanted
        or any(text in f"{' '.join(mutation.tests)} {mutation}" for text in options.wanted)
    ]
    for library in PRELOADED:
        importlib.import_module(library)
    limits: dict[tuple[str, ...], float | None] = {}  # None: the tests are red as they are
    survivors = 0
    for mutation in mutations:
        if (tests := mutation.tests) not in limits:
            begun = time.monotonic()
            if (red := _red(tests, None, None)) is not None:
                print(f"a test is red before anything was broken: {red}", flush=True)
            limits[tests] = None if red else 60 + 5 * (time.monotonic() - begun)
        limit = limits[tests]
        caught = None if limit is None else _red(tests, mutation, limit)
        survivors += caught is None
        print(f"{'SURVIVED' if caught is None else 'caught':9}{mutation} ({caught})", flush=True)
    print(f"{len(mutations) - survivors} of {len(mutations)} mutations caught")
    return int(survivors > 0)


def _red(tests: tuple[str, ...], mutation: Mutation | None, limit_s: float | None) -> str | None:
    """The test that goes red, or None; without a mutation, on a copy that is whole.

    A test that waits for what never comes, such as a pipe that is opened, is red too.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, PACKAGE.name)
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns(WEIGHTS.name))
        (copy / WEIGHTS).symlink_to(PACKAGE / WEIGHTS)
        if mutation is not None:
            file, text = mutation.applied(PACKAGE)
            (copy / file).write_text(text, encoding="utf-8")
        output = Path(folder, "output")
        # A fork has torch and transformers already: most runs are shorter than their import.
        run = multiprocessing.get_context("fork").Process(target=_run, args=(folder, tests, output))
        run.start()
        run.join(limit_s)
        if run.is_alive():
            run.kill()
            run.join()
            return f"no end within {limit_s:.0f} s"
        printed = output.read_text(encoding="utf-8", errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", printed, re.MULTILINE)
    return failed.group(1) if failed else None


def _run(folder: str, tests: tuple[str, ...], output: Path) -> None:
    """In a process of its own: run the tests on the package in `folder`."""
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = folder  # for the processes that tests start
    sys.path.insert(0, folder)
    pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
