"""torch, imported where it is first used: flags and help read methods without it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
    import torch.nn.functional as F
else:

    class _Lazy:
        """A module that is imported by the first of its names that is asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            found = getattr(import_module(self._name), name)
            setattr(self, name, found)  # the next time it is an attribute like any other
            return found

    torch, F = _Lazy("torch"), _Lazy("torch.nn.functional")

__all__ = ["F", "torch"]
