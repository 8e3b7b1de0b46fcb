"""Keeps what libraries have to say off stderr, where a user reads what `dycoke` says."""

from __future__ import annotations

import warnings

from dycoke_cli.cli.failure import debugging


def quieten_libraries() -> None:
    """Silence them for the rest of the process, unless tracebacks are wanted."""
    if debugging():
        return
    import transformers

    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
