"""Tools in a conversation: their turns, and calls parsed as transformers does it for the family."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Self

from dycoke_cli.models.prompts.chat_template import names_in, render
from dycoke_cli.stock.private_api import parsed_events, response_template

# Turns of a conversation with tools; importing this imports neither torch nor transformers.


class ToolTurn(str):
    """Turn that is more than a text: calls of tools, their results, or a question with tools.

    As a text it is what the model reads of it, so that its length and its special tokens are
    checked like those of any other turn.
    """

    __slots__ = ("_messages", "tools")

    _messages: tuple[Mapping[str, Any], ...]
    # that the answer to it may call, as JSON Schemas of functions
    tools: tuple[Mapping[str, Any], ...]

    def __new__(
        cls, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> Self:
        """Make the text of the messages."""
        turn = super().__new__(cls, "\n".join(text for one in messages for text in _texts(one)))
        turn._messages, turn.tools = tuple(messages), tuple(tools)
        return turn

    def with_message(self, message: Mapping[str, Any]) -> Self:
        """The same turn with one more message."""
        return type(self)((*self._messages, message), self.tools)

    def with_tools(self, tools: Sequence[Mapping[str, Any]]) -> Self:
        """The same turn, the answer to which may call tools."""
        return type(self)(self._messages, tools)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Copies of the messages, which may be changed."""
        return deepcopy([dict(one) for one in self._messages])


def text_message(role: str, text: str) -> dict[str, Any]:
    """Message of a text."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def messages_of(role: str, turn: str) -> list[dict[str, Any]]:
    """Messages of a turn."""
    return turn.messages if isinstance(turn, ToolTurn) else [text_message(role, turn)]


def tools_of(question: str) -> tuple[Mapping[str, Any], ...]:
    """Tools that the answer to a question may call."""
    return question.tools if isinstance(question, ToolTurn) else ()


def tools_text(question: str) -> str:
    """JSON of the tools of a question; "" without any."""
    tools = tools_of(question)
    return json.dumps(tools, ensure_ascii=False) if tools else ""


def _texts(message: Mapping[str, Any]) -> list[str]:
    """Texts of a message, in order; a call's is its JSON."""
    texts = [part["text"] for part in message["content"]]
    calls = (call["function"] for call in message.get("tool_calls", ()))
    return [*texts, *(json.dumps(call, ensure_ascii=False) for call in calls)]


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
