"""The chat template of a model writes a conversation as text: a program of strangers.

transformers runs it in Jinja's sandbox, which shuts it in but lets it run for ever and fill the
memory. So it is rendered with a limit on its steps, counted and not timed, and on its memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeVar

from dycoke_cli.errors import ModelError
from dycoke_cli.processes.process_limits import memory_limited

T = TypeVar("T")

# Calls, and lines of templates. Published ones take some 10,000, most of them to be compiled.
_MOST_STEPS = 3_000_000
_MOST_BYTES = 512 << 20
_MOST_TEXT = 1 << 18
# A single step that may take for ever: powers, and expressions over all of a text.
_POWER, _TIMES = "**", "*"
_FILTERS = ("round", "striptags", "urlize", "wordwrap", "xmlattr")
_DIGITS = 4  # of a factor, at most
_FILE = "<template>"  # as Jinja calls the code of one that comes from no file


class _TooLongError(Exception):
    """A template takes more steps than any real one."""


def check_template(processor: Any) -> None:
    """Check the chat template of a processor before it is compiled.

    Raises:
        ModelError: there is none, or it has what no real one has.
    """
    template = processor.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str):
        raise _unusable("it has none, so it can't be asked questions")
    if len(template) > _MOST_TEXT:
        raise _unusable("it is longer than any real one")
    from jinja2 import Environment, TemplateError

    try:
        tokens = [(k, v) for _, k, v in Environment().lex(template) if k != "whitespace"]
    except TemplateError as error:
        raise _unusable(f"it isn't a template: {error}") from error
    around = zip([("", ""), *tokens], tokens, [*tokens[1:], ("", "")], strict=False)
    for before, (kind, value), behind in around:
        named = value if kind == "name" and before == ("operator", "|") else ""
        factors = [text for k, text in (before, behind) if k == "integer"]
        if kind == "operator" and value == _TIMES and min(map(len, factors), default=9) <= _DIGITS:
            continue
        if named in _FILTERS or (kind == "operator" and value in (_POWER, _TIMES)):
            raise _unusable(f"it has {value}, which no real one has")


def render(processor: Any, conversation: Sequence[Any]) -> str:
    """A conversation as the stock template writes it, up to where the answer begins.

    Args:
        processor: stock, whose template was checked.
        conversation: its turns, as `apply_chat_template` takes them.

    Raises:
        ModelError: the template fails, or goes beyond its limits.
    """
    try:
        with memory_limited(_MOST_BYTES):
            return _counted(
                lambda: processor.apply_chat_template(conversation, add_generation_prompt=True)
            )
    except _TooLongError as error:
        raise _unusable("it takes more steps than any real one") from error
    except MemoryError as error:
        raise _unusable("it takes more memory than any real one") from error
    except Exception as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise _unusable(said) from error


def _unusable(why: str) -> ModelError:
    return ModelError(f"the model's chat template can't be used: {why}; download the model again")


def _counted(call: Callable[[], T]) -> T:
    """What a call returns, unless it takes too many steps.

    Raises:
        _TooLongError: it does.
    """
    left = _MOST_STEPS

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _TooLongError
        return count if frame.f_code.co_filename == _FILE else None

    before = sys.gettrace()
    sys.settrace(count)
    try:
        return call()
    finally:
        sys.settrace(before)
