"""`vllm serve` and `dycoke serve` of this interpreter's environment, on ports of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

NAME = "served"
"""Of vLLM's model, in requests."""
START_S = 900.0
VLLM = (sys.executable, "-m", "vllm.entrypoints.cli.main")
DYCOKE = (sys.executable, "-m", "dycoke_cli")
ON_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a process less
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
}
"""Settings that vLLM reads from its environment as it is imported."""


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@dataclass
class Server:
    """A server of one model; a context manager, in which it answers."""

    folder: Path  # in which it runs
    log: Path  # file that it writes to, behind what is there
    options: Sequence[str] = ()  # of its command
    environment: Mapping[str, str] = field(default_factory=dict)  # beside that of this process
    port: int = field(default_factory=free_port)  # where it listens
    _process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """Program and arguments."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """As OpenAI's clients take it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # its engine is a process of its own, and ends with it
            )
        until = time.monotonic() + START_S
        while not self.healthy():
            if self._process.poll() is not None or time.monotonic() > until:
                self.end(signal.SIGKILL)
                raise SystemExit(f"the server didn't start: {self.log} says why")
            time.sleep(0.2)

    def healthy(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as told:
                return told.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def end(self, by: signal.Signals) -> None:
        """End it and its engine by a signal, and wait until it is gone."""
        if self._process is None:
            return
        _signal(self._process.pid, by)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        _signal(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


@dataclass
class VllmServer(Server):
    """vLLM with the model of the folder."""

    environment: Mapping[str, str] = field(default_factory=lambda: ON_CPU)
    other: Sequence[str] = ()  # another `vllm …` in place of these options

    def command(self) -> Sequence[str]:  # noqa: D102 - the base says it
        if self.other:
            return (*VLLM, *self.other[1:])
        at = ("--host", "127.0.0.1", "--port", str(self.port))
        return (*VLLM, "serve", str(self.folder), "--served-model-name", NAME, *at, *self.options)


@dataclass
class DycokeServer(Server):
    """This project's own server, with the model that its options name."""

    def command(self) -> Sequence[str]:  # noqa: D102 - the base says it
        return (*DYCOKE, "serve", "--port", str(self.port), *self.options)


def _signal(group: int, by: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, by)
