"""What tests inherit from whoever runs them is made alike; `conftest.py` calls `reset`."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import time

# Settings of a user, of their terminal, of their session and of their network.
_REMOVED = (
    "CLICOLOR", "COLORTERM", "COLUMNS", "DYCOKE_", "FORCE_COLOR", "HF_", "HUGGINGFACE_", "LANGUAGE",
    "LC_", "LINES", "NO_COLOR", "OPENAI_", "PYTEST_ADDOPTS", "PYTHONUNBUFFERED", "PYTHONWARNINGS",
    "TRANSFORMERS_", "XDG_",
)  # fmt: skip
# A hub's cache of this process.
_NOWHERE = os.path.join(tempfile.gettempdir(), f"dycoke-tests-{os.getpid()}")
_SET = {
    "HF_HOME": _NOWHERE,
    "LANG": "C.UTF-8",
    "TERM": "xterm-256color",
    "TZ": "UTC",
}
_LIMITS = ("AS", "CPU", "DATA", "FSIZE", "NOFILE")
# Python itself ignores them.
_STAY_IGNORED = {signal.SIGPIPE, signal.SIGXFSZ}


def reset() -> None:
    """Set variables, time zone, umask, limits and signals of this process and its children."""
    for name in [*os.environ]:
        if name.startswith(_REMOVED) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ |= _SET
    time.tzset()
    os.umask(0o022)
    for name in _LIMITS:
        which = getattr(resource, f"RLIMIT_{name}")
        _, most = resource.getrlimit(which)
        resource.setrlimit(which, (most, most))
    # `nohup` and many runners of CI ignore some, and whatever a test starts would, too.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - _STAY_IGNORED:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
