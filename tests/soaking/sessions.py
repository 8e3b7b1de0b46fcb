"""The processes of a session (Linux): which run, and how they are killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

_ENDING_S = 60.0
_POLL_S = 0.02
# Behind the name in proc(5), which may have spaces itself: state, parent, group, session.
_STATE, _SESSION = 0, 3


def running(session: int) -> list[int]:
    """Process ids of a session, without those that have ended and aren't reaped yet."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            if fields[_STATE] not in "ZX" and int(fields[_SESSION]) == session:
                found.append(int(path.parent.name))
    return sorted(found)


def names_of(pids: list[int]) -> str:
    """Command lines of processes, for a message."""
    found = []
    for pid in pids:
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            found.append(f"{pid} {line[:120].decode(errors='replace')}")
    return "; ".join(found)


def wait_until_none_runs(session: int) -> list[int]:
    """Wait until no process of a session runs; those that still do after a minute."""
    deadline = time.monotonic() + _ENDING_S
    while (left := running(session)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return left


def kill_all(session: int, rng: Random) -> None:
    """Kill all processes of a session, as the system does when it stops a container."""
    with suppress(ProcessLookupError):  # it hasn't begun its session yet
        os.killpg(session, signal.SIGKILL)
    os.kill(session, signal.SIGKILL)


def kill_parent(session: int, rng: Random) -> None:
    """Kill the command and none of its children."""
    os.kill(session, signal.SIGKILL)


def kill_child(session: int, rng: Random) -> None:
    """Kill one of the other processes, as the system does when memory runs out."""
    others = [pid for pid in running(session) if pid != session]
    if others:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(rng.choice(others), signal.SIGKILL)


WAYS: dict[str, Callable[[int, Random], None]] = {
    "all": kill_all,
    "parent": kill_parent,
    "child": kill_child,
}
