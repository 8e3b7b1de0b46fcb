"""Limits that a process has set for it, or sets itself, before it reads what strangers have made.

Each is set where the system has it (Linux has all, macOS some, Windows none).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2), as the next one is
_SET_NO_NEW_PRIVILEGES = 38
_LINUX = sys.platform == "linux"


def end_with(parent: int) -> None:
    """Have the system kill this process when the one that started it ends, whatever either does.

    Must be the first act of a process: imports take seconds. The system kills it when the *thread*
    that started it ends, so that processes are started by `processes.started_for_good`.

    Args:
        parent: the process that started this one; if it has ended by now, so does this one.
    """
    if _LINUX:
        _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def give_up_privileges() -> None:
    """Gain no rights by running other programs, write to no file, leave no core file."""
    if _LINUX:
        _prctl(_SET_NO_NEW_PRIVILEGES, 1)
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(pid: int, more_bytes: int) -> None:
    """Let a process have so much more memory than it has now: what goes beyond isn't given to it.

    Args:
        pid: a process of the same user; 0 is this one.
        more_bytes: of address space, of which it uses a part.
    """
    if _LINUX:
        import resource

        with open(f"/proc/{pid or 'self'}/statm", "rb") as statm:
            has = int(statm.read().split()[0]) * resource.getpagesize()
        _set_soft(pid, "RLIMIT_AS", has + more_bytes)


@contextmanager
def memory_limited(more_bytes: int) -> Iterator[None]:
    """Within the block, this process isn't given much more memory, in any of its threads.

    Args:
        more_bytes: as of `limit_memory`.
    """
    if not _LINUX:
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    limit_memory(0, more_bytes)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def limit_cpu(pid: int, more_seconds: float) -> None:
    """Let a process compute for so much longer, in seconds of all its threads; then it is killed.

    Args:
        pid: a process of the same user; 0 is this one.
        more_seconds: beyond what it has used.
    """
    if _LINUX:
        with open(f"/proc/{pid or 'self'}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        _set_soft(pid, "RLIMIT_CPU", int(used + more_seconds) + 1)


def _set_soft(pid: int, name: str, value: int) -> None:
    import resource

    kind = getattr(resource, name)
    hard = resource.prlimit(pid, kind)[1]
    within = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, kind, (within, hard))


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
