"""Tries cases in processes of their own, and says of each how it ended.

A process takes many cases, one after the other, in memory and processor time that are limited; when
one of them ends it, that case is a finding, and the next process goes on behind it.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from dycoke_cli.engine.explaining import explain
from dycoke_cli.errors import DycokeError
from dycoke_cli.unicode import one_line
from tests.fuzzing.subject import Subject

PROCESSOR_S = 10.0
"""A case takes no more processor time."""
WALL_S = 90.0
"""Nor more time in all, on a machine that others use, too."""
MEMORY_MIB = 1024
"""Nor more memory, above what the process had before."""
_ADDRESS_SPACE = 3 * 1024**3  # from there on nothing is allocated: the machine has other users
_LONGEST_SENTENCE = 1200

ANSWER, REFUSED = "answer", "refused"
"""The two good ends: an answer, or one clean sentence."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    case: int  # its number
    # ANSWER, REFUSED, or what is wrong: "exception", "sentence", "memory", "time", "hang" or
    # "crash"
    kind: str
    detail: str = ""  # of what is wrong; of a refusal its sentence
    seconds: float = 0.0  # of processor time
    mib: float = 0.0  # of memory, above what the process had before

    @property
    def is_finding(self) -> bool:
        """Whether it isn't as it should be."""
        return self.kind not in (ANSWER, REFUSED)


Case = tuple[Subject, int, Sequence[bytes]]
"""A subject, the number of one of its cases, and the subject's seeds."""


def outcomes(cases: Sequence[Case]) -> Iterator[Outcome]:
    """How cases end, in their order; none of them ends this process."""
    done = 0
    while done < len(cases):
        for outcome in _of_one_process(cases[done:]):
            assert outcome.case == cases[done][1]
            done += 1
            yield outcome


def _of_one_process(cases: Sequence[Case]) -> Iterator[Outcome]:
    """The same, up to a case that ends the process."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="dycoke-fuzz-") as folder:
        process = context.Process(target=_work, args=(cases, theirs, folder))
        process.start()
        theirs.close()
        done = 0
        try:
            while done < len(cases):
                if not ours.poll(WALL_S):
                    yield Outcome(cases[done][1], "hang", f"no end in {WALL_S:g} s")
                    return
                told = ours.recv()
                done += 1
                yield Outcome(**told)
                if told["kind"] in ("memory", "time"):  # its process has no more to give
                    return
        except EOFError:
            process.join()
            yield _ended(cases[done][1], process.exitcode or 0)
        finally:
            process.kill()
            process.join()


def _ended(case: int, code: int) -> Outcome:
    """What became of a case that took its process with it."""
    if code == -signal.SIGPROF:
        return Outcome(case, "time", f"more than {PROCESSOR_S:g} s of processor time")
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return Outcome(case, "crash", f"the process ended with {name}")


def _work(cases: Sequence[Case], told: Connection, folder: str) -> None:
    """The process: try cases, and tell of each."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what libraries print is nobody's
        os.dup2(null, stream)
    faulthandler.disable()  # pytest's: a crash is told of by the parent
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + _ADDRESS_SPACE, resource.RLIM_INFINITY))
    for subject, case, seeds in cases:
        content = subject.case(case, seeds)
        place = Path(folder, "case")
        place.mkdir()
        told.send(asdict(_outcome(subject, case, content, place)))
        shutil.rmtree(place, ignore_errors=True)
    os._exit(0)  # without the goodbyes of what the parent had imported


def _outcome(subject: Subject, case: int, content: bytes, place: Path) -> Outcome:
    before, started = _memory_mib("VmRSS"), time.process_time()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the highest mark is that of now
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_S)
    kind, detail = _end(subject, content, place)
    signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - started
    mib = max(0.0, _memory_mib("VmHWM") - before)
    if mib > MEMORY_MIB:
        kind, detail = "memory", f"{mib:.0f} MiB ({kind}: {detail[:200]})"
    return Outcome(case, kind, detail, round(seconds, 6), round(mib, 1))


def _end(subject: Subject, content: bytes, place: Path) -> tuple[str, str]:
    try:
        subject.attempt(content, place)
    except BaseException as error:
        told = explain(error)  # as a command does
        if type(told) is DycokeError:
            return "exception", f"{type(error).__name__}: {error}"[:500]
        sentence = one_line(str(told)).replace(str(place), "FOLDER")
        return (REFUSED if _is_clean(sentence) else "sentence"), sentence[:2000]
    return ANSWER, ""


def _is_clean(sentence: str) -> bool:
    """Whether a person could be shown it: one line, of a length that is read, nothing odd in it."""
    return (
        0 < len(sentence) <= _LONGEST_SENTENCE
        and not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in sentence)
        and "Traceback" not in sentence
        and " object at 0x" not in sentence
    )


def _memory_mib(name: str) -> float:
    """A line of what the system says of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024
