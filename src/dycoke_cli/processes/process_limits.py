"""Resource limits and privileges of a process that reads untrusted input.

Each limit is set where the system supports it (Linux: all, macOS: some, Windows: none).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2), as the next one is
_SET_NO_NEW_PRIVILEGES = 38
_LINUX = sys.platform == "linux"
_SIZE = "/proc/{}/statm"
# The kind of a process's clock, below its inverted id (clock_getcpuclockid(3)): needs no /proc.
_PROCESSOR_CLOCK = 2
_LIMITING = threading.RLock()


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent exits.

    Call it first in a process, before imports, which take seconds. The kernel kills it when the
    *thread* that started it exits, so start processes with `pipe_worker.start_in_lasting_thread`.
    """
    if _LINUX:
        _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        # The parent may have exited before the call, which then never triggers.
        if os.getppid() != parent:
            os._exit(1)


def give_up_privileges() -> None:
    """Drop the rights to gain privileges by exec, to write files and to dump core."""
    if _LINUX:
        _prctl(_SET_NO_NEW_PRIVILEGES, 1)
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limits_memory() -> bool:
    """Whether this system limits the memory of a process: Linux with /proc."""
    return _LINUX and os.path.exists(_SIZE.format("self"))


def limit_memory(pid: int, more_bytes: int) -> None:
    """Limit a process's address space to its present size plus an allowance, if the system does.

    Args:
        pid: a process of the same user; 0 is this one.
        more_bytes: allowance in bytes of address space (not all of it is used memory).
    """
    if limits_memory():
        import resource

        with open(_SIZE.format(pid or "self"), "rb") as statm:
            has = int(statm.read().split()[0]) * resource.getpagesize()
        _set_soft(pid, "RLIMIT_AS", has + more_bytes)


@contextmanager
def memory_limited(more_bytes: int) -> Iterator[None]:
    """Limit the memory of this process, all threads included, within the block.

    Threads take turns: a limit that ends within another one's block would come back at its end,
    and stay.
    """
    if not limits_memory():
        yield
        return
    import resource

    with _LIMITING:
        before = resource.getrlimit(resource.RLIMIT_AS)
        limit_memory(0, more_bytes)
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


def limit_cpu(pid: int, more_seconds: float) -> None:
    """Kill a process after a further amount of CPU time.

    Args:
        pid: a process of the same user; 0 is this one.
        more_seconds: CPU seconds, summed over threads, beyond those used so far.
    """
    if not _LINUX:
        return
    try:
        used = time.clock_gettime((~pid << 3) | _PROCESSOR_CLOCK) if pid else time.process_time()
    except OSError as error:
        raise ProcessLookupError(f"there is no process {pid}") from error
    _set_soft(pid, "RLIMIT_CPU", int(used + more_seconds) + 1)


def _set_soft(pid: int, name: str, value: int) -> None:
    import resource

    kind = getattr(resource, name)
    hard = resource.prlimit(pid, kind)[1]
    # A soft limit above the hard one is an error.
    within = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, kind, (within, hard))


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
