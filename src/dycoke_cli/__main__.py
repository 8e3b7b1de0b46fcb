"""The `dycoke` program, which is `python -m dycoke_cli`, too."""

from __future__ import annotations

import os
import signal


def run() -> None:
    """Run the command and end the process."""
    # Until `main` catches it. As an exception, a library's import might print or swallow it.
    if (usual := signal.getsignal(signal.SIGINT)) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    # Only here: each process that decodes videos imports the script that called this once more.
    from dycoke_cli.cli.main import run as run_command

    signal.signal(signal.SIGINT, usual)
    run_command()


if __name__ == "__main__":
    run()
