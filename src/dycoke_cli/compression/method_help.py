"""What Python shows of a method's class: `help(DyCoke)`, and its signature in an editor.

A parameter is described by its `Param` alone, so that what `help` says is what `--help-all` says.
"""

from __future__ import annotations

import inspect
import textwrap
from abc import ABCMeta
from typing import Any, get_args, get_type_hints

from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

_WIDTH = 100
# What a user calls: the other functions are for those who write a method (compression/base.py).
_SHOWN = ("__call__",)


class MethodClass(ABCMeta):
    """The class of the classes of methods; it changes nothing but what they show of themselves.

    An `ABCMeta`, so that a method can have abstract classes among its bases.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a method; a model in the place of its first parameter is a slip."""
        if args and hasattr(args[0], "get_decoder"):
            raise UsageError(
                f"{cls.__name__}(…) takes parameters, and what it returns takes the model: "
                f"{cls.__name__}()(model)"
            )
        return super().__call__(*args, **kwargs)

    def __dir__(cls) -> list[str]:
        return [*_SHOWN]

    @property
    def __signature__(cls) -> inspect.Signature:
        """Of the constructor, with plain types: without the `Param` of each."""
        hints = get_type_hints(cls, include_extras=True)
        parameters = []
        for name, parameter in inspect.signature(
            type.__getattribute__(cls, "__init__")
        ).parameters.items():
            if name != "self":
                plain = get_args(hints[name])[0] if name in parameters_of(cls) else hints[name]
                parameters.append(parameter.replace(annotation=plain))
        return inspect.Signature(parameters)

    @property
    def __doc__(cls) -> str | None:
        """The class's own text, with its parameters."""
        text: str | None = cls.__dict__.get("__doc__")
        # While it is made a dataclass, only whether there is a text counts.
        if not text or "__match_args__" not in cls.__dict__ or not parameters_of(cls):
            return text
        before, raises, after = inspect.cleandoc(text).partition("\nRaises:\n")
        return f"{before.rstrip()}\n\nArgs:\n{_arguments(cls)}{raises}{after}"

    @__doc__.setter
    def __doc__(cls, text: str | None) -> None:
        type.__dict__["__doc__"].__set__(cls, text)


def _arguments(cls: type[Any]) -> str:
    """A paragraph about each parameter: what it is, its range and its default."""
    lines = []
    for name, parameter in parameters_of(cls).items():
        allowed = f" {parameter.range}." if parameter.range else ""
        default = parameter.default_in_words
        words = "".join(f" In Python {k} is {v}." for k, v in parameter.spec.words.items())
        about = f"{name}: {parameter.spec.help}{allowed}{words}" + (
            f" Default: {default}." if default else ""
        )
        lines += textwrap.wrap(about, _WIDTH, initial_indent="    ", subsequent_indent="        ")
    return "".join(f"{line}\n" for line in lines)
