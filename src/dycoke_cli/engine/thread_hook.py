"""Forward hooks of one thread, without effect on other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch.utils.hooks import RemovableHandle

from dycoke_cli.stock.private_api import forward_hooks, has_stock_forward

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a forward."""


class Left(Exception):
    """Leaves a stock forward from within, which nothing else does; with what was found there."""

    def __init__(self, found: Any = None) -> None:
        super().__init__()
        self.found = found


def before_forward(
    module: Any, hook: Callable[[Any, tuple[Any, ...], dict[str, Any]], Arguments | None]
) -> RemovableHandle:
    """Register a hook that is called in this thread only, before each forward of `module`.

    Args:
        hook: called with the module and the arguments; returns others, or None to leave them.
    """
    thread = threading.get_ident()

    def here(
        module: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> Arguments | None:
        # torch adds a hook before it notes that the hook takes keyword arguments, and removes them
        # one after the other: a thread that comes in between calls without.
        if kwargs is None or threading.get_ident() != thread:
            return None
        return hook(module, args, kwargs)

    handle: RemovableHandle = module.register_forward_pre_hook(here, with_kwargs=True)
    return handle


def after_forward(module: Any, hook: Callable[[Any], Any]) -> RemovableHandle:
    """Register a hook that is called in this thread only, behind each forward of `module`.

    Args:
        hook: called with what it returned; returns what takes its place, or None to leave it.
    """
    thread = threading.get_ident()

    def here(module: Any, args: tuple[Any, ...], output: Any) -> Any:
        return hook(output) if threading.get_ident() == thread else None

    handle: RemovableHandle = module.register_forward_hook(here)
    return handle


def changed_by_others(module: Any) -> bool:
    """Whether a module's call does anything but its class's forward, and hooks of this file."""
    return not has_stock_forward(module) or any(
        getattr(hook, "__module__", None) != __name__ for hook in forward_hooks(module)
    )
