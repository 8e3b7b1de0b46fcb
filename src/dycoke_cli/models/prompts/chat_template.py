"""Rendering of a model's chat template, which is untrusted code.

transformers runs it in Jinja's sandbox, which limits its access but neither its run time nor its
memory. So it is rendered with limits on both. Run time is limited by counting steps, which gives
the same result on a slow or busy machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, MappingProxyType
from typing import Any, Self, TypeVar

from dycoke_cli.errors import ModelError
from dycoke_cli.processes.sandbox import memory_limited

T = TypeVar("T")

# A step is a Python call or a line of a template. Published templates take about 10,000, most of
# them for compilation.
_MAX_STEPS = 3_000_000
_MAX_BYTES = 512 << 20
_MAX_TEXT = 1 << 18
# The step counter can't interrupt a single step, so operations that can run for hours in one step
# are refused beforehand: powers, products, and filters with regular expressions over a whole text.
_POWER, _TIMES = "**", "*"
_FILTERS = ("round", "striptags", "urlize", "wordwrap", "xmlattr")
_MAX_DIGITS = 4  # of a literal factor; real templates multiply by such small numbers only
_NONE: Mapping[str, Any] = MappingProxyType({})
_FILE = "<template>"  # file name that Jinja gives to the code of a template from a string


class QuestionWithVariables(str):
    """Question whose prompt is rendered with variables of the chat template."""

    __slots__ = ("variables",)

    variables: Mapping[str, Any]

    def __new__(cls, question: str, variables: Mapping[str, Any]) -> Self:
        """The same text, with variables."""
        made = super().__new__(cls, question)
        made.variables = variables
        return made


def variables_of(question: str) -> Mapping[str, Any]:
    """Variables of the chat template that a question sets."""
    return question.variables if isinstance(question, QuestionWithVariables) else {}


class _TooLongError(Exception):
    """A template took more steps than allowed."""


def check_template(processor: Any) -> None:
    """Check the chat template of a processor before it is compiled."""
    template = processor.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str):
        raise _unusable("it has none, so it can't be asked questions")
    if len(template) > _MAX_TEXT:
        raise _unusable("it is longer than any real one")
    from jinja2 import Environment, TemplateError

    try:
        tokens = [(k, v) for _, k, v in Environment().lex(template) if k != "whitespace"]
    except TemplateError as error:
        raise _unusable(f"it isn't a template: {error}") from error
    neighbours = zip([("", ""), *tokens], tokens, [*tokens[1:], ("", "")], strict=False)
    for before, (kind, value), after in neighbours:
        applied = value if kind == "name" and before == ("operator", "|") else ""
        factors = [text for k, text in (before, after) if k == "integer"]
        small = min(map(len, factors), default=9) <= _MAX_DIGITS
        if kind == "operator" and value == _TIMES and small:
            continue
        if applied in _FILTERS or (kind == "operator" and value in (_POWER, _TIMES)):
            raise _unusable(f"it has {value}, which no real one has")


def names_in(template: Any) -> frozenset[str]:
    """All names in the chat template of a processor, its variables among them."""
    from jinja2 import Environment

    if isinstance(template, dict):
        template = template.get("default")
    tokens = Environment().lex(template or "")
    return frozenset(value for _, kind, value in tokens if kind == "name")


def render(
    processor: Any,
    conversation: Sequence[Any],
    *,
    answered: bool = False,
    tools: Sequence[Mapping[str, Any]] = (),
    variables: Mapping[str, Any] = _NONE,
) -> str:
    """Render a conversation with the stock template, up to where the answer begins."""
    more = {**variables, **({"tools": [*tools]} if tools else {})}
    try:
        with memory_limited(_MAX_BYTES):
            return _counted(
                lambda: processor.apply_chat_template(
                    conversation, tokenize=False, add_generation_prompt=not answered, **more
                )
            )
    except _TooLongError as error:
        raise _unusable("it takes more steps than any real one") from error
    except MemoryError as error:
        raise _unusable("it takes more memory than any real one") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise _unusable(reason) from error


def _unusable(why: str) -> ModelError:
    return ModelError(f"the model's chat template can't be used: {why}; download the model again")


def _counted(call: Callable[[], T]) -> T:
    """Result of a call, which is stopped after `_MAX_STEPS` steps."""
    left = _MAX_STEPS

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _TooLongError
        # Returning the function traces the lines of a frame, too. Only template code can loop
        # without a call; tracing lines of Jinja's and transformers' would be slow.
        return count if frame.f_code.co_filename == _FILE else None

    before = sys.gettrace()
    sys.settrace(count)
    try:
        return call()
    finally:
        sys.settrace(before)
