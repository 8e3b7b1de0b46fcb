"""First import of the fork server: ties its life, and that of its workers, to their parents.

`pipe_worker` passes the id of the starting process in the environment.
"""

from __future__ import annotations

import os

from dycoke_cli.processes.sandbox import end_with

PARENT = "DYCOKE_PARENT"
"""Environment variable with the id of the process that started this one."""

if PARENT in os.environ:
    end_with(int(os.environ.pop(PARENT)))
    _server = [os.getpid()]

    def _end_with_server() -> None:
        """In a worker alone: what a worker forks has another parent, and finds the list empty."""
        if _server:
            end_with(_server.pop())

    os.register_at_fork(after_in_child=_end_with_server)
