"""The state of a run on disk: the last one saved, and the one before it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dycoke_cli.errors import ModelError

STATE, BEFORE = "state.pt", "state.before.pt"
State = dict[str, Any]
Use = Callable[[State], None]
Tell = Callable[[str], None]
# What reading a damaged file raises, and what putting it into another model does.
WRONG = (RuntimeError, ValueError, KeyError, TypeError, EOFError, OSError, pickle.UnpicklingError)


def is_kept(folder: Path) -> bool:
    """Whether a run is kept in a folder."""
    return any((folder / name).exists() for name in (STATE, BEFORE))


def keep(state: State, folder: Path) -> None:
    """Writes a state; whenever that is broken off, a whole one is left."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (STATE + ".part")
    torch.save(state, partial)
    if (folder / STATE).exists():
        os.replace(folder / STATE, folder / BEFORE)
    os.replace(partial, folder / STATE)


def take_up(folder: Path, use: Use, tell: Tell, device: torch.device | str = "cpu") -> None:
    """Hands the last state to `use`, or the one before it where that one is damaged.

    Args:
        folder: of the run.
        use: raises one of WRONG where the state doesn't fit.
        tell: gets a sentence where it isn't the last state that is used.
        device: where the tensors go.

    Raises:
        ModelError: no state could be used.
    """
    damaged = []
    for path in (folder / STATE, folder / BEFORE):
        if path.exists():
            try:
                use(torch.load(path, map_location=device, weights_only=True))
            except WRONG:
                damaged.append(f"{path} is damaged or of another configuration")
            else:
                for sentence in damaged:
                    tell(f"{sentence}: the state before it is used.")
                return
    raise ModelError(f"{' and '.join(damaged)}: train in another folder (--run).")
