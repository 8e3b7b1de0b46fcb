"""The first import of the process that workers are forked from: it and they end with their parents.

`processes` says in the environment which process started it.
"""

from __future__ import annotations

import os
from functools import partial

from dycoke_cli.processes.process_limits import end_with

PARENT = "DYCOKE_PARENT"
"""An environment variable: the process that started this one."""

if PARENT in os.environ:
    end_with(int(os.environ.pop(PARENT)))
    os.register_at_fork(after_in_child=partial(end_with, os.getpid()))
