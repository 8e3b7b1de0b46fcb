"""Has the workers of a Ray cluster answer a run, by way of a process that is connected to it.

Ray ends such a process, without an exception, when Ray's process on this machine (the raylet) ends.
The run survives that: it says what happened, or goes on while the cluster has other nodes here.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from dycoke_cli.errors import DycokeError
from dycoke_cli.loop.asker import Pending
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.processes.worker import Worker, wait
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.retries import RECONNECT_S
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.pool import AtWork, WorkerPool
from dycoke_cli.runs.ray.cluster import NoClusterError, OnRay
from dycoke_cli.runs.ray.driver import serve

_END_S = 10.0
_PAUSE_S = 3.0


class RayAsker(WorkerPool):
    """Has a process answer that hands the questions out on a cluster; another if that ends."""

    elsewhere, ahead_videos = "a Ray cluster", sys.maxsize

    def __init__(self, options: OnRay, plan: RunPlan, listener: Listener) -> None:
        super().__init__(plan, listener.warning)
        self._options, self._note, self._ahead = options, listener.note, sys.maxsize
        self._lost_s = 0.0  # when the first process ended since the last answer
        listener.stage("load")

    def close(self) -> None:
        """See `Asker.close`; it leaves the cluster first: one that it has started ends with it."""
        for one in self._at_work:
            with suppress(ProcessLookupError):
                os.kill(one.worker.pid, signal.SIGTERM)
            until = time.monotonic() + _END_S
            with suppress(GoneError):
                while (left_s := until - time.monotonic()) > 0 and wait([one.worker], left_s):
                    one.worker.receive()
        super().close()

    def _start(self, count: int) -> None:
        worker = Worker(serve, self._options, self._plan)
        self._at_work.append(AtWork(worker, is_loaded=True))

    def _next(self) -> list[Pending]:
        return [*self._waiting]

    def _lose(self, one: AtWork, gone: GoneError) -> None:
        error = DycokeError(
            "the Ray cluster broke down: its process on this machine ended, and the run with it "
            f"(exit code {gone.exit_code}); run it again"
        )
        error.__cause__ = gone
        self._fail(one, error)

    def _fail(self, one: AtWork, error: BaseException) -> None:
        """Connect again for a while if the process was lost; else the run ends."""
        self._end(one)
        self._lost_s = self._lost_s if self._died_idle else time.monotonic()
        is_lost = self._died_idle or isinstance(error.__cause__, GoneError)
        # A cluster of this command has this machine alone.
        again = is_lost and self._options.address is not None and not self._is_stopped
        if self._died_idle and isinstance(error, NoClusterError):
            raise DycokeError(f"the Ray cluster broke down: {error}; run it again") from error
        if not again or time.monotonic() - self._lost_s > RECONNECT_S:
            raise error
        if not self._died_idle:
            self._note("Ray's process on this machine ended: going on with another node")
        self._died_idle += 1
        with self._changed:
            self._waiting[:0] = one.asks.values()
        time.sleep(_PAUSE_S)
