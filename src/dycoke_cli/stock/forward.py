"""Ways into a stock forward: hooks of one thread, and custom functions around its attention.

A module gets its attention function from a registry of transformers, by the name in its
configuration. The name stays as it is, because masks and some modules depend on it. While a custom
function is in use, the registry has it under the stock name, and all models call it.
"""

from __future__ import annotations

import dis
import inspect
import threading
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from dycoke_cli.errors import UsageError
from dycoke_cli.stock.private_api import attention_implementation, forward_hooks, has_stock_forward

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


Attention = Callable[..., Any]
Wrapper = Callable[[Attention, str], Attention]
"""Makes a custom function from the stock one and its name."""
EAGER, SDPA = "eager", "sdpa"
_REGISTRY, _EAGER_FUNCTION = "ALL_ATTENTION_FUNCTIONS", "eager_attention_forward"
_lock = threading.Lock()
_functions: dict[tuple[int, str], _Function] = {}
"""Those with a custom function around them, by registry and name."""


def own_eager(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Call the eager attention of a module's own file, which has sinks or soft caps of its model.

    Args:
        kwargs: such as `scaling`.
    """
    kind: Any = type(module)
    names = _globals_of(kind)
    assert names is not None, "checked by `WrappedAttention`"
    return names[_EAGER_FUNCTION](module, *args, **kwargs)


class WrappedAttention:
    """A custom function around the stock attention of a model, until `remove` is called.

    Custom functions of several users nest, and are removed in any order.
    """

    def __init__(self, model: nn.Module, wrapper: Wrapper) -> None:
        self._registries = _registries(model)
        if not self._registries:
            raise UsageError(
                f"no method can be attached to {type(model).__name__}, whose attention can't be "
                "replaced; --method none works"
            )
        self._name, self._wrapper = attention_implementation(model), wrapper
        with _lock:
            for registry in self._registries:
                key = (id(registry), self._name)
                if key not in _functions:
                    _functions[key] = _Function(registry, self._name)
                _functions[key].change(wrapper, 1)

    def remove(self) -> None:
        """Remove the custom function, unless other models use it."""
        with _lock:
            for registry in self._registries:
                key = (id(registry), self._name)
                if not _functions[key].change(self._wrapper, -1):
                    del _functions[key]


class _Function:
    """A stock function of a registry, and the custom functions around it."""

    def __init__(self, registry: Any, name: str) -> None:
        self._registry, self._name = registry, name
        # Eager attention isn't in a registry, but the default where nothing is.
        self._stock = own_eager if name == EAGER else registry[name]
        # A registry has functions of its own, beside those of all registries.
        self._is_own = name != EAGER and type(registry)().get(name) is not self._stock
        self._users: Counter[Wrapper] = Counter()

    def change(self, wrapper: Wrapper, by: int) -> bool:
        """Change the number of users of a custom function; return whether there is any user."""
        self._users[wrapper] += by
        used = [wrapper for wrapper, users in self._users.items() if users]
        attention = self._stock
        for wrap in used:
            attention = wrap(attention, self._name)
        if used or self._is_own:
            self._registry[self._name] = attention  # at once: other threads are calling it
        else:
            del self._registry[self._name]
        return bool(used)


def can_be_wrapped(model: nn.Module) -> bool:
    """Whether a model takes its attention from a registry."""
    return bool(_registries(model))


def _registries(model: nn.Module) -> list[Any]:
    """The registries of a model's attention: nearly all files share one; one may have its own."""
    spaces = map(_globals_of, _kinds(model))
    return [*{id(names[_REGISTRY]): names[_REGISTRY] for names in spaces if names}.values()]


def depends_on_name(model: nn.Module) -> bool:
    """Whether an attention of a model compares the name of its implementation with others.

    Sparse attention does: unless the name is a stock one, it leaves the mask as it is, and the
    function has to select the keys.
    """
    return any(map(_reads_name_again, _kinds(model)))


def _kinds(model: nn.Module) -> set[Any]:
    """Classes of the modules of a model."""
    return {type(part) for part in model.modules()}


@cache
def _globals_of(kind: Any) -> dict[str, Any] | None:
    """Globals of the file from which a class of modules gets its attention; None without any."""
    for base in kind.__mro__:
        forward = inspect.unwrap(vars(base).get("forward", base))
        names: dict[str, Any] = getattr(forward, "__globals__", {})
        if _REGISTRY in names and _EAGER_FUNCTION in names:
            return names
    return None


@cache
def _reads_name_again(kind: Any) -> bool:
    """Whether a class reads the name for more than to look up its function."""
    if _globals_of(kind) is None or hasattr(kind, "set_attn_implementation"):  # a whole model
        return False
    read = dis.get_instructions(inspect.unwrap(kind.forward))
    return [one.argval for one in read].count("_attn_implementation") > 1
