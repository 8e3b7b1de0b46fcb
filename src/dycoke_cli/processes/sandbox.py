"""Sandbox (Linux) and resource limits for a process that reads untrusted input.

The sandbox is for a process whose imports are done and whose files are open.

Two independent mechanisms are used, each if the kernel has it. Landlock forbids opening, creating
and executing files, and connections. seccomp (x86-64 and AArch64) allows only the system calls of a
process that computes, uses threads, and reads and writes open files; any other fails with ENOSYS.
Threads of other processes get no signal, and no descriptor sends one (fcntl's F_SETOWN). Neither
mechanism can be undone. Whether a file exists can still be observed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Literal

_SET_SECCOMP = 22  # of prctl(2)
_FILTER_MODE = 2
_ALLOW = 0x7FFF0000
_NOT_IMPLEMENTED = 0x00050000 | 38  # ENOSYS: libraries fall back to what they did before
_KILL = 0x80000000
# Opcodes of classic BPF: load a word, compare, test bits, return.
_LOAD, _EQUAL, _BITS_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_CLONE_THREAD = 0x00010000
# Of `seccomp_data`: the system call's number, its architecture, and the lower halves of arguments.
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
# What fcntl(2) may do: give another number, and tell or set whether exec(2) closes it.
_FCNTL = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC
# By architecture: its AUDIT_ARCH constant, the number of clone(2), and the allowed system calls.
_CALLS: dict[str, tuple[int, int, dict[str, int]]] = {
    "x86_64": (0xC000003E, 56, {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9,
        "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
        "rt_sigreturn": 15, "pread64": 17, "readv": 19, "writev": 20, "sched_yield": 24,
        "mremap": 25, "madvise": 28, "dup": 32, "nanosleep": 35, "getpid": 39, "sendto": 44,
        "recvfrom": 45, "sendmsg": 46, "recvmsg": 47, "exit": 60, "fcntl": 72, "gettimeofday": 96,
        "getrusage": 98, "sigaltstack": 131, "gettid": 186, "futex": 202, "sched_getaffinity": 204,
        "restart_syscall": 219, "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231,
        "tgkill": 234, "newfstatat": 262, "set_robust_list": 273, "dup3": 292, "getrandom": 318,
        "membarrier": 324, "rseq": 334,
    }),
    "aarch64": (0xC00000B7, 220, {
        "dup": 23, "dup3": 24, "fcntl": 25, "close": 57, "lseek": 62, "read": 63, "write": 64,
        "readv": 65, "writev": 66, "pread64": 67, "ppoll": 73, "newfstatat": 79,
        "fstat": 80, "exit": 93,
        "exit_group": 94, "futex": 98, "set_robust_list": 99, "nanosleep": 101,
        "clock_gettime": 113, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
        "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134,
        "rt_sigprocmask": 135, "rt_sigreturn": 139, "getrusage": 165, "gettimeofday": 169,
        "getpid": 172, "gettid": 178, "sendto": 206, "recvfrom": 207, "sendmsg": 211,
        "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226,
        "madvise": 233, "getrandom": 278, "membarrier": 283, "rseq": 293,
    }),
}  # fmt: skip
# Landlock's system calls have the same numbers on every architecture.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_VERSION = 1
# Number of file rights by Landlock ABI version; the versions that added TCP, and scopes (abstract
# sockets and signals).
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_TCP_FROM, _SCOPES_FROM = 4, 6


Mechanism = Literal["landlock", "seccomp"]

REFUSES_ALL: Mechanism = "seccomp"
"""The mechanism that alone keeps a process from files, connections and other processes."""


def described(means: Collection[str]) -> str:
    """The mechanisms that hold, in words."""
    names = [name for name in ("seccomp", "Landlock") if name.lower() in means]
    return " and ".join(names) or "none"


def seal() -> tuple[Mechanism, ...]:
    """Enter the sandbox; call it while the process has a single thread.

    The mechanisms apply to the calling thread and to threads that it starts later.

    Returns:
        The active mechanisms of "landlock" and "seccomp".
    """
    if sys.platform != "linux":
        return ()
    libc = ctypes.CDLL(None, use_errno=True)
    means: dict[Mechanism, Callable[[ctypes.CDLL], bool]]
    means = {"landlock": _landlock, "seccomp": _seccomp}
    return tuple(name for name, forbid in means.items() if forbid(libc))


def _landlock(libc: ctypes.CDLL) -> bool:
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    rights = _FILE_RIGHTS[max(one for one in _FILE_RIGHTS if one <= version)]
    handled = [(1 << rights) - 1]
    if version >= _TCP_FROM:
        handled.append(0b11)
    if version >= _SCOPES_FROM:
        handled.append(0b11)
    # A right that is handled and that no rule allows is denied.
    attributes = struct.pack(f"{len(handled)}Q", *handled)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _seccomp(libc: ctypes.CDLL) -> bool:
    if platform.machine() not in _CALLS:
        return False
    code = _program(*_CALLS[platform.machine()], process=os.getpid())
    program = _Program(len(code) // 8, code)
    return bool(libc.prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0) == 0)


def _program(architecture: int, clone: int, calls: dict[str, int], process: int) -> bytes:
    """Build the BPF filter over `seccomp_data`; `process` alone is sent signals."""

    def one(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    def only(call: int, argument: int, test: int, values: tuple[int, ...]) -> list[bytes]:
        """Jumps are relative: another call skips the test of its argument, which ends here."""
        tests = [line for v in values for line in (one(test, v, 0, 1), one(_RETURN, _ALLOW))]
        refused = one(_RETURN, _NOT_IMPLEMENTED)
        return [one(_EQUAL, call, 0, len(tests) + 2), one(_LOAD, argument), *tests, refused]

    lines = [
        one(_LOAD, _ARCHITECTURE), one(_EQUAL, architecture, 1, 0), one(_RETURN, _KILL),
        one(_LOAD, _NUMBER),
    ]  # fmt: skip
    for number in {*calls.values()} - {calls["tgkill"], calls["fcntl"]}:
        lines += [one(_EQUAL, number, 0, 1), one(_RETURN, _ALLOW)]
    lines += only(calls["tgkill"], _FIRST, _EQUAL, (process,))
    lines += only(calls["fcntl"], _SECOND, _EQUAL, _FCNTL)
    # clone(2) may create a thread, but not a process.
    lines += only(clone, _FIRST, _BITS_SET, (_CLONE_THREAD,))
    lines.append(one(_RETURN, _NOT_IMPLEMENTED))
    return b"".join(lines)


# Resource limits and privileges of a process that reads untrusted input.
#
# Each limit is set where the system supports it (Linux: all, macOS: some, Windows: none).


_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2), as the next one is
_SET_NO_NEW_PRIVILEGES = 38
_LINUX = sys.platform == "linux"
_SIZE = "/proc/{}/statm"
# The kind of a process's clock, below its inverted id (clock_getcpuclockid(3)): needs no /proc.
_PROCESSOR_CLOCK = 2


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent exits.

    The kernel kills it when the *thread* that started it exits.
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
