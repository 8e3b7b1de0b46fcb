"""Keeps what libraries have to say off stderr, where a user reads what `dycoke` says."""

from __future__ import annotations

from dycoke_cli.cli.failure import debugging


def quieten_libraries() -> None:
    """Silence them for the rest of the process, unless tracebacks are wanted."""
    if debugging():
        return
    # Only here: it imports transformers, which takes a while.
    from dycoke_cli.models.quiet import silence_libraries

    silence_libraries()
