"""What takes too long for each commit takes turns: CI runs one line of `turns.txt` per commit.

`python -m tests.turns` runs the turn of this commit, by its hash, and with names those turns. Each
line has the commit and the day at which it was last green; `--write` fills them in after a green
run, and a release needs each to be at most `MOST_COMMITS` old. A turn that can't run on this
machine says so by the exit code `SKIPPED`: it neither fails nor counts as green.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".txt")
MOST_COMMITS = 100
SKIPPED = 77


@dataclass(frozen=True)
class Turn:
    """A line of the table."""

    name: str
    commit: str  # at which it was last green; "-" is never
    day: str
    command: str  # of bash, in the root of the repository

    def __str__(self) -> str:
        return f"{self.name:<13} {self.commit:<10} {self.day:<10} {self.command}"

    def run(self) -> int:
        """Run it with the programs of this environment, and return its exit code."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        print(f"turn {self.name}: {self.command}", flush=True)
        begun = time.monotonic()
        code = subprocess.run(
            ["bash", "-c", self.command], cwd=ROOT, env={**os.environ, "PATH": path}
        ).returncode
        outcome = {0: "green", SKIPPED: "can't run on this machine"}.get(code, "RED")
        print(f"turn {self.name}: {outcome}, {time.monotonic() - begun:.0f} s", flush=True)
        return code

    def age(self, root: Path = ROOT) -> int | None:
        """Commits since it was green; None if it never was at a commit before this one."""
        counted = _git("rev-list", "--count", f"{self.commit}..HEAD", "--", root=root)
        ancestor = ("merge-base", "--is-ancestor", self.commit, "HEAD")
        return int(counted) if counted and _git(*ancestor, root=root) is not None else None


def read(table: str) -> list[Turn]:
    """The turns of a table."""
    lines = (line for line in table.splitlines() if line and not line.startswith("#"))
    return [Turn(*line.split(None, 3)) for line in lines]


def of_commit(turns: list[Turn], commit: str) -> Turn:
    """The turn of a commit, by its hash."""
    return turns[int(commit, 16) % len(turns)]


def stale(turns: list[Turn], root: Path = ROOT) -> list[str]:
    """A sentence for each turn that wasn't green lately."""
    ages = ((turn, turn.age(root)) for turn in turns)
    return [
        f"{turn.name} was {'never green' if age is None else f'green {age} commits ago'}: "
        f".venv/bin/python -m tests.turns {turn.name} --write"
        for turn, age in ages
        if age is None or age > MOST_COMMITS
    ]


def main() -> int:
    """Run turns; the exit code is 1 if one is red."""
    turns = read(TABLE.read_text("utf-8"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(t.name for t in turns))
    parser.add_argument("--write", action="store_true", help="note in the table what was green")
    options = parser.parse_args()
    commit = _git("rev-parse", "HEAD") or "0"
    by_name = {turn.name: turn for turn in turns}
    if unknown := {*options.names} - {*by_name}:
        parser.error(f"no turn is called {', '.join(sorted(unknown))}")
    but_the_table = f":(exclude){TABLE.relative_to(ROOT)}"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", but_the_table)
    if options.write and changed != "":
        parser.error("--write notes a commit: commit the changes first")
    chosen = [by_name[name] for name in options.names] or [of_commit(turns, commit)]
    codes = []
    for turn in chosen:
        codes.append(code := turn.run())
        if options.write and code == 0:
            write(replace(turn, commit=commit[:8], day=f"{datetime.now(UTC):%Y-%m-%d}"))
    return int(not {*codes} <= {0, SKIPPED})


def write(turn: Turn, table: Path = TABLE) -> None:
    """Write a turn's line in place of the one of its name."""
    lines = table.read_text("utf-8").splitlines()
    kept = [str(turn) if line.split(" ")[0] == turn.name else line for line in lines]
    table.write_text("\n".join(kept) + "\n", "utf-8")


def _git(*arguments: str, root: Path = ROOT) -> str | None:
    """What git says; None if it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    return None if done.returncode else done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
