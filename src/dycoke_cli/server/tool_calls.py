"""Calls of tools in an answer, parsed as transformers does it for the model's family."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

from dycoke_cli.models.prompts.chat import names_in, render, text_message

_CALLS = "tool_calls"
_SPACE = r"\s*"  # before the opening, in patterns of transformers
_AS_WRITTEN = {"type": "function", "function": "{content}"}


@dataclass(frozen=True)
class ToolCall:
    """Call of a tool."""

    name: str  # of the function
    arguments: str  # JSON of an object


@dataclass(frozen=True)
class CallMarks:
    """The texts around a call that is JSON: an object of its name and arguments."""

    opening: str  # before the object
    closing: str  # behind it
    # tokens that stand for a text of their own, special ones among them: text to number
    added: Mapping[str, int]


@dataclass(frozen=True)
class CallFormat:
    """How a model writes calls of tools."""

    template: Mapping[str, Any]  # response template of transformers
    prefix: str  # end of a prompt, behind which the answer begins
    added: Mapping[str, int] = field(default_factory=dict)  # see `CallMarks`

    @property
    def marks(self) -> CallMarks | None:
        """The texts around a call; None where a call isn't such an object."""
        written = self.template["fields"][_CALLS]
        pattern = (written.get("open_pattern") or "").removeprefix(_SPACE)
        opening = written.get("open") or (pattern if re.escape(pattern) == pattern else None)
        closing = written.get("close")
        if not isinstance(opening, str) or not opening or not isinstance(closing, str):
            return None
        is_object = written.get("content") == "json" and written.get("transform") == _AS_WRITTEN
        if not is_object or written.get("content_args"):
            return None
        return CallMarks(opening, closing, self.added)

    @classmethod
    def of(cls, processor: Any, model: Any) -> CallFormat | None:
        """None if its chat template takes no tools, or its calls can't be parsed."""
        from dycoke_cli.stock.private_api import response_template

        if "tools" not in names_in(processor.chat_template):
            return None
        template = response_template(processor, model)
        # Special tokens are removed from an answer's text.
        written = json.dumps((template or {}).get("fields", {}).get(_CALLS)).replace("\\", "")
        special = any(token in written for token in processor.tokenizer.all_special_tokens)
        if template is None or written == "null" or special:
            return None
        prompt = render(processor, [text_message("user", "")])
        return cls(template, prompt, processor.tokenizer.get_added_vocab())

    def parser(self, tools: Sequence[Mapping[str, Any]]) -> CallParser:
        """Parser of an answer that may call these tools."""
        return CallParser(self, tools)


class CallParser:
    """Divides an answer into text and calls while it is generated."""

    def __init__(self, form: CallFormat, tools: Sequence[Mapping[str, Any]]) -> None:
        from transformers.utils.chat_parsing import ResponseParser

        self._parser: Any = ResponseParser(form.template, prefix=form.prefix, tools=[*tools])
        self._held = ""

    def feed(self, text: str) -> list[str | ToolCall]:
        """What is known of the answer by another stretch of it."""
        found: list[str | ToolCall] = []
        # By characters, so that what is held begins right behind what was found.
        for character in text:
            if self._parser is None:
                found.append(character)
                continue
            self._held += character
            found += self._parsed(partial(self._parser.feed, character))
        return [*_joined(found)]

    def end(self) -> list[str | ToolCall]:
        """What is known by the end of the answer."""
        if self._parser is None:
            return []
        return self._parsed(lambda: self._parser.finalize()[1])

    def _parsed(self, events: Any) -> list[str | ToolCall]:
        from dycoke_cli.stock.private_api import parsed_events

        try:
            found = [
                one if isinstance(one, str) else ToolCall(one.name, one.arguments)
                for one in parsed_events(events())
            ]
        except (AttributeError, KeyError, TypeError, ValueError):
            # A call that is no JSON, or has no name: the client gets what the model wrote.
            self._parser, found = None, [self._held]
        for one in found:
            self._held = self._held.partition(one)[2] if isinstance(one, str) else ""
        return found


def _joined(found: Iterable[str | ToolCall]) -> Iterator[str | ToolCall]:
    """Texts in a row as one."""
    for are_texts, group in groupby(found, lambda one: isinstance(one, str)):
        if are_texts:
            yield "".join(map(str, group))
        else:
            yield from group
