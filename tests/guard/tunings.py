"""A tuning of the bundled model that nothing was measured for."""

from __future__ import annotations

from typing import Any

from dycoke_cli.answer.answer import Tuned
from dycoke_cli.guard.bounds import Attempt
from dycoke_cli.guard.tuned import SCHEMA, Tuning, fingerprint
from dycoke_cli.version import __version__

SAMPLING = {"frames": 32}
SURE = (((Attempt(0.5, same=False), Attempt(0.99, same=True)),),) * 80
"""Of 80 videos: an answer of which one isn't sure is another one, and one of which one is isn't."""


def tuning_with(tries: Any, **changed: Any) -> Tuning:
    """Of these tries, with the budgets 10 and 25 %; other fields as they are given."""
    method = {"name": "random", "retain": 0.25, "positions": "kept", "seed": 0}
    fields = {
        "schema": SCHEMA,
        "version": __version__,
        "model": "mini",
        "fingerprint": fingerprint("mini"),
        "dtype": "float32",
        "sampling": SAMPLING,
        "method": method,
        "default": False,
        "tuned": Tuned(80, 240, "2026-01-31", 0.98, 0.99, (0.95, 1.0)),
        "ladder": (method | {"retain": 0.1}, method),
        "tries": tries,
    }
    return Tuning(**fields | changed)
