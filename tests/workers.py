"""A pytest plugin: tests run in several processes, forked from one that has collected them all.

`--workers N`: each takes the next file's tests when it has none left, so that what is first in the
order begins first and fixtures of a file are made once. Reports go to the first process, to which
pytest's own plugins belong. Only on Linux; elsewhere the tests run one after the other.
"""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import struct
import sys
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe, wait
from typing import NoReturn

import pytest

from dycoke_cli.processes.sandbox import end_with

NUMBER = struct.Struct("i")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--workers", type=int, default=1, help="processes that run tests")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    config, hook = session.config, session.config.hook
    number = min(config.getoption("--workers"), len(session.items))
    if number < 2 or sys.platform != "linux" or session.testsfailed or config.option.collectonly:
        return None
    queue = _queue(session.items)
    workers = dict(_fork(session, queue, name) for name in range(number))
    os.close(queue)
    begun: dict[Connection, pytest.Item] = {}
    try:
        while workers:
            for reports in wait([*workers]):
                assert isinstance(reports, Connection)
                try:
                    message = reports.recv()
                except EOFError:
                    _, status = os.waitpid(workers.pop(reports), 0)
                    if status:
                        hook.pytest_runtest_logreport(report=_died(begun.get(reports), status))
                    continue
                if isinstance(message, str):
                    raise RuntimeError(message)
                if isinstance(message, int):
                    item = begun[reports] = session.items[message]
                    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                else:
                    report = hook.pytest_report_from_serializable(config=config, data=message)
                    hook.pytest_runtest_logreport(report=report)
                if session.shouldfail:
                    raise session.Failed(session.shouldfail)
    finally:
        for reports, process in workers.items():
            reports.close()
            os.kill(process, signal.SIGINT)
        for process in workers.values():
            os.waitpid(process, 0)
    return True


def _queue(items: list[pytest.Item]) -> int:
    """A pipe of where the tests of each file begin and end, from which every worker reads."""
    reading, writing = os.pipe()
    end = 0
    for _, of_file in itertools.groupby(items, lambda item: item.path):
        begin, end = end, end + sum(1 for _ in of_file)
        os.write(writing, NUMBER.pack(begin) + NUMBER.pack(end))
    os.close(writing)
    return reading


def _indices(queue: int) -> Iterator[int]:
    """Of the tests of this worker; those of the next file are taken when they are asked for."""
    while pair := os.read(queue, 2 * NUMBER.size):
        yield from range(*(number for (number,) in NUMBER.iter_unpack(pair)))


def _fork(session: pytest.Session, queue: int, name: int) -> tuple[Connection, int]:
    """A worker: its reports, and its process."""
    receiving, sending = Pipe(duplex=False)
    parent = os.getpid()
    process = os.fork()
    if not process:
        _work(session, queue, sending, name, parent)
    sending.close()
    return receiving, process


def _work(
    session: pytest.Session, queue: int, reports: Connection, name: int, parent: int
) -> NoReturn:
    end_with(parent)  # also if it is killed
    atexit._clear()
    if torch := sys.modules.get("torch"):
        # Its pool of threads stayed behind. Each thread that uses one first would make another, and
        # two at once fail ("pool INTERNAL ASSERT FAILED").
        torch.set_num_threads(torch.get_num_threads())
    config, code = session.config, 1
    try:
        plugins = config.pluginmanager
        plugins.unregister(name="terminalreporter")
        plugins.register(_Sender(config, reports))
        capture = plugins.getplugin("capturemanager")
        capture.stop_global_capturing()  # its files are those of the first process
        capture.start_global_capturing()
        folders = config._tmp_path_factory  # type: ignore[attr-defined]
        folders._basetemp = folders.mktemp(f"worker{name}-", numbered=True)
        indices = _indices(queue)
        index = next(indices, None)
        while index is not None:
            reports.send(index)
            following = next(indices, None)
            after = None if following is None else session.items[following]
            config.hook.pytest_runtest_protocol(item=session.items[index], nextitem=after)
            index = following
        code = 0
    except KeyboardInterrupt:
        session._setupstate.teardown_exact(None)
    except Exception:
        reports.send(traceback.format_exc())
    finally:
        atexit._run_exitfuncs()
        os._exit(code)


class _Sender:
    def __init__(self, config: pytest.Config, reports: Connection) -> None:
        self._config, self._reports = config, reports

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        to_data = self._config.hook.pytest_report_to_serializable
        self._reports.send(to_data(config=self._config, report=report))


def _died(item: pytest.Item | None, status: int) -> pytest.TestReport:
    what = f"a worker ended with {os.waitstatus_to_exitcode(status)}; not all of its tests were run"
    nodeid, location = (item.nodeid, item.location) if item else ("a worker", ("", None, ""))
    return pytest.TestReport(nodeid, location, {}, "failed", what, "call")
