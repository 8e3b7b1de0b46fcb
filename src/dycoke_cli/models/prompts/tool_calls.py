"""Calls of tools in an answer: parsed as transformers does it for the family of the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dycoke_cli.models.prompts.chat_template import render
from dycoke_cli.models.prompts.tool_turns import text_message
from dycoke_cli.stock.private_api import parsed_events, response_template

_CALLS = "tool_calls"


@dataclass(frozen=True)
class ToolCall:
    """Call of a tool.

    Args:
        name: of the function.
        arguments: JSON of an object.
    """

    name: str
    arguments: str


@dataclass(frozen=True)
class CallFormat:
    """How a model writes calls of tools.

    Args:
        template: response template of transformers.
        prefix: end of a prompt, behind which the answer begins.
    """

    template: Mapping[str, Any]
    prefix: str

    @classmethod
    def of(cls, processor: Any, model: Any) -> CallFormat | None:
        """That of a model; None if its chat template takes no tools, or nothing parses its calls.

        Args:
            processor: stock, with a checked template.
            model: stock.
        """
        if not _takes_tools(processor.chat_template):
            return None
        template = response_template(processor, model)
        # Special tokens are removed from an answer's text.
        written = json.dumps((template or {}).get("fields", {}).get(_CALLS)).replace("\\", "")
        special = any(token in written for token in processor.tokenizer.all_special_tokens)
        if template is None or written == "null" or special:
            return None
        return cls(template, render(processor, [text_message("user", "")]))

    def parser(self, tools: Sequence[Mapping[str, Any]]) -> CallParser:
        """Parser of an answer that may call these tools."""
        return CallParser(self, tools)


class CallParser:
    """Divides an answer into text and calls while it is generated.

    Args:
        form: of the model.
        tools: that the answer may call.
    """

    def __init__(self, form: CallFormat, tools: Sequence[Mapping[str, Any]]) -> None:
        from transformers.utils.chat_parsing import ResponseParser

        self._parser: Any = ResponseParser(form.template, prefix=form.prefix, tools=[*tools])
        self._held = ""

    def feed(self, text: str) -> list[str | ToolCall]:
        """What is known of the answer by another stretch of it."""
        if self._parser is None:
            return [text]
        self._held += text
        return self._parsed(lambda: self._parser.feed(text))

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
        if found:
            self._held = ""
        return found


def _takes_tools(chat_template: Any) -> bool:
    """Whether a chat template has the variable `tools`."""
    from jinja2 import Environment

    if isinstance(chat_template, dict):
        chat_template = chat_template.get("default")
    tokens = Environment().lex(chat_template or "")
    return any(kind == "name" and value == "tools" for _, kind, value in tokens)
