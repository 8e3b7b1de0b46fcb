"""Kills commands that resume with SIGKILL at random moments, and runs each again to its end.

Run as `python -m tests.kills`. Three ways take turns: all processes of the command, the command
alone, and one of its children. What the command has left at its end must be what an undisturbed run
leaves: the same results, none lost and none twice, no other file. No process may be left, and no
message may be a traceback.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from dycoke_cli.storage.output_file import temporary_folder
from tests import surroundings
from tests.hub import Hub
from tests.soaking.commands import Command, commands, files_in, repositories

MOMENTS = {"batch": 80, "caption": 50, "eval": 50, "pull": 50}
_PATIENCE_S = 900.0
"""For a command that goes on without one of its children."""
# A moment may be behind the end of a run that is faster than the undisturbed one was.
_LATEST = 0.95
_ENDING_S, _POLL_S = 60.0, 0.02
_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def running(session: int) -> list[psutil.Process]:
    """Processes of a session, without those that have ended and aren't reaped yet."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and process.status() not in _ENDED:
                found.append(process)
    return found


def names_of(processes: Iterable[psutil.Process]) -> str:
    """Command lines of processes, for a message."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
    return "; ".join(found)


def wait_until_none_runs(session: int) -> list[psutil.Process]:
    """Wait until no process of a session runs; those that still do after a minute."""
    deadline = time.monotonic() + _ENDING_S
    while (left := running(session)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return left


def kill_all(session: int, rng: random.Random) -> None:
    """Kill all processes of a session, as the system does when it stops a container."""
    with suppress(ProcessLookupError):  # it hasn't begun its session yet
        os.killpg(session, signal.SIGKILL)
    os.kill(session, signal.SIGKILL)


def kill_parent(session: int, rng: random.Random) -> None:
    """Kill the command and none of its children."""
    os.kill(session, signal.SIGKILL)


def kill_child(session: int, rng: random.Random) -> None:
    """Kill one of the other processes, as the system does when memory runs out."""
    others = [process for process in running(session) if process.pid != session]
    if others:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            rng.choice(others).kill()


WAYS: dict[str, Callable[[int, random.Random], None]] = {
    "all": kill_all,
    "parent": kill_parent,
    "child": kill_child,
}


@dataclass
class Run:
    """A command that is started in a folder again and again."""

    command: Command
    folder: Path
    found: list[str] = field(default_factory=list)  # what isn't as it should be
    _whole: list[bytes] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        """Start it in a session of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._whole = self.command.lines(self.folder)
        with (self.folder.with_suffix(".log")).open("ab") as log:
            # No fork of the tests' own: what is killed starts as a user starts it.
            return subprocess.Popen(
                self.command.line,
                cwd=self.folder,
                env=self.command.environment_in(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for its end, and whether it came to it by itself.

        What was whole before is still there, and no process is left.
        """
        try:
            code = process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.found.append(f"it hangs: {names_of(running(process.pid))}")
            WAYS["all"](process.pid, random.Random())
            code = process.wait()
        if left := wait_until_none_runs(process.pid):
            self.found.append(f"processes are left: {names_of(left)}")
        lost = [
            line
            for line in set(self._whole) - set(self.command.lines(self.folder))
            if b'"error": {' not in line  # it was asked again
        ]
        if lost:
            self.found.append(f"lost: {lost}")
        return code == self.command.code

    def outcome(self) -> tuple[Any, set[str]]:
        """What it has left."""
        if b"Traceback" in self.folder.with_suffix(".log").read_bytes():
            self.found.append("a message is a traceback")
        with temporary_folder(self.folder / "tmp"):
            pass  # as the next command does, this removes what was left there
        # A fingerprint is named after the times of the model's files, which others may link.
        paths = {path for path in files_in(self.folder) if "fingerprints/" not in path}
        return self.command.results(self.folder), paths


def kill_at(
    command: Command, moments: int, seed: int, place: Path
) -> tuple[list[str], Counter[str]]:
    """Kill a command at so many random moments.

    Returns:
        what isn't as it should be, and how many moments were reached in each way.
    """
    undisturbed = Run(command, place / f"{command.name}-whole")
    begun = time.monotonic()
    if not undisturbed.end(undisturbed.start()):
        return [f"{command.name}: the undisturbed run failed"], Counter()
    took = time.monotonic() - begun
    results, files = undisturbed.outcome()
    rng, ways, reached = random.Random(seed), itertools.cycle(WAYS), Counter[str]()
    found = list(undisturbed.found)
    for number in itertools.count():
        if reached.total() >= moments:
            break
        run = Run(command, place / f"{command.name}-{number}")
        kills = list(_kill_until_done(run, rng, ways, took, moments - reached.total()))
        reached += Counter(kills)
        try:
            left, paths = run.outcome()
            if left != results:
                run.found.append(f"other results: {left} and undisturbed {results}")
            if paths != files:
                run.found.append(f"other files: {sorted(paths ^ files)}")
        except (OSError, ValueError) as error:
            run.found.append(f"{type(error).__name__}: {error}")
        print(f"{run.folder.name}: {' '.join(kills)}", *run.found, sep="\n  ", flush=True)
        found += [f"{run.folder.name}: {fault}" for fault in run.found]
        if not run.found:
            shutil.rmtree(run.folder)
    return found, reached


def _kill_until_done(
    run: Run, rng: random.Random, ways: Iterator[str], took: float, most: int
) -> Iterator[str]:
    """Start it again and again until it ends by itself; the ways in which it was killed."""
    done, kills = False, 0
    while not done:
        process = run.start()
        if kills < most:
            try:
                process.wait(rng.uniform(0, _LATEST * took))
            except subprocess.TimeoutExpired:
                way = next(ways)
                WAYS[way](process.pid, rng)
                kills += 1
                yield way
        done = run.end(process)
        if not done and kills == most:
            most = -1  # one more run, undisturbed
        elif not done and most == -1:
            run.found.append("the last run failed")
            return


def main() -> None:
    """Kill the commands that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, moments in MOMENTS.items():
        parser.add_argument(f"--{name}", type=int, default=moments, metavar="MOMENTS")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    surroundings.reset()
    print(f"seed {given.seed}")
    place, found = Path(tempfile.mkdtemp(prefix="dycoke-kills-")), []
    with Hub(repositories()) as hub:
        for name, command in commands(place, hub).items():
            if moments := getattr(given, name):
                begun = time.monotonic()
                more, reached = kill_at(command, moments, given.seed, place)
                ways = ", ".join(f"{way} {count}" for way, count in reached.items())
                took = time.monotonic() - begun
                print(f"{name}: {reached.total()} moments ({ways}), {took:.0f} s", flush=True)
                found += more
    if found:
        sys.exit("\n".join([*found, f"what was written is in {place}"]))
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
